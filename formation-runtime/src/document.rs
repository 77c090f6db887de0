//! The manifest as its author wrote it, for the operator: placeholders stay, written-out keys do not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use muxi_formation::Source;
use muxi_formation::interpolate::placeholders;
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the manifest cannot be read ({0})")]
    Read(#[from] std::io::Error),
    #[error("the manifest cannot be shown as JSON")]
    Shape,
}

/// The file was checked before; this pass keeps what that one resolved. Its keys are not masked yet.
pub fn read(manifest: &Path) -> Result<Value, DocumentError> {
    let mut text = String::new();
    fs::File::open(manifest)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    // The parser's own words could quote a key.
    serde_yaml::from_str(&text).map_err(|_| DocumentError::Shape)
}

/// The normalised names of the secrets that these parts of a document ask for.
pub fn secrets_of<'a>(parts: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for part in parts {
        gather(part, &mut names);
    }
    names
}

/// Hides everything below a key-like name, except texts that are nothing but a placeholder.
pub fn mask_keys(document: &mut Value) {
    mask(document, false);
}

const FILE_BYTES_MAX: u64 = 1024 * 1024;
const MASK: &str = "••••••••";

fn gather(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| gather(value, names)),
        Value::Array(items) => items.iter().for_each(|item| gather(item, names)),
        Value::String(text) => {
            let found = placeholders(text).into_iter();
            let secrets = found.filter(|(source, _)| *source == Source::Secrets);
            names.extend(secrets.map(|(_, name)| muxi_vault::normalize_name(name)));
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn mask(value: &mut Value, is_secret: bool) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                mask(value, is_secret || holds_secrets(name));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, is_secret)),
        Value::String(text) if is_secret && !is_placeholder(text) => MASK.clone_into(text),
        Value::Number(_) if is_secret => *value = MASK.into(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Whether what has this name is probably a secret.
pub(crate) fn holds_secrets(name: &str) -> bool {
    let name = name.to_lowercase();
    let last_word = name.rsplit(['_', '-']).next().unwrap_or_default();
    // Not `tokens`, which are counted.
    ["key", "keys", "apikey", "secret", "secrets", "password", "token", "credentials"]
        .contains(&last_word)
        || ["connection_string", "authorization"].contains(&name.as_str())
}

fn is_placeholder(text: &str) -> bool {
    let inner = text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| !inner.contains("}}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_masked_and_placeholders_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("formation.afs");
        let manifest = "
id: hello
server: {api_keys: {admin_key: fma_open, client_key: '${{ secrets.CLIENT }}'}}
llm:
  api_keys: {openai: sk-open, groq: 'x${{ secrets.A }}y'}
  settings: {max_tokens: 5}
  models: [{text: openai/gpt-4o, api_key: 12345}]
extensions: {example.org: {client_secret: s3, 'bot-token': '1:x', Authorization: [Bearer x]}}
";
        fs::write(&path, manifest).unwrap();
        let expected = json!({
            "id": "hello",
            "server": {"api_keys": {"admin_key": MASK, "client_key": "${{ secrets.CLIENT }}"}},
            "llm": {
                "api_keys": {"openai": MASK, "groq": MASK},
                "settings": {"max_tokens": 5},
                "models": [{"text": "openai/gpt-4o", "api_key": MASK}],
            },
            "extensions": {"example.org": {
                "client_secret": MASK, "bot-token": MASK, "Authorization": [MASK],
            }},
        });
        let mut document = read(&path).unwrap();
        let asked: Vec<_> = secrets_of([&document]).into_iter().collect();
        assert_eq!(asked, ["A", "CLIENT"]);
        mask_keys(&mut document);
        assert_eq!(document, expected);
    }
}
