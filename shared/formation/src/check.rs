//! Walks a document along its table: tells every fault and gives back a value that fits the types.

mod logging;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_yaml::{Mapping, Number, Value};

use crate::diagnostic::{Diagnostic, Place};
use crate::manifest::{Database, ModelName, database};
use crate::schema::{CAPABILITIES, PERSISTENT, Shape, State, Table, closest, model_table, size};
use crate::yaml::{Content, Entry, Node, Text};

/// A formation that gets less memory or disk than this could not even begin.
const SIZE_MIN: u64 = 1 << 20;

pub(crate) struct Checker<'a> {
    pub(crate) file: &'a str,
    /// `llm.aliases` of the manifest.
    pub(crate) aliases: &'a BTreeMap<String, String>,
    pub(crate) found: &'a mut Vec<Diagnostic>,
}

/// The aliases that are well-formed; the walk itself tells what is wrong with the others.
pub(crate) fn aliases(root: &Node) -> BTreeMap<String, String> {
    let Some(Content::Map(entries)) =
        root.get("llm").and_then(|llm| llm.get("aliases")).map(|node| &node.content)
    else {
        return BTreeMap::new();
    };
    let target = |entry: &Entry| Some(entry.value.as_text()?.value().to_owned());
    entries.iter().filter_map(|entry| Some((entry.key.clone(), target(entry)?))).collect()
}

// === impl Checker ===

impl Checker<'_> {
    /// Checks a map; the result holds the built keys alone. `path` is `llm.settings` or empty.
    pub(crate) fn table(&mut self, node: &Node, path: &str, table: &Table) -> Mapping {
        let mut fitting = Mapping::new();
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map");
            return fitting;
        };
        for Entry { key, key_place, value } in entries {
            let key_path = join(path, key);
            match table.state(key) {
                Some(State::Built(shape)) => {
                    if let Some(value) = self.shape(value, &key_path, shape) {
                        fitting.insert(Value::String(key.clone()), value);
                    }
                }
                Some(State::Inert(why)) => {
                    if let Some(why) = why {
                        self.warn(*key_place, format!("`{key_path}` has no effect"), why);
                    }
                }
                Some(State::Planned) => self.planned(*key_place, &key_path),
                Some(State::Removed(mend)) => {
                    let message = format!("`{key_path}` is not part of the schema");
                    self.fault(*key_place, message, mend);
                }
                None => self.unknown(*key_place, &key_path, table.meant(key)),
            }
        }
        for key in table.required {
            if node.get(key).is_none() {
                let message = format!("`{}` is missing", join(path, key));
                self.fault(node.place, message, "add it");
            }
        }
        fitting
    }

    /// The value in the form that the types take; `None` when it is at fault or left to its default.
    fn shape(&mut self, node: &Node, path: &str, shape: Shape) -> Option<Value> {
        match shape {
            Shape::Anything => Some(plain(node)),
            Shape::Map(table) => Some(Value::Mapping(self.table(node, path, table))),
            Shape::Each(shape) => self.each(node, path, *shape),
            Shape::EachModel(shape) => self.each_model(node, path, *shape),
            Shape::Texts => self.texts(node, path),
            Shape::Models => Some(self.models(node, path)),
            Shape::Persistent => self.persistent(node, path),
            Shape::LogTarget => self.log_target(node, path),
            Shape::LogStreams => self.log_streams(node, path),
            Shape::Bool => self.bool(node, path).map(Value::Bool),
            Shape::Off => {
                if self.bool(node, path)? {
                    self.planned(node.place, &format!("{path}: true"));
                }
                None
            }
            Shape::Whole { min, max } => self.whole(node, path, min, max),
            Shape::Real { min, max } => self.real(node, path, min, max),
            Shape::Count { max } => {
                self.limit(node, path, &format!("a whole number from 1 to {max}"), |text| {
                    text.parse().ok().filter(|count| (1..=max).contains(count))
                })
            }
            Shape::Size => {
                self.limit(node, path, "a size of 1 MiB or more, such as `512MiB`", |text| {
                    size(text).filter(|bytes| *bytes >= SIZE_MIN)
                })
            }
            Shape::Text => {
                let text = self.text(node, path)?;
                Some(Value::String(text.value().to_owned()))
            }
            Shape::Literal(check) => {
                let text = self.text(node, path)?;
                if !text.is_literal() {
                    let message = format!("`{path}` cannot have a placeholder");
                    self.fault(node.place, message, "write the value itself");
                    return None;
                }
                if let Err(refusal) = check(text.value()) {
                    self.fault(node.place, refusal.message, refusal.mend);
                    return None;
                }
                Some(Value::String(text.value().to_owned()))
            }
            Shape::Url => {
                let text = self.text(node, path)?;
                let is_url = ["http://", "https://"].iter().any(|it| text.value().starts_with(it));
                if !text.is_kept() && !is_url {
                    let message = format!("`{path}` is not an http or https address");
                    self.fault(node.place, message, "write `http://…` or `https://…`");
                    return None;
                }
                Some(Value::String(text.value().trim_end_matches('/').to_owned()))
            }
            Shape::Model => self.model(node, path, true),
            Shape::FullModel => self.model(node, path, false),
        }
    }

    fn each(&mut self, node: &Node, path: &str, shape: Shape) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map");
            return None;
        };
        let mut fitting = Mapping::new();
        for Entry { key, key_place, value } in entries {
            let key_path = join(path, key);
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if key.is_empty() || !key.bytes().all(word) {
                let message = format!("`{key_path}` is not a possible name");
                self.fault(*key_place, message, "use letters, digits, `-` and `_`");
            } else if matches!(shape, Shape::FullModel) && CAPABILITIES.contains(&key.as_str()) {
                let message = format!("`{key_path}` has the name of a capability");
                self.fault(*key_place, message, "choose another name for the alias");
            } else if let Some(value) = self.shape(value, &key_path, shape) {
                fitting.insert(Value::String(key.clone()), value);
            }
        }
        Some(Value::Mapping(fitting))
    }

    fn each_model(&mut self, node: &Node, path: &str, shape: Shape) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.expected(node, path, "a map");
            return None;
        };
        let mut fitting = Mapping::new();
        for Entry { key, key_place, value } in entries {
            let key_path = join(path, key);
            if key.parse::<ModelName>().is_err() {
                let message = format!("`{key_path}` does not name a model");
                self.fault(*key_place, message, "write `provider/model`");
            } else if let Some(value) = self.shape(value, &key_path, shape) {
                fitting.insert(Value::String(key.clone()), value);
            }
        }
        Some(Value::Mapping(fitting))
    }

    fn texts(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Content::List(items) = &node.content else {
            self.expected(node, path, "a list of texts");
            return None;
        };
        let texts = items.iter().enumerate().filter_map(|(i, item)| {
            let text = self.text(item, &format!("{path}[{i}]"))?;
            Some(Value::String(text.value().to_owned()))
        });
        Some(Value::Sequence(texts.collect()))
    }

    /// Both notations, a list of one-capability maps and a plain map, become a map by capability.
    fn models(&mut self, node: &Node, path: &str) -> Value {
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

    fn persistent(&mut self, node: &Node, path: &str) -> Option<Value> {
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

    fn bool(&mut self, node: &Node, path: &str) -> Option<bool> {
        match &node.content {
            Content::Bool(flag) => Some(*flag),
            Content::Text(text) if text.is_kept() => None,
            Content::Text(text) if !text.is_literal() && text.value() == "true" => Some(true),
            Content::Text(text) if !text.is_literal() && text.value() == "false" => Some(false),
            Content::Null
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => {
                self.expected(node, path, "true or false");
                None
            }
        }
    }

    fn whole(&mut self, node: &Node, path: &str, min: i64, max: i64) -> Option<Value> {
        self.number(node, path, "a whole number", min..=max, Number::as_i64)
    }

    fn real(&mut self, node: &Node, path: &str, min: f64, max: f64) -> Option<Value> {
        self.number(node, path, "a number", min..=max, Number::as_f64)
    }

    /// A number that must be readable without any placeholder's value.
    fn limit(
        &mut self,
        node: &Node,
        path: &str,
        wanted: &str,
        read: impl Fn(&str) -> Option<u64>,
    ) -> Option<Value> {
        let given = match &node.content {
            Content::Number(number) => read(&number.to_string()),
            Content::Text(text) if !text.is_literal() => {
                let message = format!("`{path}` cannot have a placeholder");
                self.fault(node.place, message, "write the value itself");
                return None;
            }
            Content::Text(text) => read(text.value()),
            Content::Null | Content::Bool(_) | Content::List(_) | Content::Map(_) => None,
        };
        if given.is_none() {
            self.expected(node, path, wanted);
        }
        given.map(Value::from)
    }

    fn number<T>(
        &mut self,
        node: &Node,
        path: &str,
        kind: &str,
        range: RangeInclusive<T>,
        read: fn(&Number) -> Option<T>,
    ) -> Option<Value>
    where
        T: FromStr + PartialOrd + Display,
        Value: From<T>,
    {
        let number = match &node.content {
            Content::Number(number) => read(number),
            Content::Text(text) if text.is_kept() => return None,
            Content::Text(text) if !text.is_literal() => text.value().trim().parse().ok(),
            Content::Null
            | Content::Bool(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => None,
        };
        let Some(number) = number.filter(|number| range.contains(number)) else {
            let (min, max) = (range.start(), range.end());
            self.expected(node, path, &format!("{kind} from {min} to {max}"));
            return None;
        };
        Some(Value::from(number))
    }

    fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Text> {
        match &node.content {
            Content::Text(text) if !text.written.trim().is_empty() => Some(text),
            Content::Text(_) | Content::Null => {
                self.fault(node.place, format!("`{path}` is empty"), "write a text or remove it");
                None
            }
            Content::Number(_) | Content::Bool(_) => {
                let message = format!("`{path}` must be a text, this is {}", node.kind());
                self.fault(node.place, message, "put it in quotes");
                None
            }
            Content::List(_) | Content::Map(_) => {
                self.expected(node, path, "a text");
                None
            }
        }
    }

    fn model(&mut self, node: &Node, path: &str, or_alias: bool) -> Option<Value> {
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

    pub(crate) fn expected(&mut self, node: &Node, path: &str, wanted: &str) {
        let name = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
        let given = match &node.content {
            Content::Number(number) => number.to_string(),
            Content::Bool(flag) => flag.to_string(),
            Content::Text(text) => format!("the text `{}`", text.written),
            Content::Null | Content::List(_) | Content::Map(_) => node.kind().to_owned(),
        };
        self.fault(node.place, format!("{name} must be {wanted}, this is {given}"), "correct it");
    }

    pub(crate) fn fault(&mut self, place: Place, message: String, mend: &str) {
        self.found.push(Diagnostic::error(self.file, place, message, mend));
    }

    pub(crate) fn warn(&mut self, place: Place, message: String, mend: &str) {
        self.found.push(Diagnostic::warning(self.file, place, message, mend));
    }

    fn planned(&mut self, place: Place, path: &str) {
        let kind = if path.contains(['.', ':']) { "" } else { "section " };
        let message = format!("{kind}`{path}` is documented but not built in this version");
        self.fault(place, message, "remove it");
    }

    fn unknown(&mut self, place: Place, path: &str, meant: Option<&str>) {
        let mend = meant.map_or("remove it".to_owned(), |it| format!("did you mean `{it}`?"));
        self.fault(place, format!("`{path}` is not a known key"), &mend);
    }
}

// === private helpers ===

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

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

fn plain(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Bool(flag) => Value::Bool(*flag),
        Content::Number(number) => Value::Number(number.clone()),
        Content::Text(text) => Value::String(text.value().to_owned()),
        Content::List(items) => Value::Sequence(items.iter().map(plain).collect()),
        Content::Map(entries) => Value::Mapping(
            entries.iter().map(|it| (Value::String(it.key.clone()), plain(&it.value))).collect(),
        ),
    }
}
