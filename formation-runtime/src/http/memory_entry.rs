//! From a JSON object to something to remember, or to everything that is wrong with it. Pure.

use muxi_contract::envelope::ValidationError;
use muxi_memory::Scope;
use serde_json::{Map, Value};

use super::fields::{Fields, NAME_CHARS_MAX};

/// What is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: String,
    pub(super) content: String,
    /// A JSON object.
    pub(super) metadata: String,
    pub(super) scope: Wanted,
    /// Who brings it, if it is brought in from outside.
    pub(super) source: Option<String>,
    pub(super) source_id: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) happened_ms: Option<i64>,
}

/// Who is to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Scope(Scope),
    /// There are no groups that anybody could belong to.
    Group,
}

const USUAL_KIND: &str = "general";

/// `place` is where the object stands in the body, such as `items.3.`.
pub(super) fn parse(
    place: &str,
    body: &Map<String, Value>,
    chars_max: usize,
) -> Result<Entry, Vec<ValidationError>> {
    let mut fields = Fields::at(place.to_owned(), body);
    let (kind, content) = content(&mut fields, chars_max);
    let metadata = match fields.object("metadata") {
        Some(metadata) => Value::Object(metadata.clone()).to_string(),
        None => "{}".to_owned(),
    };
    if metadata.chars().count() > chars_max {
        let message = format!("has more than {chars_max} characters");
        fields.fault("metadata", &message, "too_long");
    }
    let scope = match fields.text("scope", NAME_CHARS_MAX) {
        None => Wanted::Scope(Scope::User),
        Some("group") => Wanted::Group,
        Some(text) => text.parse().map_or_else(
            |()| {
                fields.fault("scope", "must be user, group or formation", "invalid");
                Wanted::Group
            },
            Wanted::Scope,
        ),
    };
    let mut named = |name: &str| fields.text(name, NAME_CHARS_MAX).map(str::to_owned);
    let (source, source_id, subject) = (named("source"), named("source_id"), named("subject"));
    if source_id.is_some() && fields.value("source").is_none() {
        fields.fault("source", "is required with source_id", "missing");
    }
    let happened_ms = fields.time_ms("timestamp");
    match (content, fields.faults) {
        (Some(content), faults) if faults.is_empty() => Ok(Entry {
            kind: kind.unwrap_or(USUAL_KIND).to_owned(),
            content: content.to_owned(),
            metadata,
            scope,
            source,
            source_id,
            subject,
            happened_ms,
        }),
        (_, faults) => Err(faults),
    }
}

// === private helpers ===

/// Kind and text: `{type, detail}`, `{content}` or `{content: {type, detail}}`.
fn content<'a>(fields: &mut Fields<'a>, chars_max: usize) -> (Option<&'a str>, Option<&'a str>) {
    match fields.value("content") {
        Some(Value::Object(nested)) => {
            let mut within = Fields::at("content.".to_owned(), nested);
            let kind = within.text("type", NAME_CHARS_MAX);
            let detail = within.required_text("detail", chars_max);
            fields.faults.append(&mut within.faults);
            (kind, detail)
        }
        Some(_) => (fields.text("type", NAME_CHARS_MAX), fields.text("content", chars_max)),
        None if fields.value("detail").is_some() => {
            (fields.text("type", NAME_CHARS_MAX), fields.text("detail", chars_max))
        }
        None => (None, fields.required_text("content", chars_max)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<Entry, Vec<ValidationError>> {
        parse("", body.as_object().unwrap(), 20)
    }

    #[test]
    fn the_same_can_be_written_in_three_ways() {
        for (body, kind) in [
            (json!({"type": "fact", "detail": "likes tea"}), "fact"),
            (json!({"content": "likes tea"}), "general"),
            (json!({"content": {"type": "fact", "detail": "likes tea"}}), "fact"),
        ] {
            let entry = parsed(&body).unwrap();
            assert_eq!((entry.kind.as_str(), entry.content.as_str()), (kind, "likes tea"));
            assert_eq!(entry.scope, Wanted::Scope(Scope::User));
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let long = "x".repeat(21);
        let body = json!({
            "content": {"detail": long}, "metadata": [], "scope": "world", "source_id": "1",
            "timestamp": "yesterday",
        });
        let faults = parsed(&body).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["content.detail", "metadata", "scope", "source", "timestamp"]);
        assert!(parsed(&json!({})).is_err());
        assert!(parsed(&json!({"content": "é".repeat(20)})).is_ok());
    }
}
