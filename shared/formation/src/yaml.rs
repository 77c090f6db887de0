//! YAML with places: the values come from `serde_yaml`, the lines and columns from a second parser.
//!
//! Invariants: a file is bounded in size, depth and what its aliases expand to before `serde_yaml`
//! sees it, because that parser takes quadratic time on deep nesting and copies every alias; a key
//! appears once; keys are texts; nothing is tagged.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScanError, Span, StrInput};
use serde_yaml::{Number, Value};

use crate::diagnostic::{Diagnostic, Place};

pub(crate) const FILE_BYTES_MAX: u64 = 256 * 1024;
const DEPTH_MAX: usize = 32;
/// Of all texts, with those that aliases repeat. A small file could stand for gigabytes.
const EXPANDED_BYTES_MAX: usize = 1024 * 1024;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

/// A text as written, and as it reads once its placeholders are filled in.
#[derive(Clone)]
pub(crate) struct Text {
    /// The only form that a message may quote: the other one can hold secrets.
    pub(crate) written: String,
    pub(crate) filled: Filled,
    /// Whether it is only complete with what the calling user entrusted.
    pub(crate) needs_user: bool,
}

#[derive(Clone)]
pub(crate) enum Filled {
    /// There is no placeholder in it.
    Literal,
    /// It has placeholders and they stay.
    Kept,
    Resolved(String),
}

pub(crate) fn parse(file: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let mut scan = Scan {
        file,
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        faults: Vec::new(),
    };
    let spot = scan.document().map_err(|fault| vec![fault])?;
    if !scan.faults.is_empty() {
        return Err(scan.faults);
    }
    let mut value: Value =
        serde_yaml::from_str(text).map_err(|error| vec![syntax_fault(file, &error)])?;
    value.apply_merge().map_err(|error| vec![syntax_fault(file, &error)])?;
    let mut faults = Vec::new();
    let node = zip(file, value, Some(&spot), Place::START, &mut faults);
    if faults.is_empty() { Ok(node) } else { Err(faults) }
}

// === impl Node ===

impl Node {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_) => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&Text> {
        if let Content::Text(text) = &self.content { Some(text) } else { None }
    }

    /// The entries of a list; nothing for what is none.
    pub(crate) fn items(&self) -> &[Node] {
        if let Content::List(items) = &self.content { items } else { &[] }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    pub(crate) fn texts_mut(&mut self, visit: &mut impl FnMut(Place, &mut Text)) {
        match &mut self.content {
            Content::Text(text) => visit(self.place, text),
            Content::List(items) => items.iter_mut().for_each(|item| item.texts_mut(visit)),
            Content::Map(entries) => {
                for entry in entries {
                    entry.value.texts_mut(visit);
                }
            }
            Content::Null | Content::Bool(_) | Content::Number(_) => {}
        }
    }
}

// === impl Text ===

impl Text {
    pub(crate) fn value(&self) -> &str {
        match &self.filled {
            Filled::Literal | Filled::Kept => &self.written,
            Filled::Resolved(value) => value,
        }
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(self.filled, Filled::Literal)
    }

    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.filled, Filled::Kept)
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.written.fmt(f)
    }
}

// === the places ===

/// The shape of a document, without its values.
struct Spot {
    place: Place,
    inside: Inside,
    /// Bytes of its texts, aliases expanded.
    bytes: usize,
}

enum Inside {
    Leaf,
    List(Vec<Spot>),
    Map(HashMap<String, (Place, Spot)>),
}

struct Scan<'a> {
    file: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// The expanded bytes of each anchor.
    anchors: HashMap<usize, usize>,
    faults: Vec<Diagnostic>,
}

impl<'a> Scan<'a> {
    fn document(&mut self) -> Result<Spot, Diagnostic> {
        let mut root = Spot { place: Place::START, inside: Inside::Leaf, bytes: 0 };
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Diagnostic::error(
                            self.file,
                            place(&span.start),
                            "a second YAML document starts here",
                            "keep one document in a file",
                        ));
                    }
                    let (event, span) = self.next()?;
                    root = self.spot(&event, span, 0)?;
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {}
            }
        }
    }

    fn spot(&mut self, event: &Event<'a>, span: Span, depth: usize) -> Result<Spot, Diagnostic> {
        let place = place(&span.start);
        if depth > DEPTH_MAX {
            return Err(Diagnostic::error(
                self.file,
                place,
                format!("this is nested deeper than {DEPTH_MAX} levels"),
                "make it flatter",
            ));
        }
        let mut bytes = 1;
        let mut anchor = 0;
        let inside = match event {
            Event::SequenceStart(id, _) => {
                anchor = *id;
                self.list(depth, &mut bytes)?
            }
            Event::MappingStart(id, _) => {
                anchor = *id;
                self.map(depth, &mut bytes)?
            }
            Event::Scalar(text, _, id, _) => {
                anchor = *id;
                bytes += text.len();
                Inside::Leaf
            }
            Event::Alias(id) => {
                bytes += self.anchors.get(id).copied().unwrap_or_default();
                Inside::Leaf
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Inside::Leaf,
        };
        if bytes > EXPANDED_BYTES_MAX {
            return Err(Diagnostic::error(
                self.file,
                place,
                format!("aliases make this larger than {} KiB", EXPANDED_BYTES_MAX / 1024),
                "repeat less",
            ));
        }
        // Zero stands for a node without an anchor.
        if anchor != 0 {
            self.anchors.insert(anchor, bytes);
        }
        Ok(Spot { place, inside, bytes })
    }

    fn list(&mut self, depth: usize, bytes: &mut usize) -> Result<Inside, Diagnostic> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Inside::List(items));
            }
            let item = self.spot(&event, span, depth + 1)?;
            *bytes = bytes.saturating_add(item.bytes);
            items.push(item);
        }
    }

    fn map(&mut self, depth: usize, bytes: &mut usize) -> Result<Inside, Diagnostic> {
        let mut entries: HashMap<String, (Place, Spot)> = HashMap::new();
        loop {
            let (key, span) = self.next()?;
            if matches!(key, Event::MappingEnd) {
                return Ok(Inside::Map(entries));
            }
            let key_place = place(&span.start);
            let name = if let Event::Scalar(name, ..) = &key { name.as_ref() } else { "" };
            let name = name.to_owned();
            let key_bytes = self.spot(&key, span, depth + 1)?.bytes;
            let (event, span) = self.next()?;
            let value = self.spot(&event, span, depth + 1)?;
            *bytes = bytes.saturating_add(key_bytes).saturating_add(value.bytes);
            if let Some((first, _)) = entries.get(&name) {
                let Place { line, column } = *first;
                self.faults.push(Diagnostic::error(
                    self.file,
                    key_place,
                    format!("the key `{name}` stands twice in the same map"),
                    format!("keep one of them; the first is at {line}:{column}"),
                ));
            } else {
                entries.insert(name, (key_place, value));
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan_fault(self.file, &error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }
}

// === private helpers ===

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

fn scan_fault(file: &str, error: &ScanError) -> Diagnostic {
    not_yaml(file, place(error.marker()), error.info())
}

fn syntax_fault(file: &str, error: &serde_yaml::Error) -> Diagnostic {
    let place = error.location().map_or(Place::START, |location| Place {
        line: location.line(),
        column: location.column(),
    });
    let told = error.to_string();
    not_yaml(file, place, told.split(" at line ").next().unwrap_or_default())
}

fn not_yaml(file: &str, place: Place, told: &str) -> Diagnostic {
    Diagnostic::error(
        file,
        place,
        format!("this is not valid YAML ({told})"),
        "check the indentation, quotes and brackets here and on the line before",
    )
}

/// Joins values with their places. What comes from an alias has the place of the alias.
fn zip(
    file: &str,
    value: Value,
    spot: Option<&Spot>,
    outer: Place,
    faults: &mut Vec<Diagnostic>,
) -> Node {
    let place = spot.map_or(outer, |spot| spot.place);
    let inside = spot.map(|spot| &spot.inside);
    let content = match value {
        Value::Null => Content::Null,
        Value::Bool(flag) => Content::Bool(flag),
        Value::Number(number) => Content::Number(number),
        Value::String(written) => {
            Content::Text(Text { written, filled: Filled::Literal, needs_user: false })
        }
        Value::Sequence(items) => {
            let spots = if let Some(Inside::List(spots)) = inside { &spots[..] } else { &[] };
            let nodes = items.into_iter().enumerate();
            Content::List(
                nodes.map(|(i, item)| zip(file, item, spots.get(i), place, faults)).collect(),
            )
        }
        Value::Mapping(entries) => {
            let spots = if let Some(Inside::Map(spots)) = inside { Some(spots) } else { None };
            let mut nodes = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let Value::String(key) = key else {
                    faults.push(Diagnostic::error(
                        file,
                        place,
                        "a key of this map is empty or not a text",
                        "name every key, in quotes when it looks like a number",
                    ));
                    continue;
                };
                let found = spots.and_then(|spots| spots.get(&key));
                let key_place = found.map_or(place, |(key_place, _)| *key_place);
                let value = zip(file, value, found.map(|(_, spot)| spot), place, faults);
                nodes.push(Entry { key, key_place, value });
            }
            Content::Map(nodes)
        }
        Value::Tagged(tagged) => {
            faults.push(Diagnostic::error(
                file,
                place,
                format!("the tag `{}` is not supported", tagged.tag),
                "write the plain value",
            ));
            Content::Null
        }
    };
    Node { place, content }
}
