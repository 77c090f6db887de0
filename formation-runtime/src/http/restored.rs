//! From a JSON body to the messages of a session, or to everything that is wrong with it. Pure.

use jiff::Timestamp;
use muxi_contract::envelope::ValidationError;
use muxi_memory::{RestoredMessage, Role};
use serde_json::{Map, Value};

use super::error::Problem;

const MESSAGES_MAX: usize = 10_000;

/// Sorted by their times; messages of one time keep their order.
pub(super) fn parse(
    fields: &Map<String, Value>,
    default_agent: &str,
) -> Result<Vec<RestoredMessage>, Problem> {
    let mut faults = Faults(Vec::new());
    let messages = match fields.get("messages") {
        None | Some(Value::Null) => {
            faults.add("messages", "is required", "missing");
            Vec::new()
        }
        Some(Value::Array(messages)) if messages.len() > MESSAGES_MAX => {
            faults.add("messages", &format!("has more than {MESSAGES_MAX} entries"), "too_long");
            Vec::new()
        }
        Some(Value::Array(messages)) => messages
            .iter()
            .enumerate()
            .filter_map(|(index, message)| one(message, index, default_agent, &mut faults))
            .collect(),
        Some(_) => {
            faults.add("messages", "must be a list", "wrong_type");
            Vec::new()
        }
    };
    if !faults.0.is_empty() {
        return Err(Problem::invalid(&faults.0));
    }
    let mut messages = messages;
    messages.sort_by_key(|message| message.at_ms);
    Ok(messages)
}

struct Faults(Vec<ValidationError>);

// === impl Faults ===

impl Faults {
    fn add(&mut self, field: &str, message: &str, kind: &str) {
        self.0.push(ValidationError {
            field: field.to_owned(),
            message: format!("{field} {message}"),
            kind: kind.to_owned(),
        });
    }
}

// === private helpers ===

fn one(
    message: &Value,
    index: usize,
    default_agent: &str,
    faults: &mut Faults,
) -> Option<RestoredMessage> {
    let at = |field: &str| format!("messages.{index}.{field}");
    let Value::Object(fields) = message else {
        faults.add(&format!("messages.{index}"), "must be an object", "wrong_type");
        return None;
    };
    let role = match fields.get("role").and_then(Value::as_str).map(str::parse::<Role>) {
        Some(Ok(role)) => Some(role),
        Some(Err(())) => {
            faults.add(&at("role"), "must be \"user\" or \"assistant\"", "invalid");
            None
        }
        None => {
            faults.add(&at("role"), "is required", "missing");
            None
        }
    };
    let text = match fields.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            faults.add(&at("content"), "must be a text", "wrong_type");
            None
        }
        None => {
            faults.add(&at("content"), "is required", "missing");
            None
        }
    };
    let at_ms = match fields.get("timestamp") {
        Some(Value::String(text)) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        Some(Value::Number(seconds)) => seconds.as_f64().and_then(|seconds| {
            let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
            Timestamp::UNIX_EPOCH.checked_add(since).ok().map(Timestamp::as_millisecond)
        }),
        None => {
            faults.add(&at("timestamp"), "is required", "missing");
            return None;
        }
        Some(_) => None,
    };
    if at_ms.is_none() {
        let message = "must be an ISO 8601 time such as 2026-01-31T12:00:00Z, or Unix seconds";
        faults.add(&at("timestamp"), message, "invalid_format");
    }
    let agent = match fields.get("agent_id") {
        None | Some(Value::Null) => default_agent.to_owned(),
        Some(Value::String(agent)) => agent.clone(),
        Some(_) => {
            faults.add(&at("agent_id"), "must be a text", "wrong_type");
            return None;
        }
    };
    Some(RestoredMessage { role: role?, text: text?, agent, at_ms: at_ms? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<Vec<RestoredMessage>, Problem> {
        parse(body.as_object().unwrap(), "helper")
    }

    #[test]
    fn messages_are_sorted_by_their_times() {
        let body = json!({"messages": [
            {"role": "assistant", "content": "b", "timestamp": 2.5},
            {"role": "user", "content": "a", "timestamp": "1970-01-01T00:00:01Z", "agent_id": "x"},
        ]});
        let found: Vec<_> =
            parsed(&body).unwrap().into_iter().map(|it| (it.text, it.agent, it.at_ms)).collect();
        assert_eq!(
            found,
            [("a".to_owned(), "x".to_owned(), 1_000), ("b".to_owned(), "helper".to_owned(), 2_500)]
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let body = json!({"messages": [
            {"role": "system", "content": 5, "timestamp": "yesterday"},
            7,
            {"timestamp": 1},
        ]});
        let problem = parsed(&body).unwrap_err();
        let fields: Vec<String> = problem.data.unwrap()["validation_errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["field"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            fields,
            [
                "messages.0.role",
                "messages.0.content",
                "messages.0.timestamp",
                "messages.1",
                "messages.2.role",
                "messages.2.content",
            ]
        );
        assert!(parsed(&json!({})).is_err());
    }
}
