//! Agents elsewhere: those that may be called, and who may call this formation.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::{secret_text, secrets, yes};

/// The `a2a` block; a part that is there is enabled unless it says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct A2a {
    /// Off: no agent elsewhere is called, and none may call.
    pub enabled: bool,
    pub outbound: A2aOutbound,
    pub inbound: Option<A2aInbound>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct A2aOutbound {
    pub enabled: bool,
    pub default_retry_attempts: u32,
    pub default_timeout_seconds: u32,
}

/// On the formation's own port.
#[derive(Debug, Clone, Deserialize)]
pub struct A2aInbound {
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub auth: InboundAuth,
    /// Addresses of callers; empty lets any caller that proves itself in.
    #[serde(default)]
    pub trusted_endpoints: Vec<String>,
}

/// An agent elsewhere that this formation's agents may call.
#[derive(Debug, Clone)]
pub struct RemoteAgent {
    pub id: String,
    pub name: String,
    /// What routing goes by.
    pub description: String,
    /// Without a slash at the end.
    pub url: String,
    pub version: Option<String>,
    pub timeout_seconds: u32,
    pub retry_attempts: u32,
    pub auth: OutboundAuth,
}

/// How this formation proves itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutboundAuth {
    #[default]
    None,
    ApiKey(ApiKey),
    Bearer(Bearer),
    Basic(Basic),
    Custom(CustomHeaders),
    Hmac(Hmac),
    Oauth2(ClientCredentials),
}

/// How callers prove themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InboundAuth {
    /// With the formation's client key, as on every other route; what is not set means this.
    #[default]
    ClientKey,
    None,
    ApiKey(ApiKey),
    Bearer(Bearer),
    Basic(Basic),
    Custom(CustomHeaders),
    Hmac(Hmac),
    Openid(OpenId),
}

#[derive(Debug, Clone, Deserialize)]
pub struct ApiKey {
    #[serde(default = "api_key_header")]
    pub header: String,
    #[serde(deserialize_with = "secret_text")]
    pub key: SecretString,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Bearer {
    #[serde(deserialize_with = "secret_text")]
    pub token: SecretString,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Basic {
    #[serde(deserialize_with = "secret_text")]
    pub username: SecretString,
    #[serde(deserialize_with = "secret_text")]
    pub password: SecretString,
}

/// All of them, with these values.
#[derive(Debug, Clone, Deserialize)]
pub struct CustomHeaders {
    #[serde(deserialize_with = "secrets")]
    pub headers: BTreeMap<String, SecretString>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Hmac {
    #[serde(deserialize_with = "secret_text")]
    pub secret: SecretString,
    #[serde(default = "signature_header")]
    pub signature_header: String,
    #[serde(default = "timestamp_header")]
    pub timestamp_header: String,
    #[serde(default = "timestamp_tolerance", rename = "timestamp_tolerance")]
    pub timestamp_tolerance_seconds: u32,
}

/// A token of an authorization server, kept until it expires.
#[derive(Debug, Clone, Deserialize)]
pub struct ClientCredentials {
    #[serde(deserialize_with = "secret_text")]
    pub client_id: SecretString,
    #[serde(deserialize_with = "secret_text")]
    pub client_secret: SecretString,
    pub token_url: String,
    pub scope: Option<String>,
}

/// Tokens that a provider of `OpenID` signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OpenId {
    /// Without a slash at the end.
    pub issuer: String,
    pub audience: String,
    /// Absent: `<issuer>/.well-known/jwks.json`.
    pub jwks_url: Option<String>,
    #[serde(default = "allowed_algorithms")]
    pub allowed_algorithms: Vec<String>,
    #[serde(default = "clock_skew")]
    pub clock_skew_seconds: u32,
}

/// A remote agent before the block's defaults are known.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RemoteAgentFields {
    pub(crate) id: String,
    name: String,
    description: String,
    url: String,
    version: Option<String>,
    #[serde(default = "yes")]
    pub(crate) active: bool,
    timeout_seconds: Option<u32>,
    retry_attempts: Option<u32>,
    #[serde(default)]
    auth: OutboundAuth,
}

// === impl A2a ===

impl Default for A2a {
    fn default() -> Self {
        Self { enabled: true, outbound: A2aOutbound::default(), inbound: None }
    }
}

impl A2a {
    /// Who may call, if anybody may.
    pub fn callers(&self) -> Option<&A2aInbound> {
        self.inbound.as_ref().filter(|inbound| self.enabled && inbound.enabled)
    }
}

// === impl A2aOutbound ===

impl Default for A2aOutbound {
    fn default() -> Self {
        Self { enabled: true, default_retry_attempts: 3, default_timeout_seconds: 30 }
    }
}

// === impl RemoteAgent ===

impl RemoteAgent {
    pub(crate) fn new(fields: RemoteAgentFields, outbound: &A2aOutbound) -> Self {
        Self {
            id: fields.id,
            name: fields.name,
            description: fields.description,
            url: fields.url,
            version: fields.version,
            timeout_seconds: fields.timeout_seconds.unwrap_or(outbound.default_timeout_seconds),
            retry_attempts: fields.retry_attempts.unwrap_or(outbound.default_retry_attempts),
            auth: fields.auth,
        }
    }
}

// === impl OpenId ===

impl OpenId {
    pub fn jwks_url(&self) -> String {
        let usual = || format!("{}/.well-known/jwks.json", self.issuer);
        self.jwks_url.clone().unwrap_or_else(usual)
    }
}

// === private helpers ===

fn api_key_header() -> String {
    "X-API-Key".to_owned()
}

fn signature_header() -> String {
    "X-Signature".to_owned()
}

fn timestamp_header() -> String {
    "X-Timestamp".to_owned()
}

const fn timestamp_tolerance() -> u32 {
    300
}

fn allowed_algorithms() -> Vec<String> {
    vec!["RS256".to_owned()]
}

const fn clock_skew() -> u32 {
    30
}
