//! How this formation proves itself to an agent elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use tokio::sync::Mutex;

use super::client::read;
use super::error::RemoteError;

/// How this formation proves itself.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    ApiKey {
        header: String,
        key: SecretString,
    },
    Bearer {
        token: SecretString,
    },
    Basic {
        username: SecretString,
        password: SecretString,
    },
    /// All of them.
    Headers(BTreeMap<String, SecretString>),
    /// Over the time and the body; see [`sign`].
    Hmac {
        secret: SecretString,
        signature_header: String,
        timestamp_header: String,
    },
    /// A token of an authorization server, asked for as the client itself.
    OAuth2 {
        client_id: SecretString,
        client_secret: SecretString,
        token_url: String,
        scope: Option<String>,
    },
}

/// The token of an authorization server until it expires.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    token: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

const TOKEN_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of a token whose server does not say.
const TOKEN_LIFE_USUAL: Duration = Duration::from_mins(5);
/// A token that expires so soon may be too old when it arrives.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// HMAC-SHA256 in hexadecimal over `TIME.BODY`, the time in seconds since 1970.
pub fn sign(secret: &SecretString, timestamp: &str, body: &[u8]) -> String {
    hex::encode(digest(secret, timestamp, body).finalize().into_bytes())
}

// === impl Credentials ===

impl Credentials {
    /// The headers that prove a call with this body.
    pub(super) async fn headers(
        &self,
        body: &[u8],
        tokens: &Tokens,
        http: &reqwest::Client,
        timeout: Duration,
    ) -> Result<HeaderMap, RemoteError> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let name = HeaderName::try_from(name);
            let value = HeaderValue::try_from(value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(RemoteError::Malformed("a credential cannot stand in a header"));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(())
        };
        match self {
            Self::None => {}
            Self::ApiKey { header, key } => add(header, key.expose_secret())?,
            Self::Bearer { token } => add(AUTHORIZATION.as_str(), &bearer(token))?,
            Self::Basic { username, password } => {
                let pair = format!("{}:{}", username.expose_secret(), password.expose_secret());
                add(AUTHORIZATION.as_str(), &format!("Basic {}", BASE64_STANDARD.encode(pair)))?;
            }
            Self::Headers(pairs) => {
                for (name, value) in pairs {
                    add(name, value.expose_secret())?;
                }
            }
            Self::Hmac { secret, signature_header, timestamp_header } => {
                let timestamp = Timestamp::now().as_second().to_string();
                add(signature_header, &sign(secret, &timestamp, body))?;
                add(timestamp_header, &timestamp)?;
            }
            Self::OAuth2 { client_id, client_secret, token_url, scope } => {
                let form = [
                    Some(("grant_type", "client_credentials")),
                    Some(("client_id", client_id.expose_secret())),
                    Some(("client_secret", client_secret.expose_secret())),
                    scope.as_deref().map(|scope| ("scope", scope)),
                ];
                let form: Vec<_> = form.into_iter().flatten().collect();
                let token = tokens.get(http, token_url, &form, timeout).await?;
                add(AUTHORIZATION.as_str(), &bearer(&token))?;
            }
        }
        Ok(headers)
    }
}

// === impl Tokens ===

impl Tokens {
    /// One caller asks for a new token; the others wait for it.
    async fn get(
        &self,
        http: &reqwest::Client,
        url: &str,
        form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<SecretString, RemoteError> {
        let mut held = self.0.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        let mut body = reqwest::Url::parse("form:").expect("a constant");
        body.query_pairs_mut().extend_pairs(form);
        let request = http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body.query().unwrap_or_default().to_owned())
            .timeout(timeout);
        let response = request.send().await.map_err(|_| not_reached())?;
        let status = response.status();
        if !status.is_success() {
            return Err(RemoteError::Token(format!("HTTP status {}", status.as_u16())));
        }
        let bytes = read(response, TOKEN_ANSWER_BYTES_MAX).await?;
        let granted: Granted = serde_json::from_slice(&bytes)
            .map_err(|_| RemoteError::Token("the answer has no access_token".to_owned()))?;
        let life = granted.expires_in.map_or(TOKEN_LIFE_USUAL, Duration::from_secs);
        let until = Instant::now() + life.min(DAY).saturating_sub(TOKEN_MARGIN);
        let token = SecretString::from(granted.access_token);
        *held = Some(Held { token: token.clone(), until });
        Ok(token)
    }

    /// What was refused is not sent again.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

// === private helpers ===

const DAY: Duration = Duration::from_hours(24);

fn digest(secret: &SecretString, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let key = secret.expose_secret().as_bytes();
    let mut digest = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    digest.update(timestamp.as_bytes());
    digest.update(b".");
    digest.update(body);
    digest
}

fn bearer(token: &SecretString) -> String {
    format!("Bearer {}", token.expose_secret())
}

/// The error of the client could name the address with what stands in it.
fn not_reached() -> RemoteError {
    RemoteError::Token("it cannot be reached".to_owned())
}
