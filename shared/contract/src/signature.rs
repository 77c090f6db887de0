//! `MUXI-HMAC`: how management requests are signed.
//!
//! **Version 1**, which every published client speaks. The signed text is
//! `{timestamp};{METHOD};{path}`; the signature is the padded standard base64 of its HMAC-SHA256
//! under the secret's UTF-8 bytes. Body and query are not covered.
//!
//! **Version 2** covers the whole request and cannot be used twice. The header carries two more
//! fields, `nonce` and `v=2`, and the request a header `X-Muxi-Content-SHA256` with the lower-case
//! hex SHA-256 of the body (of no bytes when there is none). The signed text is
//! `v2;{timestamp};{nonce};{METHOD};{path};{query};{sha256}`, where
//! - `path` is the path exactly as it stands in the request line, percent-escapes untouched; a raw
//!   semicolon in it must be written as `%3B`, so that the fields cannot be shifted;
//! - `query` is what follows the first `?`, exactly as sent and without the `?`; empty if there is
//!   none. Nothing is sorted or decoded: a client signs the very text that it sends;
//! - `nonce` is fresh for each request: 8 to 128 of `[A-Za-z0-9_-]`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

/// The scheme's name in the `Authorization` header, with the one space that must follow it.
pub const SCHEME: &str = "MUXI-HMAC ";
/// Where a version 2 request names the hash of its body.
pub const CONTENT_SHA256: &str = "x-muxi-content-sha256";

const NONCE_CHARS: std::ops::RangeInclusive<usize> = 8..=128;

/// The fields of an `Authorization: MUXI-HMAC …` header, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    pub key: &'a str,
    /// Kept as sent, since exactly this text was signed.
    pub timestamp: &'a str,
    pub signature: &'a str,
    /// Only in version 2.
    pub nonce: Option<&'a str>,
}

/// The header does not have the scheme's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header is not of the form `MUXI-HMAC key=…, timestamp=…, signature=…`")]
pub struct MalformedAuthorization;

/// What a version 2 signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    pub timestamp: &'a str,
    pub nonce: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// Lower-case hex.
    pub content_sha256: &'a str,
}

/// Signs one request. `path` starts with a slash and has no query.
pub fn sign(secret: &str, timestamp: &str, method: &str, path: &str) -> String {
    encode(mac(secret, &[timestamp, method, path]))
}

/// Whether `signature` is that of the request; takes the same time wherever the two differ.
pub fn verify(secret: &str, timestamp: &str, method: &str, path: &str, signature: &str) -> bool {
    matches(mac(secret, &[timestamp, method, path]), signature)
}

/// The whole header value for a request signed at `timestamp` (Unix seconds).
pub fn header(key: &str, secret: &str, timestamp: i64, method: &str, path: &str) -> String {
    let timestamp = timestamp.to_string();
    let signature = sign(secret, &timestamp, method, path);
    format!("{SCHEME}key={key}, timestamp={timestamp}, signature={signature}")
}

/// The lower-case hex that `X-Muxi-Content-SHA256` names a body by.
pub fn content_sha256(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Whether a header value can be the hash of a body.
pub fn is_content_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

// === impl Signed ===

impl Signed<'_> {
    /// The signature of version 2.
    pub fn sign(&self, secret: &str) -> String {
        encode(self.mac(secret))
    }

    /// Whether `signature` is that of the request; takes the same time wherever the two differ.
    pub fn verify(&self, secret: &str, signature: &str) -> bool {
        // A semicolon would let the end of the path pass for the query.
        !self.path.contains(';') && matches(self.mac(secret), signature)
    }

    /// The whole header value.
    pub fn header(&self, key: &str, secret: &str) -> String {
        let (Self { timestamp, nonce, .. }, signature) = (self, self.sign(secret));
        format!(
            "{SCHEME}key={key}, timestamp={timestamp}, nonce={nonce}, signature={signature}, v=2"
        )
    }

    fn mac(&self, secret: &str) -> Hmac<Sha256> {
        let Self { timestamp, nonce, method, path, query, content_sha256 } = *self;
        mac(secret, &["v2", timestamp, nonce, method, path, query, content_sha256])
    }
}

// === impl Authorization ===

impl<'a> Authorization<'a> {
    /// Reads a header value as existing clients write it: pairs in any order behind comma and
    /// space, split at the first `=`, unknown names ignored, the last of doubles taken.
    pub fn parse(header: &'a str) -> Result<Self, MalformedAuthorization> {
        let pairs = header.strip_prefix(SCHEME).ok_or(MalformedAuthorization)?;
        let (mut key, mut timestamp, mut signature) = ("", "", "");
        let (mut nonce, mut version) = (None, "1");
        for (name, value) in pairs.split(", ").filter_map(|pair| pair.split_once('=')) {
            match name {
                "key" => key = value,
                "timestamp" => timestamp = value,
                "signature" => signature = value,
                "nonce" => nonce = Some(value),
                "v" => version = value,
                _ => {}
            }
        }
        if key.is_empty() || timestamp.is_empty() || signature.is_empty() {
            return Err(MalformedAuthorization);
        }
        let nonce = match version {
            "1" => None,
            "2" => Some(nonce.filter(|it| is_nonce(it)).ok_or(MalformedAuthorization)?),
            _ => return Err(MalformedAuthorization),
        };
        Ok(Self { key, timestamp, signature, nonce })
    }
}

fn is_nonce(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    NONCE_CHARS.contains(&text.len()) && text.bytes().all(fits)
}

fn mac(secret: &str, fields: &[&str]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            mac.update(b";");
        }
        mac.update(field.as_bytes());
    }
    mac
}

fn encode(mac: Hmac<Sha256>) -> String {
    STANDARD.encode(mac.finalize().into_bytes())
}

fn matches(mac: Hmac<Sha256>, signature: &str) -> bool {
    STANDARD.decode(signature).is_ok_and(|bytes| mac.verify_slice(&bytes).is_ok())
}

#[cfg(test)]
mod tests;
