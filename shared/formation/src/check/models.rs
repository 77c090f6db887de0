//! The checks of models, and of where the memory is.

use serde_yaml::{Mapping, Value};

use super::Checker;
use crate::manifest::{Database, ModelName, database};
use crate::schema::{CAPABILITIES, PERSISTENT, closest, model_table};
use crate::yaml::{Content, Node};

// === impl Checker ===

impl Checker<'_> {
    /// Both notations, a list of one-capability maps and a plain map, become a map by capability.
    pub(super) fn models(&mut self, node: &Node, path: &str) -> Value {
        let mut chosen = Mapping::new();
        let Content::List(entries) = &node.content else {
            let named = capabilities(node);
            let fitting = self.table(node, path, model_table(&named));
            if named.is_empty()
                && matches!(&node.content, Content::Map(entries) if !entries.is_empty())
            {
                let message = format!("`{path}` must name a capability");
                self.fault(node.place, message, "write `text: provider/model`");
            }
            for name in named {
                choose(&mut chosen, name, &fitting);
            }
            return Value::Mapping(chosen);
        };
        let mut seen = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let named = capabilities(entry);
            let fitting = self.table(entry, &path, model_table(&named));
            let [name] = named[..] else {
                if matches!(entry.content, Content::Map(_)) {
                    let count = named.len();
                    let message = format!("`{path}` must name one capability, not {count}");
                    self.fault(entry.place, message, "write one entry for each, such as `text: …`");
                }
                continue;
            };
            if seen.contains(&name) {
                let message = format!("`{path}` is a second `{name}` model");
                let mend = "keep one; `fallback_model` names a second choice";
                self.fault(entry.place, message, mend);
            } else {
                seen.push(name);
                choose(&mut chosen, name, &fitting);
            }
        }
        Value::Mapping(chosen)
    }

    pub(super) fn model(&mut self, node: &Node, path: &str, or_alias: bool) -> Option<Value> {
        let text = self.text(node, path)?;
        let named = text.value();
        if text.is_kept() || named.parse::<ModelName>().is_ok() {
            return Some(Value::String(named.to_owned()));
        }
        if or_alias && let Some(target) = self.aliases.get(named) {
            return Some(Value::String(target.clone()));
        }
        let written = &text.written;
        let message = format!("`{written}` is neither `provider/model` nor an alias");
        let meant = closest(named, self.aliases.keys().map(String::as_str)).filter(|_| or_alias);
        let mend = match meant {
            Some(alias) => format!("did you mean the alias `{alias}`?"),
            None if named.starts_with("http") => {
                "give the address in `llm.base_urls.<provider>` and write `<provider>/<model>`"
                    .to_owned()
            }
            None => "write it such as `openai/gpt-4o`".to_owned(),
        };
        self.fault(node.place, message, &mend);
        None
    }

    pub(super) fn persistent(&mut self, node: &Node, path: &str) -> Option<Value> {
        let mut fitting = match &node.content {
            Content::Bool(enabled) => {
                Mapping::from_iter([(Value::from("enabled"), Value::Bool(*enabled))])
            }
            Content::Map(_) => self.table(node, path, &PERSISTENT),
            Content::Null | Content::Number(_) | Content::Text(_) | Content::List(_) => {
                self.expected(node, path, "false or a map");
                return None;
            }
        };
        let connection = node.get("connection_string");
        if let Some((node, text)) = connection.and_then(|node| Some((node, node.as_text()?))) {
            fitting.remove("connection_string");
            if text.is_kept() {
                return Some(Value::Mapping(fitting));
            }
            match database(text.value()) {
                Ok(Database::File(file)) => {
                    fitting.insert(Value::from("file"), Value::from(file.as_str()));
                }
                Ok(Database::Server) => {
                    fitting.insert(Value::from("server"), Value::from(text.value()));
                }
                Err(fault) => {
                    let message = format!("`{path}.connection_string` {fault}");
                    let mend = "write `sqlite:///memory.db`, or `postgresql://user@host/database`";
                    self.fault(node.place, message, mend);
                }
            }
        }
        Some(Value::Mapping(fitting))
    }
}

// === private helpers ===

/// What a model's entry says that it is for.
fn capabilities(entry: &Node) -> Vec<&'static str> {
    CAPABILITIES.into_iter().filter(|name| entry.get(name).is_some()).collect()
}

/// The entry as the types take it, under its capability; nothing if its model is at fault.
fn choose(chosen: &mut Mapping, capability: &str, entry: &Mapping) {
    let Some(model) = entry.get(capability) else { return };
    let mut choice = Mapping::from_iter([(Value::from("model"), model.clone())]);
    for name in ["api_key", "settings"] {
        if let Some(value) = entry.get(name) {
            choice.insert(Value::from(name), value.clone());
        }
    }
    chosen.insert(Value::from(capability), Value::Mapping(choice));
}
