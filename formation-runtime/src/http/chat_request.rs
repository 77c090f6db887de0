//! From a JSON object to a chat request, or to everything that is wrong with it. Pure.

pub(crate) mod files;
mod names;

use std::str::FromStr;

use muxi_contract::chat::{ChatMode, StreamFormat};
use muxi_contract::envelope::ValidationError;
use muxi_contract::{RequestId, SessionId, UserId};
use serde_json::{Map, Value};

use self::files::{FileRules, Takes};
use super::fields::{Fields, NAME_CHARS_MAX};
use crate::conversation::Picked;
use crate::conversation::files::File;
use crate::webhooks;

/// A request, and remarks on fields that look like typing errors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) request: Request,
    pub(crate) files: Vec<File>,
    pub(crate) warnings: Vec<String>,
}

/// A chat request without its files, each field as it was checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) message: String,
    pub(crate) user_id: Option<UserId>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_format: Option<StreamFormat>,
    pub(crate) mode: Option<ChatMode>,
    pub(crate) webhook_url: Option<String>,
    pub(crate) threshold_seconds: Option<f64>,
    pub(crate) output_schema: Option<Value>,
    pub(crate) picked: Option<Picked>,
}

const KNOWN: &[&str] = &[
    "message",
    "user_id",
    "session_id",
    "request_id",
    "agent_id",
    "stream",
    "stream_format",
    "mode",
    "webhook_url",
    "threshold_seconds",
    "output_schema",
    "files",
    "ui_response",
    // Their shapes are checked, and they are without effect.
    "group_id",
    "source_channel",
];

/// What the formation takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) message_chars_max: usize,
    /// Whether callers may have addresses told that are not public.
    pub(crate) private_webhooks: bool,
    /// What the headers say, where the body does not.
    pub(crate) asks_for_stream: bool,
    /// Whether the formation estimates how long answers take, or answers later anyway.
    pub(crate) estimates: bool,
    pub(crate) files: FileRules<'a>,
}

pub(crate) fn parse(
    fields: &Map<String, Value>,
    rules: &Rules<'_>,
) -> Result<Parsed, Vec<ValidationError>> {
    let mut reader = Reader { fields, faults: Vec::new() };
    let request = Request {
        message: reader.message(rules),
        user_id: reader.id("user_id"),
        session_id: reader.id("session_id"),
        stream: reader.flag("stream"),
        stream_format: reader.stream_format(),
        mode: reader.mode(),
        webhook_url: reader.webhook_url(rules),
        threshold_seconds: reader.threshold(),
        output_schema: reader.schema(),
        picked: reader.picked(),
    };
    // These two were needed before; here is told what is wrong with them.
    reader.id::<RequestId>("request_id");
    reader.text("agent_id");
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
    if request.webhook_url.is_some() && !may_be_answered_later(&request, rules) {
        let message = "needs a request that may be answered later: with `mode: \"async\"`, or without \
                       `mode` and stream where a threshold or an estimate may make it one";
        reader.fault("webhook_url", message, "invalid");
    }
    reader.label("group_id");
    reader.label("source_channel");
    let files = files::parse(fields.get("files"), &rules.files, &mut reader.faults);
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    Ok(Parsed { request, files, warnings: names::warnings(fields, KNOWN) })
}

fn may_be_answered_later(request: &Request, rules: &Rules<'_>) -> bool {
    match request.mode {
        Some(ChatMode::Async) => true,
        Some(ChatMode::Sync) => false,
        None => {
            let streams = request.stream.unwrap_or(rules.asks_for_stream);
            let has_threshold = rules.estimates || request.threshold_seconds == Some(0.0);
            has_threshold && (!streams || request.output_schema.is_some())
        }
    }
}

/// The agent that the body names, if any.
pub(crate) fn agent_id(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("agent_id")?.as_str().filter(|id| !id.is_empty())
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
    fn message(&mut self, rules: &Rules<'_>) -> String {
        let is_optional = rules.files.takes == Takes::Recordings;
        if matches!(self.fields.get("message"), None | Some(Value::Null)) {
            if !is_optional {
                self.fault("message", "is required", "missing");
            }
            return String::new();
        }
        let Some(message) = self.text("message") else { return String::new() };
        if message.trim().is_empty() && !is_optional {
            self.fault("message", "must not be empty", "too_short");
        }
        let (chars, chars_max) = (message.chars().count(), rules.message_chars_max);
        if chars > chars_max {
            let text = format!("has {chars} characters; this formation takes {chars_max}");
            self.fault("message", &text, "too_long");
        }
        message.to_owned()
    }

    /// A short text without effect.
    fn label(&mut self, name: &str) {
        let Some(text) = self.text(name) else { return };
        let chars = text.chars().count();
        if chars > NAME_CHARS_MAX {
            let message = format!("has {chars} characters; {NAME_CHARS_MAX} are taken");
            self.fault(name, &message, "too_long");
        }
    }

    /// What was chosen of a widget. One that is not open any more is of no effect, as published clients
    /// expect, so that nothing is looked up here.
    fn picked(&mut self) -> Option<Picked> {
        let given = self.fields.get("ui_response").filter(|it| !it.is_null())?;
        let Value::Object(reply) = given else {
            self.fault("ui_response", "must be an object", "wrong_type");
            return None;
        };
        let mut fields = Fields::at("ui_response.".to_owned(), reply);
        fields.require("value");
        let widget = fields.required_text("id", NAME_CHARS_MAX).map(str::to_owned);
        self.faults.append(&mut fields.faults);
        let value = reply.get("value").cloned()?;
        Some(Picked { widget: widget?, value })
    }

    fn id<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse();
        parsed
            .map_err(|error: T::Err| {
                let (field, kind) = (name.to_owned(), "invalid".to_owned());
                self.faults.push(ValidationError { field, message: error.to_string(), kind });
            })
            .ok()
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

    fn threshold(&mut self) -> Option<f64> {
        let given = self.fields.get("threshold_seconds").filter(|it| !it.is_null())?;
        let Some(seconds) = given.as_f64() else {
            self.fault("threshold_seconds", "must be a number of seconds", "wrong_type");
            return None;
        };
        if seconds < 0.0 {
            self.fault("threshold_seconds", "must be 0 or more", "invalid");
        }
        Some(seconds)
    }

    fn webhook_url(&mut self, rules: &Rules<'_>) -> Option<String> {
        let text = self.text("webhook_url")?;
        if let Err(why) = webhooks::check_url(text) {
            self.fault("webhook_url", why, "invalid_format");
            return None;
        }
        if !rules.private_webhooks && webhooks::check_public(text).is_err() {
            let message =
                "must be public: `async.webhook_allow_private` in the manifest allows others";
            self.fault("webhook_url", message, "invalid");
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<Parsed, Vec<ValidationError>> {
        read(body, true)
    }

    fn read(body: &Value, estimates: bool) -> Result<Parsed, Vec<ValidationError>> {
        let rules = Rules {
            message_chars_max: 10,
            asks_for_stream: false,
            estimates,
            private_webhooks: false,
            files: files::tests::RULES,
        };
        parse(body.as_object().unwrap(), &rules)
    }

    fn faults(body: &Value) -> Vec<(String, String)> {
        parsed(body).unwrap_err().into_iter().map(|it| (it.field, it.kind)).collect()
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
            fault("stream", "wrong_type"),
            fault("stream_format", "invalid"),
            fault("mode", "invalid"),
            fault("request_id", "invalid"),
        ];
        assert_eq!(faults(&body), expected);
    }

    #[test]
    fn what_is_without_effect_has_its_shape() {
        let idle = json!({
            "message": "hi", "mode": "sync", "files": [], "webhook_url": null, "group_id": "g",
            "source_channel": "mail", "ui_response": null,
        });
        assert_eq!(parsed(&idle).unwrap().warnings, Vec::<String>::new());
        let long = "x".repeat(300);
        let body = json!({"message": "hi", "group_id": 5, "source_channel": long});
        let expected = [fault("group_id", "wrong_type"), fault("source_channel", "too_long")];
        assert_eq!(faults(&body), expected);
    }

    #[test]
    fn a_reply_to_a_widget_names_it_and_says_what_was_chosen() {
        let reply = |reply: Value| faults(&json!({"message": "hi", "ui_response": reply}));
        assert_eq!(reply(json!("ui_1")), [fault("ui_response", "wrong_type")]);
        assert_eq!(
            reply(json!({"id": 5})),
            [fault("ui_response.value", "missing"), fault("ui_response.id", "wrong_type")]
        );
        let body = json!({"message": "hi", "ui_response": {"id": "ui_1", "value": "yes"}});
        let picked = parsed(&body).unwrap().request.picked.unwrap();
        assert_eq!((picked.widget.as_str(), picked.value), ("ui_1", json!("yes")));
    }

    #[test]
    fn who_waits_has_no_webhook_and_who_streams_waits() {
        let hook = "https://hooks.example/x";
        let body = json!({"message": "hi", "mode": "async", "webhook_url": hook});
        let request = parsed(&body).unwrap().request;
        assert_eq!((request.mode, request.webhook_url), (Some(ChatMode::Async), Some(hook.into())));
        let refused = [fault("webhook_url", "invalid")];
        for more in [json!({"mode": "sync"}), json!({"stream": true})] {
            let mut body = json!({"message": "hi", "webhook_url": hook});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(faults(&body), refused, "{body}");
        }
        // An estimate or a threshold may make it one that nobody waits for.
        let mut body = json!({"message": "hi", "webhook_url": hook});
        assert!(read(&body, true).is_ok());
        assert!(read(&body, false).is_err());
        body["threshold_seconds"] = json!(0);
        assert!(read(&body, false).is_ok());
        let body = json!({"message": "hi", "mode": "async", "webhook_url": "http://0x7f.1/hook"});
        assert_eq!(faults(&body), [fault("webhook_url", "invalid")]);
        let body =
            json!({"message": "hi", "mode": "async", "stream": true, "webhook_url": "ftp:x"});
        assert_eq!(
            faults(&body),
            [fault("webhook_url", "invalid_format"), fault("stream", "invalid")]
        );
    }

    #[test]
    fn a_threshold_is_a_number_of_seconds() {
        let threshold =
            |value: Value| parsed(&json!({"message": "hi", "threshold_seconds": value}));
        assert_eq!(threshold(json!(0.5)).unwrap().request.threshold_seconds, Some(0.5));
        assert_eq!(threshold(json!(null)).unwrap().request.threshold_seconds, None);
        for (value, kind) in [(json!("5"), "wrong_type"), (json!(-1), "invalid")] {
            assert_eq!(threshold(value).unwrap_err()[0].kind, kind);
        }
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
