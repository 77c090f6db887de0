//! The form in which a recording is sent to be written down.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

/// The form's fields as JSON; its file as `{filename, content_type, bytes}`. `None` if it is no form.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=")?;
    let mark = format!("--{}", boundary.trim_matches('"'));
    let mut fields = Map::new();
    for part in split(body, mark.as_bytes()) {
        let Some((head, content)) = cut(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(head);
        let attribute = |name: &str| {
            let from = head.split_once(&format!(" {name}=\""))?.1;
            Some(from.split_once('"')?.0.to_owned())
        };
        let Some(name) = attribute("name") else { continue };
        let content = content.strip_suffix(b"\r\n").unwrap_or(content);
        let value = match attribute("filename") {
            Some(filename) => {
                let lines = head.lines();
                let header = |line: &str| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
                };
                json!({
                    "filename": filename,
                    "content_type": lines.map(str::trim).find_map(header),
                    "bytes": content.len(),
                })
            }
            None => Value::from(String::from_utf8_lossy(content)),
        };
        fields.insert(name, value);
    }
    Some(Value::Object(fields))
}

/// Why the real provider would refuse this form, if it would.
pub(super) fn objection(form: Option<&Value>) -> Option<&'static str> {
    let form = form?;
    if !form["model"].is_string() {
        return Some("model: a string is required");
    }
    match form["file"]["filename"].as_str() {
        None => Some("file: required"),
        Some(name) if !name.contains('.') => Some("file: the format is not recognised"),
        Some(_) => None,
    }
}

fn split<'a>(body: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some((part, after)) = cut(rest, mark) {
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
