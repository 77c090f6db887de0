//! Answers that must be one JSON value of a given shape: asked for, checked, and asked for once more.
//! Pure.

use jsonschema::Validator;
use serde_json::Value;

/// What an answer must be.
#[derive(Debug)]
pub struct Expected {
    schema: Value,
    validator: Validator,
}

/// The schema is none, or names what is elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("is no JSON Schema that can be checked here: {0}")]
pub struct InvalidSchema(String);

/// So many faults of an answer are told to the model.
const FAULTS_TOLD: usize = 10;
/// A longer schema is no description of an answer.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;

// === impl Expected ===

impl Expected {
    pub fn new(schema: Value) -> Result<Self, InvalidSchema> {
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(InvalidSchema(format!("it has more than {SCHEMA_BYTES_MAX} bytes")));
        }
        let validator =
            jsonschema::validator_for(&schema).map_err(|error| InvalidSchema(error.to_string()))?;
        Ok(Self { schema, validator })
    }

    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// What the model is told.
    pub fn instruction(&self) -> String {
        format!(
            "Answer with one JSON value and nothing else: no explanation, no code fence. It must fit \
             this JSON Schema:\n{}",
            self.schema
        )
    }

    /// What the model is told of an answer that does not fit.
    pub fn correction(faults: &str) -> String {
        format!(
            "That does not fit the JSON Schema:\n{faults}\nAnswer again with the whole corrected JSON \
             value and nothing else."
        )
    }

    /// The value, or everything that is wrong with the text.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let value: Value =
            serde_json::from_str(bare(text)).map_err(|error| format!("it is not JSON: {error}"))?;
        let faults: Vec<String> = self
            .validator
            .iter_errors(&value)
            .take(FAULTS_TOLD)
            .map(|error| {
                let path = error.instance_path().to_string();
                let place = if path.is_empty() { "the value" } else { path.as_str() };
                format!("{place}: {error}")
            })
            .collect();
        if faults.is_empty() { Ok(value) } else { Err(faults.join("\n")) }
    }
}

/// Without the fence that some models cannot do without.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let Some(inner) = inner else { return text };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expected() -> Expected {
        let schema = json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
            "required": ["name", "age"],
        });
        Expected::new(schema).unwrap()
    }

    #[test]
    fn an_answer_fits_with_or_without_a_fence() {
        for text in [
            r#"{"name": "Ada", "age": 36}"#,
            "\n```json\n{\"name\": \"Ada\", \"age\": 36}\n```\n",
            "```\n{\"name\": \"Ada\", \"age\": 36}```",
        ] {
            assert_eq!(expected().read(text).unwrap(), json!({"name": "Ada", "age": 36}), "{text}");
        }
    }

    #[test]
    fn all_faults_are_told_with_their_places() {
        let faults = expected().read(r#"{"age": -1}"#).unwrap_err();
        assert!(faults.contains("/age: ") && faults.contains("name"), "{faults}");
        assert!(expected().read("Ada is 36").unwrap_err().starts_with("it is not JSON"));
    }

    #[test]
    fn what_is_no_schema_is_refused_and_nothing_is_fetched() {
        assert!(Expected::new(json!({"type": "person"})).is_err());
        assert!(Expected::new(json!({"$ref": "https://example.com/schema.json"})).is_err());
        assert!(Expected::new(json!({"$ref": "file:///etc/passwd"})).is_err());
    }
}
