//! The checks of `tools` blocks and of `skills`.

use serde_yaml::{Mapping, Value};

use super::Checker;
use crate::schema::TOOLS;
use crate::yaml::{Content, Entry, Node};

/// The names of the format, and what older bundles call them.
const ALIASES: [(&str, &str); 2] = [("allow", "whitelist"), ("deny", "blacklist")];

// === impl Checker ===

impl Checker<'_> {
    pub(super) fn tools(&mut self, node: &Node, path: &str) -> Value {
        let mut fitting = self.table(node, path, &TOOLS);
        for (name, alias) in ALIASES {
            let Some(value) = fitting.remove(alias) else { continue };
            if let Some(second) = node.get(name).and(node.get(alias)) {
                let message = format!("`{path}.{alias}` is another name of `{path}.{name}`");
                self.fault(second.place, message, "keep one of them");
            }
            fitting.insert(Value::from(name), value);
        }
        if fitting.get("allow").and_then(Value::as_sequence).is_some_and(Vec::is_empty) {
            let message = format!("`{path}.allow` is empty and filters nothing");
            self.warn(node.place, message, "list what is allowed, or `deny: \"*\"`");
            fitting.remove("allow");
        }
        Value::Mapping(fitting)
    }

    /// A list of names, or a map with them.
    pub(super) fn skills(&mut self, node: &Node, path: &str) -> Option<Value> {
        let mut fitting = Mapping::new();
        match &node.content {
            Content::List(_) => {
                fitting.insert(Value::from("names"), self.texts(node, path)?);
            }
            Content::Map(entries) => {
                for Entry { key, key_place, value } in entries {
                    let key_path = format!("{path}.{key}");
                    let found = match key.as_str() {
                        "names" => self.texts(value, &key_path),
                        "disable_builtin" => self.selection(value, &key_path),
                        _ => {
                            let meant =
                                super::closest(key, ["names", "disable_builtin"].into_iter());
                            self.unknown(*key_place, &key_path, meant);
                            None
                        }
                    };
                    if let Some(found) = found {
                        fitting.insert(Value::from(key.as_str()), found);
                    }
                }
            }
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
                self.expected(node, path, "a list of names or a map");
                return None;
            }
        }
        Some(Value::Mapping(fitting))
    }
}
