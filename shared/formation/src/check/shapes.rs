//! The checks of values that have more than one spelling.

use serde_yaml::{Mapping, Number, Value};

use super::{Checker, join};
use crate::interpolate::is_variable;
use crate::schema::{Keys, Kind, Table, closest, is_header, seconds};
use crate::yaml::{Content, Entry, Node};

/// Whose names the keys of a map are.
#[derive(Clone, Copy)]
pub(super) enum Named {
    Variables,
    Headers,
}

/// The longest that anything may be told to take.
const SECONDS_MAX: u64 = 31 * 86_400;

// === impl Checker ===

impl Checker<'_> {
    pub(super) fn word(
        &mut self,
        node: &Node,
        path: &str,
        words: &[&str],
        unbuilt: &[&str],
    ) -> Option<Value> {
        let text = self.text(node, path)?;
        let (value, written) = (text.value(), &text.written);
        if !text.is_literal() {
            let message = format!("`{path}` cannot have a placeholder");
            self.fault(node.place, message, "write the value itself");
            return None;
        }
        if words.contains(&value) {
            return Some(Value::from(value));
        }
        let message = if unbuilt.contains(&value) {
            format!("`{path}: {written}` is documented but not built in this version")
        } else {
            format!("`{path}` cannot be `{written}`")
        };
        let mend = match closest(value, words.iter().copied()) {
            Some(meant) if !unbuilt.contains(&value) => format!("did you mean `{meant}`?"),
            _ => format!("write {}", one_of(words)),
        };
        self.fault(node.place, message, &mend);
        None
    }

    /// A list of texts, or one text that is a list itself where it has separators.
    pub(super) fn separated(
        &mut self,
        node: &Node,
        path: &str,
        separator: Option<char>,
    ) -> Option<Value> {
        let Content::Text(_) = &node.content else { return self.texts(node, path) };
        let text = self.text(node, path)?.value();
        let parts: Vec<Value> = match separator {
            None => vec![Value::from(text)],
            Some(separator) => text
                .split(separator)
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(Value::from)
                .collect(),
        };
        Some(Value::Sequence(parts))
    }

    pub(super) fn arguments(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Content::List(items) = &node.content else {
            self.expected(node, path, "a list of texts");
            return None;
        };
        let texts = items.iter().enumerate().filter_map(|(i, item)| {
            self.written(item, &format!("{path}[{i}]"), false).map(Value::String)
        });
        Some(Value::Sequence(texts.collect()))
    }

    /// A map whose values are texts in the end, whatever YAML takes them for.
    pub(super) fn named(
        &mut self,
        node: &Node,
        path: &str,
        named: Named,
        for_calls: bool,
    ) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map");
            return None;
        };
        let mut fitting = Mapping::new();
        for Entry { key, key_place, value } in entries {
            let key_path = join(path, key);
            let (is_name, kind) = match named {
                Named::Variables => (is_variable(key), "an environment's variable"),
                Named::Headers => (is_header(key), "a header"),
            };
            if !is_name {
                let message = format!("`{key_path}` is not the name of {kind}");
                self.fault(*key_place, message, "use letters, digits and `_`");
            } else if let Some(text) = self.written(value, &key_path, for_calls) {
                fitting.insert(Value::from(key.as_str()), Value::String(text));
            }
        }
        Some(Value::Mapping(fitting))
    }

    pub(super) fn scalars(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map of texts, numbers and flags");
            return None;
        };
        let mut fitting = Mapping::new();
        for Entry { key, value, .. } in entries {
            let key_path = join(path, key);
            let scalar = match &value.content {
                Content::Bool(flag) => Value::Bool(*flag),
                Content::Number(number) => Value::Number(number.clone()),
                Content::Text(text) => Value::from(text.value()),
                Content::Null | Content::List(_) | Content::Map(_) => {
                    self.expected(value, &key_path, "a text, a number or true or false");
                    continue;
                }
            };
            fitting.insert(Value::from(key.as_str()), scalar);
        }
        Some(Value::Mapping(fitting))
    }

    pub(super) fn kinds(&mut self, node: &Node, path: &str, kinds: &[Kind]) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map with a `type`");
            return None;
        };
        let Some(kind) = node.get("type") else {
            let message = format!("`{}` is missing", join(path, "type"));
            self.fault(node.place, message, "add it");
            return None;
        };
        let names: Vec<&str> = kinds.iter().map(|it| it.name).collect();
        let kind = self.word(kind, &join(path, "type"), &names, &[])?;
        let found = kinds.iter().find(|it| Some(it.name) == kind.as_str())?;
        match found.keys {
            Keys::Table(table) => Some(Value::Mapping(self.table(node, path, table))),
            Keys::Variables => {
                let is_switch = |entry: &&Entry| matches!(&*entry.key, "type" | "accept_inline");
                if let Some(entry) = entries.iter().find(|it| it.key == "accept_inline") {
                    let message = format!("`{}` has no effect", join(path, "accept_inline"));
                    let mend = "credentials are never taken from a chat";
                    self.warn(entry.key_place, message, mend);
                }
                let rest: Vec<Entry> =
                    entries.iter().filter(|it| !is_switch(it)).cloned().collect();
                let rest = Node { place: node.place, content: Content::Map(rest) };
                let variables = self.named(&rest, path, Named::Variables, true)?;
                let pairs = [(Value::from("type"), kind), (Value::from("variables"), variables)];
                Some(Value::Mapping(Mapping::from_iter(pairs)))
            }
        }
    }

    /// An http address as it is written.
    pub(super) fn endpoint(&mut self, node: &Node, path: &str) -> Option<Value> {
        let text = self.text(node, path)?;
        let is_url = ["http://", "https://"].iter().any(|it| text.value().starts_with(it));
        if !text.is_kept() && !is_url {
            let message = format!("`{path}` is not an http or https address");
            self.fault(node.place, message, "write `http://…` or `https://…`");
            return None;
        }
        Some(Value::from(text.value()))
    }

    pub(super) fn duration(&mut self, node: &Node, path: &str) -> Option<Value> {
        let given = match &node.content {
            Content::Number(number) => number.as_u64(),
            Content::Text(text) if text.is_kept() => return None,
            Content::Text(text) => seconds(text.value()),
            Content::Null | Content::Bool(_) | Content::List(_) | Content::Map(_) => None,
        };
        let Some(given) = given.filter(|it| (1..=SECONDS_MAX).contains(it)) else {
            self.expected(node, path, "a time such as `90s`, `30m` or `2h`");
            return None;
        };
        Some(Value::from(given))
    }

    pub(super) fn plan_approval(&mut self, node: &Node, path: &str) -> Option<Value> {
        let word = node.as_text().map(crate::yaml::Text::value);
        if let Some(word @ ("never" | "always")) = word {
            return Some(Value::from(word));
        }
        match &node.content {
            Content::Text(text) if text.is_kept() => None,
            Content::Number(number) if in_score(number) => Some(Value::Number(number.clone())),
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => {
                self.expected(node, path, "a score from 1 to 10, `never` or `always`");
                None
            }
        }
    }

    pub(super) fn switch(&mut self, node: &Node, path: &str, table: &Table) -> Option<Value> {
        match &node.content {
            Content::Bool(flag) => Some(Value::Bool(*flag)),
            Content::Map(_) => Some(Value::Mapping(self.table(node, path, table))),
            Content::Null | Content::Number(_) | Content::Text(_) | Content::List(_) => {
                self.expected(node, path, "false or a map");
                None
            }
        }
    }

    pub(super) fn selection(&mut self, node: &Node, path: &str) -> Option<Value> {
        match &node.content {
            Content::Bool(flag) => Some(Value::Bool(*flag)),
            Content::List(_) => self.texts(node, path),
            Content::Null | Content::Number(_) | Content::Text(_) | Content::Map(_) => {
                self.expected(node, path, "true, false or a list of names");
                None
            }
        }
    }

    /// A text pins a version, which is for the manager to decide.
    pub(super) fn runtime(&mut self, node: &Node, path: &str) -> Option<Value> {
        let mut fitting = Mapping::new();
        let pin = match &node.content {
            Content::Map(entries) => {
                for Entry { key, key_place, value } in entries {
                    let key_path = join(path, key);
                    if key == "built_in_mcps" {
                        if let Some(chosen) = self.selection(value, &key_path) {
                            fitting.insert(Value::from(key.as_str()), chosen);
                        }
                    } else {
                        self.runtime_pin(*key_place, &key_path);
                    }
                }
                return Some(Value::Mapping(fitting));
            }
            Content::Text(text) => !text.value().trim().is_empty(),
            Content::Number(_) => true,
            Content::Null => false,
            Content::Bool(_) | Content::List(_) => {
                self.expected(node, path, "a version or a map");
                return None;
            }
        };
        if pin {
            self.runtime_pin(node.place, path);
        }
        Some(Value::Mapping(fitting))
    }

    fn runtime_pin(&mut self, place: crate::diagnostic::Place, path: &str) {
        let message = format!("`{path}` has no effect");
        self.warn(place, message, "the manager decides which runtime serves a formation");
    }

    pub(super) fn weights(&mut self, node: &Node, path: &str, table: &Table) -> Value {
        let fitting = self.table(node, path, table);
        let share = |name: &str| {
            node.get(name).map_or(Some(0.0), |node| match &node.content {
                Content::Number(number) => number.as_f64(),
                Content::Null
                | Content::Bool(_)
                | Content::Text(_)
                | Content::List(_)
                | Content::Map(_) => None,
            })
        };
        if let (Some(heuristic), Some(llm), Some(custom)) =
            (share("heuristic"), share("llm"), share("custom"))
        {
            let sum = heuristic + llm + custom;
            if (sum - 1.0).abs() > 0.001 {
                let message = format!("the shares of `{path}` add up to {sum}");
                self.fault(node.place, message, "make them add up to 1");
            } else if heuristic + llm <= 0.0 {
                let message = format!("`{path}` leaves everything to `custom`");
                self.fault(node.place, message, "give `heuristic` or `llm` a share");
            }
        }
        Value::Mapping(fitting)
    }

    pub(super) fn each_of(&mut self, node: &Node, path: &str, table: &Table) -> Option<Value> {
        let Content::List(items) = &node.content else {
            self.expected(node, path, "a list of maps");
            return None;
        };
        let maps = items.iter().enumerate();
        let maps =
            maps.map(|(i, item)| Value::Mapping(self.table(item, &format!("{path}[{i}]"), table)));
        Some(Value::Sequence(maps.collect()))
    }

    pub(super) fn no_list(&mut self, node: &Node, path: &str) -> Option<Value> {
        match &node.content {
            Content::List(items) if items.is_empty() => {}
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => self.refused(node.place, path),
        }
        None
    }

    /// What a scalar is as text.
    fn written(&mut self, node: &Node, path: &str, for_calls: bool) -> Option<String> {
        match &node.content {
            Content::Bool(flag) => Some(flag.to_string()),
            Content::Number(number) => Some(number.to_string()),
            // Empty ones have a meaning here.
            Content::Text(text) if text.written.is_empty() => Some(String::new()),
            Content::Text(_) if for_calls => Some(self.call_text(node, path)?.value().to_owned()),
            Content::Text(_) => Some(self.text(node, path)?.value().to_owned()),
            Content::Null | Content::List(_) | Content::Map(_) => {
                self.expected(node, path, "a text");
                None
            }
        }
    }
}

// === private helpers ===

fn in_score(number: &Number) -> bool {
    number.as_f64().is_some_and(|score| (1.0..=10.0).contains(&score))
}

pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|it| format!("`{it}`")).collect();
    match &quoted[..] {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
