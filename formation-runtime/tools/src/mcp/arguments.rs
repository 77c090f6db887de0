//! What is sent to a tool, and what its schema says against it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::quoted;

const COMPLAINTS_MAX: usize = 5;
const COMPLAINT_CHARS_MAX: usize = 200;

/// Fills in each default that the tool's schema knows and the caller did not give.
pub(super) fn with_defaults(
    mut arguments: Map<String, Value>,
    schema: &Value,
    defaults: &BTreeMap<String, Value>,
) -> Map<String, Value> {
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return arguments };
    for (name, default) in defaults {
        if known.contains_key(name) && !arguments.contains_key(name) {
            arguments.insert(name.clone(), default.clone());
        }
    }
    arguments
}

/// Whether any of the defaults would be filled in.
pub(super) fn knows_any<'a>(schema: &Value, mut names: impl Iterator<Item = &'a String>) -> bool {
    let known = schema.get("properties").and_then(Value::as_object);
    known.is_some_and(|known| names.any(|name| known.contains_key(name)))
}

/// Why the arguments do not fit the schema, one a line; empty when they do or the schema is none.
pub(super) fn complaints(schema: &Value, arguments: &Map<String, Value>) -> Vec<String> {
    let Ok(validator) = jsonschema::validator_for(schema) else { return Vec::new() };
    let arguments = Value::Object(arguments.clone());
    let complaint = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the arguments" } else { place.as_str() };
        format!("{place}: {}", quoted(&error.to_string(), COMPLAINT_CHARS_MAX))
    };
    validator.iter_errors(&arguments).take(COMPLAINTS_MAX).map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn defaults_are_filled_in_where_the_schema_knows_them_and_the_caller_gave_none() {
        let schema = json!({"properties": {"region": {}, "unit": {}}});
        let defaults = BTreeMap::from([
            ("region".to_owned(), json!("eu")),
            ("unit".to_owned(), json!("C")),
            ("unheard".to_owned(), json!(1)),
        ]);
        let sent = with_defaults(object(json!({"unit": "F", "city": "Rome"})), &schema, &defaults);
        assert_eq!(Value::Object(sent), json!({"unit": "F", "city": "Rome", "region": "eu"}));
        assert!(with_defaults(Map::new(), &json!({"type": "object"}), &defaults).is_empty());
    }

    #[test]
    fn complaints_name_the_place() {
        let schema = json!({
            "type": "object",
            "properties": {"depth": {"type": "integer"}},
            "required": ["path"],
        });
        let found = complaints(&schema, &object(json!({"depth": "two"})));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|it| it.starts_with("/depth: ")), "{found:?}");
        assert!(found.iter().any(|it| it.contains("path")), "{found:?}");
        assert!(complaints(&schema, &object(json!({"path": "."}))).is_empty());
        assert!(complaints(&json!({"type": 7}), &Map::new()).is_empty());
    }
}
