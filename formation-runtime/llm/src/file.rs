//! Files within an answer, as `data:` addresses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::{BadFile, ModelFile};

/// Reads an address; nothing is ever fetched.
pub(crate) fn decode(url: &str) -> Result<ModelFile, BadFile> {
    let rest = url.strip_prefix("data:").ok_or(BadFile::Elsewhere)?;
    let (head, body) = rest.split_once(',').ok_or(BadFile::Malformed)?;
    let head = head.strip_suffix(";base64").ok_or(BadFile::Malformed)?;
    let content_type = head.split(';').next().unwrap_or_default().to_ascii_lowercase();
    if !is_content_type(&content_type) {
        return Err(BadFile::Malformed);
    }
    let bytes = STANDARD.decode(body.trim()).map_err(|_| BadFile::Malformed)?;
    if bytes.is_empty() {
        return Err(BadFile::Malformed);
    }
    Ok(ModelFile { content_type, bytes: Bytes::from(bytes) })
}

fn is_content_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte);
        (1..=100).contains(&name.len()) && name.bytes().all(inner)
    };
    text.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let file = |kind: &str| {
            Ok(ModelFile { content_type: kind.to_owned(), bytes: Bytes::from_static(b"hi") })
        };
        for (url, expected) in [
            ("data:image/png;base64,aGk=", file("image/png")),
            ("data:IMAGE/PNG;name=x;base64,aGk=", file("image/png")),
            ("data:image/svg+xml;base64,aGk=", file("image/svg+xml")),
            ("https://example.com/cat.png", Err(BadFile::Elsewhere)),
            ("file:///etc/passwd", Err(BadFile::Elsewhere)),
            ("data:image/png;base64,a*k=", Err(BadFile::Malformed)),
            ("data:image/png;base64,", Err(BadFile::Malformed)),
            ("data:image/png,hi", Err(BadFile::Malformed)),
            ("data:;base64,aGk=", Err(BadFile::Malformed)),
            ("data:a b/c;base64,aGk=", Err(BadFile::Malformed)),
            ("data:", Err(BadFile::Malformed)),
        ] {
            assert_eq!(decode(url), expected, "{url}");
        }
    }
}
