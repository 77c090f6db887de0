//! OpenTelemetry's logs as JSON over HTTP: `ExportLogsServiceRequest`, with 64-bit numbers as texts.

use serde_json::{Map, Value, json};

use super::shape::{Origin, VERSION};
use crate::events::{Level, Record};

/// The path of a collector that is named by its host alone.
pub(super) const PATH: &str = "/v1/logs";

pub(super) fn request(records: &[Record], origin: &Origin) -> String {
    let resource = [
        ("service.name", "muxi-runtime"),
        ("service.version", VERSION),
        ("muxi.formation.id", origin.formation.as_str()),
        ("host.name", origin.host.as_str()),
    ];
    let resource: Vec<Value> =
        resource.into_iter().map(|(key, value)| attribute(key, &value.into())).collect();
    let records: Vec<Value> = records.iter().map(record).collect();
    let request = json!({"resourceLogs": [{
        "resource": {"attributes": resource},
        "scopeLogs": [{
            "scope": {"name": "muxi.formation", "version": VERSION},
            "logRecords": records,
        }],
    }]});
    request.to_string()
}

/// How many records a collector did not take although it took the request, and why.
pub(super) fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let partial = answer.get("partialSuccess")?;
    let count = partial.get("rejectedLogRecords")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).filter(|it| *it > 0)?;
    let why = partial.get("errorMessage").and_then(Value::as_str).unwrap_or("no reason given");
    Some((count, why.to_owned()))
}

// === private helpers ===

fn record(record: &Record) -> Value {
    let nanoseconds = record.at.as_nanosecond().to_string();
    let level = record.kind.level();
    let mut attributes = vec![
        attribute("muxi.event", &record.kind.name().into()),
        attribute("muxi.event.id", &record.id.as_str().into()),
    ];
    let named = [
        ("muxi.request.id", &record.request),
        ("session.id", &record.session),
        ("user.id", &record.user),
        ("muxi.agent.id", &record.agent),
    ];
    attributes.extend(
        named.into_iter().filter_map(|(key, it)| Some(attribute(key, &it.as_deref()?.into()))),
    );
    let data = record.data.iter();
    attributes.extend(data.map(|(name, value)| attribute(&format!("muxi.data.{name}"), value)));
    json!({
        "timeUnixNano": nanoseconds,
        "observedTimeUnixNano": nanoseconds,
        "severityNumber": severity(level),
        "severityText": level.name(),
        "eventName": record.kind.name(),
        "body": {"stringValue": record.message},
        "attributes": attributes,
    })
}

const fn severity(level: Level) -> u8 {
    match level {
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warning => 13,
        Level::Error => 17,
    }
}

fn attribute(key: &str, value: &Value) -> Value {
    json!({"key": key, "value": any(value)})
}

/// `AnyValue`.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({"intValue": whole.to_string()}),
            None => json!({"doubleValue": number.as_f64()}),
        },
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(items) => {
            json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}})
        }
        Value::Object(fields) => json!({"kvlistValue": {"values": list(fields)}}),
    }
}

fn list(fields: &Map<String, Value>) -> Vec<Value> {
    fields.iter().map(|(key, value)| attribute(key, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let value = json!({"a": [1, 2.5, true, null, "x"], "big": u64::MAX});
        let expected = json!({"kvlistValue": {"values": [
            {"key": "a", "value": {"arrayValue": {"values": [
                {"intValue": "1"}, {"doubleValue": 2.5}, {"boolValue": true}, {},
                {"stringValue": "x"},
            ]}}},
            {"key": "big", "value": {"doubleValue": 18_446_744_073_709_551_616.0}},
        ]}});
        assert_eq!(any(&value), expected);
    }

    #[test]
    fn a_collector_may_take_a_part() {
        let answer =
            br#"{"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "too old"}}"#;
        assert_eq!(rejected(answer), Some((3, "too old".to_owned())));
        for none in [&br#"{"partialSuccess": {}}"#[..], b"{}", b"", b"\xff"] {
            assert_eq!(rejected(none), None);
        }
    }
}
