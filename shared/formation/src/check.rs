//! Walks a document along its table: tells every fault and gives back a value that fits the types.

mod logging;
mod models;
mod shapes;
mod tools;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_yaml::{Mapping, Number, Value};

use crate::diagnostic::{Diagnostic, Place};
use crate::manifest::ModelName;
use crate::schema::{CAPABILITIES, Shape, State, Table, closest, size};
use crate::yaml::{Content, Entry, Node, Text};
use shapes::Named;

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
                Some(State::Unbuilt) => self.unbuilt(*key_place, &key_path),
                Some(State::Refused) => self.refused(*key_place, &key_path),
                Some(State::Stale(mend)) => {
                    let message =
                        format!("`{key_path}` is not part of the schema and has no effect");
                    self.warn(*key_place, message, mend);
                }
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
                    self.unbuilt(node.place, &format!("{path}: true"));
                }
                None
            }
            Shape::CallText => {
                let text = self.call_text(node, path)?;
                Some(Value::String(text.value().to_owned()))
            }
            Shape::Word { words, unbuilt } => self.word(node, path, words, unbuilt),
            Shape::OneOrMore => self.separated(node, path, None),
            Shape::Commas => self.separated(node, path, Some(',')),
            Shape::Spaces => self.separated(node, path, Some(' ')),
            Shape::Arguments => self.arguments(node, path),
            Shape::Variables => self.named(node, path, Named::Variables, false),
            Shape::CallVariables => self.named(node, path, Named::Variables, true),
            Shape::Headers => self.named(node, path, Named::Headers, false),
            Shape::CallHeaders => self.named(node, path, Named::Headers, true),
            Shape::Scalars => self.scalars(node, path),
            Shape::Tools => Some(self.tools(node, path)),
            Shape::Kinds(kinds) => self.kinds(node, path, kinds),
            Shape::Endpoint => self.endpoint(node, path),
            Shape::Duration => self.duration(node, path),
            Shape::PlanApproval => self.plan_approval(node, path),
            Shape::Switch(table) => self.switch(node, path, table),
            Shape::Runtime => self.runtime(node, path),
            Shape::Skills => self.skills(node, path),
            Shape::Weights(table) => Some(self.weights(node, path, table)),
            Shape::EachOf(table) => self.each_of(node, path, table),
            Shape::NoList => self.no_list(node, path),
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

    pub(crate) fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Text> {
        let text = self.call_text(node, path)?;
        if text.needs_user {
            let message = format!("`{path}` cannot wait for a user's credentials");
            let mend =
                "they stand in an MCP server's `auth`, `headers`, `env` and `parameters` only";
            self.fault(node.place, message, mend);
            return None;
        }
        Some(text)
    }

    fn call_text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Text> {
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

    fn refused(&mut self, place: Place, path: &str) {
        let kind = if path.contains(['.', ':']) { "" } else { "section " };
        let message = format!("{kind}`{path}` is documented but not built in this version");
        self.fault(place, message, "remove it");
    }

    fn unbuilt(&mut self, place: Place, path: &str) {
        let message = format!("`{path}` has no effect in this version");
        self.warn(place, message, "it is documented and not built; remove it, or leave it");
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

pub(crate) fn plain(node: &Node) -> Value {
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
