//! The Content-Disposition header of a name that anybody may have chosen (RFC 6266). Pure.

use std::fmt::Write as _;

use axum::http::HeaderValue;

/// To be shown rather than saved, under this name. No name can end the header or add another.
pub(super) fn inline(name: &str) -> HeaderValue {
    let plain: String =
        name.chars().map(|it| if is_plain(it) { it } else { '_' }).take(NAME_CHARS_MAX).collect();
    let mut value = format!("inline; filename=\"{plain}\"");
    if plain != name {
        // For those who know it, which all do by now: the name as it is.
        value.push_str("; filename*=UTF-8''");
        let chars: String = name.chars().take(NAME_CHARS_MAX).collect();
        for byte in chars.bytes() {
            if is_attribute_byte(byte) {
                value.push(char::from(byte));
            } else {
                // Writing to a text cannot fail.
                let _written = write!(value, "%{byte:02X}");
            }
        }
    }
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("inline"))
}

const NAME_CHARS_MAX: usize = 255;

/// What stands for itself between quotes. A percent sign does not, since some readers decode it.
fn is_plain(it: char) -> bool {
    (it.is_ascii_graphic() || it == ' ') && !matches!(it, '"' | '\\' | '%' | '/' | ';')
}

/// RFC 8187, `attr-char`.
fn is_attribute_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind() {
        let long = "x".repeat(300);
        for (name, expected) in [
            ("report.pdf", r#"inline; filename="report.pdf""#),
            ("two words.txt", r#"inline; filename="two words.txt""#),
            (
                "Grüße €.png",
                "inline; filename=\"Gr__e _.png\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%E2%82%AC.png",
            ),
            ("a\"; x=\"b", "inline; filename=\"a__ x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b"),
            (
                "a\r\nSet-Cookie: b",
                "inline; filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b",
            ),
            (
                "../etc/passwd",
                "inline; filename=\".._etc_passwd\"; filename*=UTF-8''..%2Fetc%2Fpasswd",
            ),
            ("100%.png", "inline; filename=\"100_.png\"; filename*=UTF-8''100%25.png"),
            ("", r#"inline; filename="""#),
        ] {
            assert_eq!(inline(name).to_str().unwrap(), expected, "{name}");
        }
        assert!(inline(&long).len() < 600);
    }
}
