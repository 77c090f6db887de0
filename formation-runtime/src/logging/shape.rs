//! How records are written.

use std::fs;
use std::sync::Arc;

use muxi_contract::FormationId;
use muxi_formation::manifest::logging::LogFormat;
use serde::Serialize;
use serde_json::{Map, Value};

use super::otlp;
use crate::events::{EventKind, Record};

/// Who says it; the same in every record.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) formation: String,
    pub(super) host: String,
}

#[derive(Debug)]
pub(super) struct Encoder {
    format: LogFormat,
    origin: Arc<Origin>,
}

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

// === impl Origin ===

impl Origin {
    pub(super) fn new(formation: &FormationId) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let host = if host.is_empty() { "localhost" } else { host };
        Self { formation: formation.to_string(), host: host.to_owned() }
    }
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn new(format: LogFormat, origin: Arc<Origin>) -> Self {
        Self { format, origin }
    }

    /// One line, with its end.
    pub(super) fn line(&self, record: &Record) -> String {
        let mut line = match self.format {
            LogFormat::Jsonl => json(record, &self.origin),
            LogFormat::Text => text(record),
            LogFormat::OpenTelemetry => otlp::request(std::slice::from_ref(record), &self.origin),
        };
        line.push('\n');
        line
    }

    /// The body of one call.
    pub(super) fn body(&self, records: &[Record]) -> String {
        match self.format {
            LogFormat::Jsonl | LogFormat::Text => {
                records.iter().map(|record| self.line(record)).collect()
            }
            LogFormat::OpenTelemetry => otlp::request(records, &self.origin),
        }
    }
}

// === private helpers ===

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    timestamp: i64,
    level: &'static str,
    muxi_version: &'static str,
    server: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request<'a>>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    formation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    more: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    /// Of what happened outside of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    description: &'a str,
}

fn json(record: &Record, origin: &Origin) -> String {
    let user_id = record.user.as_deref();
    let request = record.request.as_deref().map(|id| Request {
        id,
        status: status(record.kind),
        formation_id: &origin.formation,
        user_id,
    });
    let line = Line {
        id: &record.id,
        timestamp: record.at.as_millisecond(),
        level: record.kind.level().name(),
        muxi_version: VERSION,
        server: &origin.host,
        event: record.kind.name(),
        session_id: record.session.as_deref(),
        data: Data {
            more: &record.data,
            agent_id: record.agent.as_deref(),
            user_id: user_id.filter(|_| request.is_none()),
            description: &record.message,
        },
        request,
    };
    serde_json::to_string(&line).expect("our own types always serialise")
}

/// What became of the request, where the event says so.
fn status(kind: EventKind) -> Option<&'static str> {
    let last_word = kind.name().rsplit('.').next()?;
    ["accepted", "started", "resumed", "completed", "failed", "cancelled", "abandoned"]
        .into_iter()
        .find(|status| *status == last_word)
        .map(|status| match status {
            "accepted" => "pending",
            "started" | "resumed" => "processing",
            "abandoned" => "failed",
            other => other,
        })
}

fn text(record: &Record) -> String {
    let at = record.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let (level, event) = (record.kind.level().name(), record.kind.name());
    let request = record.request.as_deref().unwrap_or("-");
    // A line break of somebody else's must not begin a line of ours.
    let printable = |text: &str| -> String {
        let escaped = text
            .chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
        escaped.collect()
    };
    format!("{at} | {level} | {event} | {} | {}", printable(request), printable(&record.message))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    pub(in super::super) fn record(kind: EventKind) -> Record {
        Record {
            id: "evt_1".into(),
            kind,
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            message: "helper has\nanswered".into(),
            user: Some("alice".into()),
            session: Some("s".into()),
            request: Some("req_1".into()),
            agent: Some("helper".into()),
            data: json!({"prompt_tokens": 7}).as_object().unwrap().clone(),
        }
    }

    fn encoded(format: LogFormat, record: &Record) -> String {
        let origin = Origin { formation: "under-test".into(), host: "here".into() };
        Encoder::new(format, Arc::new(origin)).line(record)
    }

    #[test]
    fn a_line_of_json_has_the_documented_fields() {
        let line = encoded(LogFormat::Jsonl, &record(EventKind::ChatCompleted));
        let expected = json!({
            "id": "evt_1", "timestamp": 1_700_000_000_123_i64, "level": "INFO",
            "muxi_version": VERSION, "server": "here", "event": "chat.completed", "session_id": "s",
            "request": {"id": "req_1", "status": "completed", "formation_id": "under-test", "user_id": "alice"},
            "data": {"prompt_tokens": 7, "agent_id": "helper", "description": "helper has\nanswered"},
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_line_of_text_is_one_line() {
        let line = encoded(LogFormat::Text, &record(EventKind::ChatFailed));
        let expected =
            "2023-11-14T22:13:20.123Z | ERROR | chat.failed | req_1 | helper has\\nanswered\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn only_what_says_so_has_a_status() {
        assert_eq!(status(EventKind::RequestAccepted), Some("pending"));
        assert_eq!(status(EventKind::RequestAbandoned), Some("failed"));
        assert_eq!(status(EventKind::MemoryCreated), None);
    }
}
