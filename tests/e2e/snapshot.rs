//! Whole bodies as snapshots, without what differs from run to run.

use muxi_testkit::daemon::Frame;
use serde_json::{Value, json};

/// Numbers that are known to be there, but not which.
const NUMBERS: &str = r#""(timestamp|pid|port)": [1-9]\d*(?:\.\d+)?"#;
/// As well, and they may be 0.
const DURATIONS: &str = r#""(uptime|processing_time_ms)": \d+"#;

/// Asserts in a scope where times, ids, ports and hashes have names.
pub(crate) fn with_names(assert: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, name) in [
        (NUMBERS, r#""$1": "[$1]""#),
        (DURATIONS, r#""$1": "[$1]""#),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[time]"),
        (r"(localhost|127\.0\.0\.1):\d+", "$1:[port]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\bop_[0-9a-f]{32}\b", "op_[id]"),
        (r"\breq_[0-9a-zA-Z_-]{16,}", "req_[id]"),
    ] {
        settings.add_filter(pattern, name);
    }
    settings.bind(assert);
}

/// Frames as values; repeated reports of the same stage, which depend on speed, are told once.
pub(crate) fn frames(frames: &[Frame]) -> Value {
    let mut values: Vec<Value> =
        frames.iter().map(|frame| json!({"event": frame.event, "data": frame.data})).collect();
    let waits = |value: &Value| value["data"]["stage"] == "health_check";
    values.dedup_by(|later, earlier| waits(later) && waits(earlier));
    Value::Array(values)
}
