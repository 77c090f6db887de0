//! Agents elsewhere that call this formation: how each of them proves itself, and whom it is kept as.
//!
//! Every caller is a user of a namespace of its own, so nothing of theirs is among what people said here.

mod openid;
mod signed;

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use jiff::Timestamp;
use muxi_contract::UserId;
use muxi_formation::manifest::{A2aInbound, InboundAuth};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use self::openid::Provider;
use self::signed::Signed;
use crate::keys::{KeyClass, Keys};

/// Who may call, and how they prove it.
#[derive(Debug)]
pub struct Callers {
    auth: InboundAuth,
    /// Empty: from anywhere.
    trusted: Vec<IpNet>,
    signed: Signed,
    provider: Option<Provider>,
}

/// A call, as far as it proves who makes it.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// Nothing where it is not known.
    pub address: Option<IpAddr>,
    pub keys: &'a Keys,
    pub now: Timestamp,
}

/// The manifest asks for what cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    #[error(
        "a2a.inbound.trusted_endpoints: `{0}` is no address; write an IP address such as \
         192.0.2.7, or a network such as 192.0.2.0/24"
    )]
    Address(String),
    #[error(
        "a2a.inbound.auth.allowed_algorithms: `{0}` is not known or not safe here; write RS256, RS384, \
         RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA"
    )]
    Algorithm(String),
    #[error("the HTTP client for the provider's keys could not be made")]
    Client(#[from] reqwest::Error),
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("calls of other agents are not taken from this address")]
    Address,
    /// Which is missing or wrong is the same to who should not be here.
    #[error("the call does not prove who makes it, or not as the agent card says")]
    Unproven,
    #[error("the call was signed too long ago, or in the future; sign it anew")]
    Stale,
    #[error("the call was made before with the same signature; sign it anew")]
    Repeated,
    #[error("too many calls arrive to be remembered; try again in a moment")]
    Full,
    #[error("the keys of the OpenID provider cannot be read now; try again in a moment")]
    NoKeys,
}

/// The header that names the user of an own client, within the namespace of callers.
const USER_HEADER: &str = "x-muxi-user-id";

// === impl Callers ===

impl Callers {
    pub fn new(inbound: &A2aInbound) -> Result<Self, CallersError> {
        let trusted = inbound.trusted_endpoints.iter().map(|text| network(text));
        let provider = match &inbound.auth {
            InboundAuth::Openid(openid) => Some(Provider::new(openid)?),
            InboundAuth::ClientKey
            | InboundAuth::None
            | InboundAuth::ApiKey(_)
            | InboundAuth::Bearer(_)
            | InboundAuth::Basic(_)
            | InboundAuth::Custom(_)
            | InboundAuth::Hmac(_) => None,
        };
        Ok(Self {
            auth: inbound.auth.clone(),
            trusted: trusted.collect::<Result<_, _>>()?,
            signed: Signed::default(),
            provider,
        })
    }

    pub fn auth(&self) -> &InboundAuth {
        &self.auth
    }

    /// The user as whom the caller is kept.
    pub async fn identify(&self, proof: Proof<'_>) -> Result<UserId, Refusal> {
        self.check_address(proof.address)?;
        let headers = proof.headers;
        let is = |name: &str, expected: &SecretString| {
            let given = headers.get(name).map_or(&b""[..], http::HeaderValue::as_bytes);
            let expected = expected.expose_secret().as_bytes();
            !expected.is_empty() && bool::from(expected.ct_eq(given))
        };
        let (name, proven) = match &self.auth {
            InboundAuth::None => ("anonymous".to_owned(), true),
            InboundAuth::ClientKey => {
                let given = headers.get("x-muxi-client-key").map(http::HeaderValue::as_bytes);
                let given = given.or_else(|| bearer(headers)).unwrap_or_default();
                let named = headers.get(USER_HEADER).and_then(|it| it.to_str().ok());
                let named = named.map(str::trim).filter(|it| !it.is_empty()).unwrap_or("client");
                let is_key = !given.is_empty() && proof.keys.is(KeyClass::Client, given);
                (named.to_owned(), is_key)
            }
            InboundAuth::ApiKey(it) => ("api_key".to_owned(), is(&it.header, &it.key)),
            InboundAuth::Bearer(it) => {
                let given = bearer(headers).unwrap_or_default();
                let expected = it.token.expose_secret().as_bytes();
                let proven = !expected.is_empty() && bool::from(expected.ct_eq(given));
                ("bearer".to_owned(), proven)
            }
            InboundAuth::Basic(it) => {
                let (name, password) = (it.username.expose_secret(), it.password.expose_secret());
                let expected = format!("{name}:{password}");
                let given = basic(headers).unwrap_or_default();
                ("basic".to_owned(), bool::from(expected.as_bytes().ct_eq(&given)))
            }
            InboundAuth::Custom(it) => {
                // All are compared, so that the time does not tell which one is wrong.
                let wrong = it.headers.iter().filter(|(name, value)| !is(name, value)).count();
                ("custom".to_owned(), wrong == 0 && !it.headers.is_empty())
            }
            InboundAuth::Hmac(it) => {
                self.signed.check(it, &proof)?;
                ("hmac".to_owned(), true)
            }
            InboundAuth::Openid(_) => {
                let token = bearer(headers).ok_or(Refusal::Unproven)?;
                let provider = self.provider.as_ref().ok_or(Refusal::NoKeys)?;
                let subject = provider.subject(token).await?;
                return format!("openid:{subject}").parse().map_err(|_| Refusal::Unproven);
            }
        };
        if !proven {
            return Err(Refusal::Unproven);
        }
        format!("a2a:{name}").parse().map_err(|_| Refusal::Unproven)
    }

    fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        if self.trusted.is_empty() {
            return Ok(());
        }
        let address = address.map(|it| it.to_canonical());
        let is_trusted =
            address.is_some_and(|it| self.trusted.iter().any(|network| network.contains(&it)));
        if is_trusted { Ok(()) } else { Err(Refusal::Address) }
    }
}

// === private helpers ===

/// An address, a network, or the address in a URL.
fn network(text: &str) -> Result<IpNet, CallersError> {
    let fault = || CallersError::Address(text.to_owned());
    if let Ok(network) = text.parse() {
        return Ok(network);
    }
    let host = match reqwest::Url::parse(text) {
        Ok(url) => url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        Err(_) => text.trim_matches(['[', ']']).to_owned(),
    };
    host.parse::<IpAddr>().map(IpNet::from).map_err(|_| fault())
}

fn scheme<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(name).then(|| rest.trim())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    scheme(headers, "bearer").map(str::as_bytes)
}

fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(scheme(headers, "basic")?).ok()
}

#[cfg(test)]
mod tests;
