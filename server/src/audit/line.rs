//! An entry as the line of text that `GET /rpc/server/logs` documents.

use std::fmt::Write as _;

use muxi_contract::audit::{AuditEntry, Outcome};

/// `time=… level=… method=… path=… auth_key=… remote_addr=… status=… duration_ms=… error=…`
pub fn render(entry: &AuditEntry) -> String {
    let level = match entry.outcome {
        Outcome::Success => "info",
        Outcome::Refused | Outcome::Abandoned => "warn",
        Outcome::Failure => "error",
    };
    let error = entry.error.and_then(|kind| serde_json::to_value(kind).ok());
    let mut line = String::with_capacity(256);
    for (name, value) in [
        ("time", entry.at.as_str()),
        ("level", level),
        ("method", &entry.method),
        ("path", &entry.path),
        ("auth_key", entry.actor.as_deref().unwrap_or_default()),
        ("remote_addr", entry.remote.as_deref().unwrap_or_default()),
        ("status", &entry.status.to_string()),
        ("duration_ms", &entry.duration_ms.to_string()),
        ("error", error.as_ref().and_then(|it| it.as_str()).unwrap_or_default()),
        ("action", &entry.action),
        ("request_id", &entry.request_id),
        ("count", &entry.count.to_string()),
    ] {
        if !line.is_empty() {
            line.push(' ');
        }
        // Text always takes more.
        let _infallible = write!(line, "{name}={}", quoted(value));
    }
    line
}

/// A value that cannot be mistaken for another field or another line.
fn quoted(value: &str) -> String {
    let plain = |it: char| it.is_ascii_graphic() && !matches!(it, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    serde_json::to_string(value).expect("a text always serialises")
}

#[cfg(test)]
mod tests {
    use muxi_contract::management::ProblemKind;

    use super::*;

    #[test]
    fn lines_have_the_documented_fields_and_cannot_be_forged() {
        let entry = AuditEntry {
            at: "2026-11-22T08:00:00Z".to_owned(),
            remote: Some("127.0.0.1".to_owned()),
            method: "GET".to_owned(),
            path: "/rpc/x?a=1\nlevel=info".to_owned(),
            outcome: Outcome::Refused,
            status: 401,
            error: Some(ProblemKind::Unauthorized),
            duration_ms: 3,
            actor: None,
            request_id: "req_1".to_owned(),
            ..crate::audit::own_entry("unknown", 0)
        };
        assert_eq!(
            render(&entry),
            "time=2026-11-22T08:00:00Z level=warn method=GET path=\"/rpc/x?a=1\\nlevel=info\" \
             auth_key=\"\" remote_addr=127.0.0.1 status=401 duration_ms=3 error=Unauthorized \
             action=unknown request_id=req_1 count=1"
        );
    }
}
