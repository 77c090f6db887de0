//! Who asks: checks `MUXI-HMAC` signatures and leaves a principal with the request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, EXPECT};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::management::ProblemKind;
use muxi_contract::signature::{self, Authorization};
use muxi_service::Clock;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::Failure;
use crate::config::{Config, KeyConfig};
use crate::percent;
use crate::supervisor::Supervisor;

/// The key that signed a request; handlers and logs see only its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) key_id: String,
}

/// Which keys may manage; `None` when the operator switched authentication off.
#[derive(Debug, Clone)]
struct Keys {
    allowed: Option<Arc<[KeyConfig]>>,
    tolerance_s: i64,
    clock: Clock,
}

/// Why a request was not let in; the words are those that clients match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("Missing authorization header")]
    Missing,
    #[error("Invalid authorization header format")]
    Malformed,
    #[error("Invalid key")]
    UnknownKey,
    #[error("Request expired (timestamp too old or in future)")]
    Expired,
    #[error("Invalid signature")]
    WrongSignature,
}

pub(super) async fn layer(
    State(supervisor): State<Supervisor>,
    mut request: Request,
    next: Next,
) -> Response {
    // Made anew for each request: a reload may have changed them.
    let context = supervisor.context();
    let keys = Keys::new(&context.live(), context.clock.clone());
    match keys.check(&request) {
        Ok(principal) => {
            if let Some(principal) = principal {
                tracing::Span::current().record("key", principal.key_id.as_str());
                request.extensions_mut().insert(principal);
            }
            next.run(request).await
        }
        Err(refusal) => {
            tracing::warn!(%refusal, "a management call was refused");
            // Strangers get no disk, but they get their answer.
            if !request.headers().contains_key(EXPECT) {
                muxi_service::discard(request.into_body().into_data_stream()).await;
            }
            Failure::new(ProblemKind::Unauthorized, refusal.to_string()).into_response()
        }
    }
}

// === impl Keys ===

impl Keys {
    fn new(config: &Config, clock: Clock) -> Self {
        let allowed = config.auth.enabled.then(|| config.keys().into());
        Self { allowed, tolerance_s: config.auth.timestamp_tolerance.into(), clock }
    }

    fn check(&self, request: &Request) -> Result<Option<Principal>, Refusal> {
        let Some(keys) = &self.allowed else { return Ok(None) };
        let header = request.headers().get(AUTHORIZATION).filter(|value| !value.is_empty());
        let header = header.ok_or(Refusal::Missing)?.to_str().map_err(|_| Refusal::Malformed)?;
        let given = Authorization::parse(header).map_err(|_| Refusal::Malformed)?;
        let key = find(keys, given.key).ok_or(Refusal::UnknownKey)?;
        let timestamp: i64 = given.timestamp.parse().map_err(|_| Refusal::Expired)?;
        let now = self.clock.now().as_second();
        if now.abs_diff(timestamp) > self.tolerance_s.unsigned_abs() {
            return Err(Refusal::Expired);
        }
        // Clients sign the path as they wrote it, with or without its query; the original decodes it.
        let uri = request.uri();
        let with_query = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
        let decoded = percent::decode(uri.path());
        let valid = [uri.path(), with_query, &decoded].into_iter().any(|path| {
            let method = request.method().as_str();
            signature::verify(&key.secret, given.timestamp, method, path, given.signature)
        });
        if valid {
            Ok(Some(Principal { key_id: key.id.clone() }))
        } else {
            Err(Refusal::WrongSignature)
        }
    }
}

/// Looks at every key, and at hashes of equal length, so that time tells nothing about ids.
fn find<'a>(keys: &'a [KeyConfig], id: &str) -> Option<&'a KeyConfig> {
    let wanted = Sha256::digest(id.as_bytes());
    let mut found = None;
    for key in keys {
        if bool::from(Sha256::digest(key.id.as_bytes()).as_slice().ct_eq(wanted.as_slice())) {
            found = Some(key);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use jiff::Timestamp;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn check(path: &str, header: Option<&str>) -> Result<Option<Principal>, Refusal> {
        let key = |id: &str, secret: &str| KeyConfig {
            id: id.to_owned(),
            secret: secret.to_owned(),
            label: String::new(),
        };
        let keys = Keys {
            allowed: Some([key("one", "s1"), key("two", "s2")].into()),
            tolerance_s: 300,
            clock: Clock::from_fn(|| Timestamp::from_second(NOW).unwrap()),
        };
        let mut request = Request::get(path);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        keys.check(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn every_configured_key_is_let_in() {
        for (id, secret) in [("one", "s1"), ("two", "s2")] {
            let header = signature::header(id, secret, NOW, "GET", "/rpc/formations");
            let principal = check("/rpc/formations", Some(&header)).unwrap().unwrap();
            assert_eq!(principal.key_id, id);
        }
    }

    #[test]
    fn the_path_may_be_signed_with_or_without_its_query_or_decoded() {
        for signed in ["/rpc/a%2Db", "/rpc/a%2Db?x=1", "/rpc/a-b"] {
            let header = signature::header("one", "s1", NOW, "GET", signed);
            assert!(check("/rpc/a%2Db?x=1", Some(&header)).is_ok(), "{signed}");
        }
    }

    #[test]
    fn each_fault_has_its_own_words() {
        let header = |id, secret, at, method, path| signature::header(id, secret, at, method, path);
        let path = "/rpc/formations";
        let cases = [
            (None, Refusal::Missing),
            (Some(String::new()), Refusal::Missing),
            (Some("Bearer x".to_owned()), Refusal::Malformed),
            (Some(header("three", "s1", NOW, "GET", path)), Refusal::UnknownKey),
            (Some(header("one", "s1", NOW - 301, "GET", path)), Refusal::Expired),
            (Some(header("one", "s1", NOW + 301, "GET", path)), Refusal::Expired),
            (Some(header("one", "s2", NOW, "GET", path)), Refusal::WrongSignature),
            (Some(header("one", "s1", NOW, "POST", path)), Refusal::WrongSignature),
            (Some(header("one", "s1", NOW, "GET", "/rpc/other")), Refusal::WrongSignature),
        ];
        for (header, refusal) in cases {
            assert_eq!(check(path, header.as_deref()), Err(refusal), "{header:?}");
        }
        let edge = header("one", "s1", NOW - 300, "GET", path);
        assert!(check(path, Some(&edge)).is_ok());
    }
}
