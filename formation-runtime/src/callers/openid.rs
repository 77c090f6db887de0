//! Callers that a provider vouches for: its tokens, and its keys to check them with.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use muxi_formation::manifest::OpenId;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{CallersError, Refusal};

#[derive(Debug)]
pub(super) struct Provider {
    config: OpenId,
    algorithms: Vec<Algorithm>,
    http: reqwest::Client,
    keys: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    keys: Option<JwkSet>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Keys are fetched again after that.
const KEYS_LIFE: Duration = Duration::from_hours(1);
/// A token with a key that is not known makes them be fetched again, not more often than this.
const TRY_INTERVAL: Duration = Duration::from_secs(30);
const FETCH: Duration = Duration::from_secs(10);
const KEYS_BYTES_MAX: usize = 256 * 1024;
const TOKEN_BYTES_MAX: usize = 16 * 1024;

// === impl Provider ===

impl Provider {
    pub(super) fn new(config: &OpenId) -> Result<Self, CallersError> {
        let algorithms = config.allowed_algorithms.iter().map(|name| algorithm(name));
        let http = reqwest::Client::builder()
            .timeout(FETCH)
            // Keys from elsewhere would let anybody in.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            config: config.clone(),
            algorithms: algorithms.collect::<Result<_, _>>()?,
            http,
            keys: Mutex::default(),
        })
    }

    /// Whom the provider vouches for with this token.
    pub(super) async fn subject(&self, token: &[u8]) -> Result<String, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Unproven);
        }
        let header = decode_header(token).map_err(|_| Refusal::Unproven)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(Refusal::Unproven);
        }
        let key = self.key(header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        // Some providers write a slash at the end of their names.
        let issuer = &self.config.issuer;
        validation.set_issuer(&[issuer.clone(), format!("{issuer}/")]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = u64::from(self.config.clock_skew_seconds);
        let claims = decode::<Claims>(token, &key, &validation);
        claims.map(|it| it.claims.sub).map_err(|_| Refusal::Unproven)
    }

    async fn key(&self, id: Option<&str>) -> Result<DecodingKey, Refusal> {
        let mut kept = self.keys.lock().await;
        let is_fresh = kept.fetched.is_some_and(|since| since.elapsed() < KEYS_LIFE);
        let may_try = kept.tried.is_none_or(|since| since.elapsed() >= TRY_INTERVAL);
        if (!is_fresh || kept.find(id).is_none()) && may_try {
            kept.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    *kept = Kept { keys: Some(keys), fetched: kept.tried, tried: kept.tried };
                }
                // Those that are known are good until the provider is back.
                Err(error) => tracing::warn!(%error, "the keys of the OpenID provider are missing"),
            }
        }
        if kept.keys.is_none() {
            return Err(Refusal::NoKeys);
        }
        kept.find(id).ok_or(Refusal::Unproven)
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let response = self.http.get(self.config.jwks_url()).send().await;
        let response = response.map_err(|error| error.without_url().to_string())?;
        if !response.status().is_success() {
            return Err(format!("HTTP status {}", response.status().as_u16()));
        }
        let (mut chunks, mut bytes) = (response.bytes_stream(), Vec::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.without_url().to_string())?;
            if bytes.len() + chunk.len() > KEYS_BYTES_MAX {
                return Err(format!("the answer has more than {KEYS_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("the answer is no set of keys: {error}"))
    }
}

impl Kept {
    /// A token that names no key is checked with the only one.
    fn find(&self, id: Option<&str>) -> Option<DecodingKey> {
        let keys = self.keys.as_ref()?;
        let key = match id {
            Some(id) => keys.find(id)?,
            None if keys.keys.len() == 1 => keys.keys.first()?,
            None => return None,
        };
        DecodingKey::from_jwk(key).ok()
    }
}

// === private helpers ===

/// Signatures with a shared secret are left out: the secret would be the provider's public key.
fn algorithm(name: &str) -> Result<Algorithm, CallersError> {
    let fault = || CallersError::Algorithm(name.to_owned());
    match Algorithm::from_str(name) {
        Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => Err(fault()),
        Ok(algorithm) => Ok(algorithm),
    }
}
