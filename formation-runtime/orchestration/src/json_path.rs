//! Places in JSON that people write down: `a.b`, `$.a.b`, `items[0].state`, `items.-1.state`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A way into a value, one name or index after another; without any it is the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<String>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJsonPath {
    #[error("has more than {CHARS_MAX} characters")]
    TooLong,
    #[error("has a part without a name; write it like `build.status` or `items[0].state`")]
    EmptyPart,
    #[error("has a bracket that does not end; write it like `items[0].state`")]
    OpenBracket,
}

const CHARS_MAX: usize = 256;

// === impl JsonPath ===

impl JsonPath {
    /// An index below zero counts from the end.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, part| match value {
            Value::Object(fields) => fields.get(part),
            Value::Array(items) => {
                let index: i64 = part.parse().ok()?;
                let from_end = usize::try_from(index.unsigned_abs()).ok()?;
                let index = if index < 0 { items.len().checked_sub(from_end)? } else { from_end };
                items.get(index)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

impl FromStr for JsonPath {
    type Err = InvalidJsonPath;

    fn from_str(text: &str) -> Result<Self, InvalidJsonPath> {
        if text.chars().count() > CHARS_MAX {
            return Err(InvalidJsonPath::TooLong);
        }
        let mut rest = text.trim();
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut parts = Vec::new();
        let mut is_first = true;
        while !rest.is_empty() {
            if let Some(bracket) = rest.strip_prefix('[') {
                let (part, after) = bracket.split_once(']').ok_or(InvalidJsonPath::OpenBracket)?;
                parts.push(part.trim().trim_matches(['"', '\'']).to_owned());
                rest = after;
            } else {
                let plain = match rest.strip_prefix('.') {
                    Some(plain) => plain,
                    None if is_first => rest,
                    None => return Err(InvalidJsonPath::EmptyPart),
                };
                let end = plain.find(['.', '[']).unwrap_or(plain.len());
                parts.push(plain[..end].to_owned());
                rest = &plain[end..];
            }
            if parts.last().is_some_and(String::is_empty) {
                return Err(InvalidJsonPath::EmptyPart);
            }
            is_first = false;
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("."))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_way_of_writing_leads_to_its_place() {
        let value = json!({
            "build": {"status": "done", "a.b": 1},
            "items": [{"state": "new"}, {"state": "old"}],
            "0": "zero",
        });
        for (path, found) in [
            ("build.status", Some(json!("done"))),
            ("$.build.status", Some(json!("done"))),
            ("$['build'][\"status\"]", Some(json!("done"))),
            ("build['a.b']", Some(json!(1))),
            ("items[0].state", Some(json!("new"))),
            ("items.1.state", Some(json!("old"))),
            ("items.-1.state", Some(json!("old"))),
            ("items[-2].state", Some(json!("new"))),
            ("items.-3", None),
            ("items.2", None),
            ("items.state", None),
            ("build.status.more", None),
            ("0", Some(json!("zero"))),
            ("$", Some(value.clone())),
            ("", Some(value.clone())),
        ] {
            let path: JsonPath = path.parse().unwrap();
            assert_eq!(path.find(&value).cloned(), found, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (path, fault) in [
            ("a..b", InvalidJsonPath::EmptyPart),
            ("a.", InvalidJsonPath::EmptyPart),
            ("a[]", InvalidJsonPath::EmptyPart),
            ("a[0]b", InvalidJsonPath::EmptyPart),
            ("a[0", InvalidJsonPath::OpenBracket),
            ("x".repeat(257).as_str(), InvalidJsonPath::TooLong),
        ] {
            assert_eq!(path.parse::<JsonPath>(), Err(fault), "{path}");
        }
    }
}
