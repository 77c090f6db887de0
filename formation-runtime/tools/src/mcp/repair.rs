//! Answers that break the protocol in ways that can be seen through.

use std::borrow::Cow;
use std::fmt;

use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, RequestId, ServerResult};
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::error::quoted;

/// Marks an error that stands for an answer which cannot be read.
pub(super) const UNREADABLE: &str = "muxi.unreadable";
const NOT_A_CHARACTER: &[u8] = b"fffd";
const FAULT_CHARS_MAX: usize = 300;
const LEFT_OUT: &str = "[a part of a kind that is not known here was left out]";

/// With a mark in place of what is no character: bytes that are no UTF-8, and halves of surrogate pairs.
/// `None` when there is nothing of this kind in it.
pub(super) fn without_broken_text(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let was_broken = matches!(text, Cow::Owned(_));
    let mut bytes = text.into_owned().into_bytes();
    let halves = lone_surrogates(&bytes);
    for at in &halves {
        bytes[*at..*at + NOT_A_CHARACTER.len()].copy_from_slice(NOT_A_CHARACTER);
    }
    (was_broken || !halves.is_empty()).then_some(bytes)
}

/// The `id` of an object that is no message, or that ends before it should.
pub(super) fn id_of(line: &[u8]) -> Option<RequestId> {
    let mut id = None;
    let mut reader = serde_json::Deserializer::from_slice(line);
    // That it cannot be read to its end is known; what was read until then counts.
    let _unreadable = reader.deserialize_map(Id(&mut id));
    serde_json::from_value(id?).ok()
}

/// What the caller gets instead of an answer that cannot be read.
pub(super) fn unreadable(fault: &serde_json::Error) -> ErrorData {
    let fault = quoted(&fault.to_string(), FAULT_CHARS_MAX);
    ErrorData::new(ErrorCode::PARSE_ERROR, fault, Some(Value::from(UNREADABLE)))
}

/// A tool's result with a note in place of each part of an unknown kind, which would cost all others.
pub(super) fn with_known_parts(result: ServerResult) -> ServerResult {
    let ServerResult::CustomResult(mut custom) = result else { return result };
    let Some(parts) = custom.0.get_mut("content").and_then(Value::as_array_mut) else {
        return ServerResult::CustomResult(custom);
    };
    for part in parts {
        if serde_json::from_value::<ContentBlock>(part.clone()).is_err() {
            *part = serde_json::json!({"type": "text", "text": LEFT_OUT});
        }
    }
    match serde_json::from_value::<CallToolResult>(custom.0.clone()) {
        Ok(result) => ServerResult::CallToolResult(result),
        Err(_) => ServerResult::CustomResult(custom),
    }
}

// === private helpers ===

/// Where the four digits of each escape stand that is half of a pair without the other half.
fn lone_surrogates(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|it| *it == b'\\') {
        let escape = at + next;
        at = (escape + 2).min(bytes.len());
        match unit(bytes, escape) {
            Some(0xd800..=0xdbff) => {
                at = escape + 6;
                match unit(bytes, at) {
                    Some(0xdc00..=0xdfff) => at += 6,
                    _ => found.push(escape + 2),
                }
            }
            Some(0xdc00..=0xdfff) => {
                at = escape + 6;
                found.push(escape + 2);
            }
            _ => {}
        }
    }
    found
}

/// The number of the escape `\uXXXX` that begins there.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|it| it.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Keeps the `id` of the outermost object.
struct Id<'a>(&'a mut Option<Value>);

impl<'de> Visitor<'de> for Id<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "id" {
                *self.0 = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn halves_of_pairs_and_bytes_that_are_no_text_are_marked() {
        let check = |line: &[u8]| {
            let whole = without_broken_text(line).map(|it| String::from_utf8(it).unwrap());
            whole.map(|it| serde_json::from_str::<String>(&it).unwrap())
        };
        assert_eq!(
            check(br#""\ud83d\ude00 \\ud800""#),
            None,
            "a pair, and a backslash with a word"
        );
        assert_eq!(check(br#""a\ud800b""#).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(
            check(br#""\udc00\ud800\ud83d\ude00\uD800""#).as_deref(),
            Some("\u{fffd}\u{fffd}\u{1f600}\u{fffd}")
        );
        assert_eq!(check(b"\"a\xffb\"").as_deref(), Some("a\u{fffd}b"));
        for end in [&b"\"\\"[..], b"\"\\u", b"\"\\ud80", b"\"\\ud800", b"\"\\ud800\\"] {
            // Only that nothing is read beyond its end.
            let _broken = without_broken_text(end);
        }
    }

    #[test]
    fn the_id_is_found_in_what_is_no_message() {
        let check = |line: &str| id_of(line.as_bytes());
        assert_eq!(check(r#"{"id": 7, "result": {"id": 8"#), Some(RequestId::Number(7)));
        assert_eq!(check(r#"{"result": {"id": 8}, "id": 7"#), Some(RequestId::Number(7)));
        assert_eq!(check(r#"{"result": {"id": 8"#), None);
        assert_eq!(check(r#"{"jsonrpc": "2.0", "id": oops"#), None);
        assert_eq!(check("Listening"), None);
        assert_eq!(check("[1]"), None);
    }

    #[test]
    fn an_unknown_part_costs_itself_only() {
        let result = json!({"isError": true, "content": [
            {"type": "text", "text": "known"}, {"type": "hologram", "depth": 3}]});
        let read: ServerResult = serde_json::from_value(result).unwrap();
        let ServerResult::CallToolResult(result) = with_known_parts(read) else {
            panic!("a result")
        };
        assert_eq!(result.is_error, Some(true));
        let texts: Vec<&str> =
            result.content.iter().filter_map(|it| Some(it.as_text()?.text.as_str())).collect();
        assert_eq!(texts, ["known", LEFT_OUT]);
        let other: ServerResult = serde_json::from_value(json!({"content": 3})).unwrap();
        assert!(matches!(with_known_parts(other), ServerResult::CustomResult(_)));
    }
}
