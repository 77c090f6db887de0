//! From a JSON object to a chat request, or to everything that is wrong with it. Pure.

use std::str::FromStr;

use muxi_contract::RequestId;
use muxi_contract::chat::{ChatMode, ChatRequest, StreamFormat};
use muxi_contract::envelope::ValidationError;
use serde_json::{Map, Value};

use crate::webhooks;

/// A request, and remarks on fields that look like typing errors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) request: ChatRequest,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Invalid(Vec<ValidationError>),
    /// The request is right but asks for what is not built.
    NotBuilt(String),
}

const READ: [&str; 10] = [
    "message",
    "user_id",
    "session_id",
    "request_id",
    "agent_id",
    "stream",
    "stream_format",
    "mode",
    "webhook_url",
    "output_schema",
];
/// Documented; refused by name when they ask for something.
const NOT_BUILT: [&str; 3] = ["files", "ui_response", "threshold_seconds"];
/// Documented as without effect.
const IGNORED: [&str; 2] = ["group_id", "source_channel"];

pub(crate) fn parse(
    fields: &Map<String, Value>,
    message_chars_max: usize,
) -> Result<Parsed, Fault> {
    let mut reader = Reader { fields, faults: Vec::new() };
    let request = ChatRequest {
        message: reader.message(message_chars_max),
        user_id: reader.id("user_id"),
        session_id: reader.id("session_id"),
        request_id: reader.id("request_id"),
        agent_id: reader.text("agent_id").map(str::to_owned),
        stream: reader.flag("stream"),
        stream_format: reader.stream_format(),
        mode: reader.mode(),
        webhook_url: reader.webhook_url(),
        output_schema: reader.schema(),
    };
    if request.output_schema.is_some() && request.stream == Some(true) {
        reader.fault(
            "stream",
            "cannot be true with `output_schema`: only a whole answer can be checked",
            "invalid",
        );
    }
    if request.mode == Some(ChatMode::Async) && request.stream == Some(true) {
        reader.fault("stream", "cannot be true with `mode: \"async\"`", "invalid");
    }
    if request.webhook_url.is_some() && request.mode != Some(ChatMode::Async) {
        reader.fault("webhook_url", "needs `mode: \"async\"`", "invalid");
    }
    if !reader.faults.is_empty() {
        return Err(Fault::Invalid(reader.faults));
    }
    if let Some(name) = NOT_BUILT.into_iter().find(|name| asks_for_something(fields, name)) {
        return Err(Fault::NotBuilt(format!("`{name}` of a chat message")));
    }
    Ok(Parsed { request, warnings: warnings(fields) })
}

/// The id that the body names, if it can be one; whatever else is wrong with the body.
pub(crate) fn request_id(fields: &Map<String, Value>) -> Option<RequestId> {
    fields.get("request_id")?.as_str()?.parse().ok()
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    faults: Vec<ValidationError>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn message(&mut self, chars_max: usize) -> String {
        if matches!(self.fields.get("message"), None | Some(Value::Null)) {
            self.fault("message", "is required", "missing");
            return String::new();
        }
        let Some(message) = self.text("message") else { return String::new() };
        if message.trim().is_empty() {
            self.fault("message", "must not be empty", "too_short");
        }
        let chars = message.chars().count();
        if chars > chars_max {
            let text = format!("has {chars} characters; this formation takes {chars_max}");
            self.fault("message", &text, "too_long");
        }
        message.to_owned()
    }

    fn id<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.fault(name, &error.to_string(), "invalid")).ok()
    }

    fn stream_format(&mut self) -> Option<StreamFormat> {
        match self.text("stream_format")? {
            "events" => Some(StreamFormat::Events),
            "tokens" => Some(StreamFormat::Tokens),
            _ => {
                self.fault("stream_format", "must be \"events\" or \"tokens\"", "invalid");
                None
            }
        }
    }

    fn schema(&mut self) -> Option<Value> {
        match self.fields.get("output_schema")? {
            Value::Null => None,
            schema @ (Value::Object(_) | Value::Bool(_)) => Some(schema.clone()),
            Value::String(_) | Value::Number(_) | Value::Array(_) => {
                self.fault("output_schema", "must be a JSON Schema", "wrong_type");
                None
            }
        }
    }

    fn mode(&mut self) -> Option<ChatMode> {
        match self.text("mode")? {
            "sync" => Some(ChatMode::Sync),
            "async" => Some(ChatMode::Async),
            _ => {
                self.fault("mode", "must be \"sync\" or \"async\"", "invalid");
                None
            }
        }
    }

    fn webhook_url(&mut self) -> Option<String> {
        let text = self.text("webhook_url")?;
        if let Err(why) = webhooks::check_url(text) {
            self.fault("webhook_url", why, "invalid_format");
            return None;
        }
        Some(text.to_owned())
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.fault(name, "must be a text", "wrong_type");
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::Bool(flag) => Some(*flag),
            Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.fault(name, "must be true or false", "wrong_type");
                None
            }
        }
    }

    fn fault(&mut self, field: &str, message: &str, kind: &str) {
        self.faults.push(ValidationError {
            field: field.to_owned(),
            message: format!("{field} {message}"),
            kind: kind.to_owned(),
        });
    }
}

// === private helpers ===

/// Null and an empty list ask for nothing.
fn asks_for_something(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => true,
    }
}

fn warnings(fields: &Map<String, Value>) -> Vec<String> {
    let known = || READ.into_iter().chain(NOT_BUILT).chain(IGNORED);
    let unknown = fields.keys().filter(|name| !known().any(|it| it == name.as_str()));
    // A body has room for a hundred thousand names, and comparing them takes time.
    unknown
        .take(UNKNOWN_MAX)
        .filter_map(|name| {
            let near =
                known().filter(|it| edits(name, it) <= 2).min_by_key(|it| edits(name, it))?;
            Some(format!("the field `{name}` is not known and was ignored; did you mean `{near}`?"))
        })
        .take(WARNINGS_MAX)
        .collect()
}

const WARNINGS_MAX: usize = 10;
const UNKNOWN_MAX: usize = 100;
/// No known field is longer, so a longer name is not one of them mistyped.
const NAME_CHARS_MAX: usize = 24;

/// How many insertions, deletions and replacements lead from one name to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    if from.chars().count() > NAME_CHARS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<Parsed, Fault> {
        parse(body.as_object().unwrap(), 10)
    }

    fn faults(body: &Value) -> Vec<(String, String)> {
        match parsed(body) {
            Err(Fault::Invalid(faults)) => {
                faults.into_iter().map(|it| (it.field, it.kind)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn fault(field: &str, kind: &str) -> (String, String) {
        (field.to_owned(), kind.to_owned())
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(faults(&json!({})), [fault("message", "missing")]);
        assert_eq!(faults(&json!({"message": null})), [fault("message", "missing")]);
        assert_eq!(faults(&json!({"message": " "})), [fault("message", "too_short")]);
        assert_eq!(faults(&json!({"message": "ä".repeat(11)})), [fault("message", "too_long")]);
        let body = json!({
            "message": 5, "session_id": "", "request_id": "a b", "user_id": [], "stream": "yes",
            "stream_format": "xml", "mode": "later",
        });
        let expected = [
            fault("message", "wrong_type"),
            fault("user_id", "wrong_type"),
            fault("session_id", "invalid"),
            fault("request_id", "invalid"),
            fault("stream", "wrong_type"),
            fault("stream_format", "invalid"),
            fault("mode", "invalid"),
        ];
        assert_eq!(faults(&body), expected);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name_and_only_when_asked_for() {
        for (name, value) in [
            ("files", json!([{"filename": "a"}])),
            ("ui_response", json!({"id": "ui_1"})),
            ("threshold_seconds", json!(0)),
        ] {
            match parsed(&json!({"message": "hi", name: value})) {
                Err(Fault::NotBuilt(what)) => assert!(what.contains(name), "{what}"),
                other => panic!("{other:?}"),
            }
        }
        let idle = json!({
            "message": "hi", "mode": "sync", "files": [], "webhook_url": null, "group_id": "g",
        });
        assert_eq!(parsed(&idle).unwrap().warnings, Vec::<String>::new());
    }

    #[test]
    fn who_waits_has_no_webhook_and_who_streams_waits() {
        let hook = "https://hooks.example/x";
        let body = json!({"message": "hi", "mode": "async", "webhook_url": hook});
        let request = parsed(&body).unwrap().request;
        assert_eq!((request.mode, request.webhook_url), (Some(ChatMode::Async), Some(hook.into())));
        assert_eq!(
            faults(&json!({"message": "hi", "webhook_url": hook})),
            [fault("webhook_url", "invalid")]
        );
        let body =
            json!({"message": "hi", "mode": "async", "stream": true, "webhook_url": "ftp:x"});
        assert_eq!(
            faults(&body),
            [fault("webhook_url", "invalid_format"), fault("stream", "invalid")]
        );
    }

    #[test]
    fn only_likely_typing_errors_are_remarked_on() {
        let body = json!({"message": "hi", "sesion_id": "s", "steam": true, "colour": "red"});
        let warnings = parsed(&body).unwrap().warnings;
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("`session_id`"), "{warnings:?}");
        assert!(warnings[1].contains("`stream`"), "{warnings:?}");
    }

    #[test]
    fn the_length_is_counted_in_characters() {
        assert!(parsed(&json!({"message": "ä".repeat(10)})).is_ok());
    }
}
