//! `MUXI-HMAC`: how management requests are signed.
//!
//! The signed text is `{timestamp};{METHOD};{path}`; the signature is the padded standard base64
//! of its HMAC-SHA256 under the secret's UTF-8 bytes. Body and query are not covered (version 1 of
//! the scheme, which every published client speaks).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The scheme's name in the `Authorization` header, with the one space that must follow it.
pub const SCHEME: &str = "MUXI-HMAC ";

/// The three fields of an `Authorization: MUXI-HMAC …` header, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    pub key: &'a str,
    /// Kept as sent, since exactly this text was signed.
    pub timestamp: &'a str,
    pub signature: &'a str,
}

/// The header does not have the scheme's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header is not of the form `MUXI-HMAC key=…, timestamp=…, signature=…`")]
pub struct MalformedAuthorization;

/// Signs one request. `path` starts with a slash and has no query.
pub fn sign(secret: &str, timestamp: &str, method: &str, path: &str) -> String {
    STANDARD.encode(mac(secret, timestamp, method, path).finalize().into_bytes())
}

/// Whether `signature` is that of the request; takes the same time wherever the two differ.
pub fn verify(secret: &str, timestamp: &str, method: &str, path: &str, signature: &str) -> bool {
    STANDARD
        .decode(signature)
        .is_ok_and(|bytes| mac(secret, timestamp, method, path).verify_slice(&bytes).is_ok())
}

/// The whole header value for a request signed at `timestamp` (Unix seconds).
pub fn header(key: &str, secret: &str, timestamp: i64, method: &str, path: &str) -> String {
    let timestamp = timestamp.to_string();
    let signature = sign(secret, &timestamp, method, path);
    format!("{SCHEME}key={key}, timestamp={timestamp}, signature={signature}")
}

fn mac(secret: &str, timestamp: &str, method: &str, path: &str) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [timestamp, ";", method, ";", path] {
        mac.update(part.as_bytes());
    }
    mac
}

// === impl Authorization ===

impl<'a> Authorization<'a> {
    /// Reads a header value as existing clients write it: pairs in any order behind comma and
    /// space, split at the first `=`, unknown names ignored, the last of doubles taken.
    pub fn parse(header: &'a str) -> Result<Self, MalformedAuthorization> {
        let pairs = header.strip_prefix(SCHEME).ok_or(MalformedAuthorization)?;
        let (mut key, mut timestamp, mut signature) = ("", "", "");
        for (name, value) in pairs.split(", ").filter_map(|pair| pair.split_once('=')) {
            match name {
                "key" => key = value,
                "timestamp" => timestamp = value,
                "signature" => signature = value,
                _ => {}
            }
        }
        if key.is_empty() || timestamp.is_empty() || signature.is_empty() {
            return Err(MalformedAuthorization);
        }
        Ok(Self { key, timestamp, signature })
    }
}

#[cfg(test)]
mod tests;
