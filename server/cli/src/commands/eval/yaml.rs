//! YAML with places, as case files need it: maps with named keys, lists and plain values.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::Value;

const DEPTH_MAX: usize = 16;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    /// A number, true, false or nothing.
    Plain(Value),
    List(Vec<Node>),
    Map(Vec<(String, usize, Node)>),
}

/// What is wrong, and in which line.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) message: String,
}

pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut root = Node { line: 1, content: Content::Plain(Value::Null) };
    let mut documents = 0;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::DocumentStart(_) if documents > 0 => {
                return Err(wrong(&span, "a second document begins here; keep one in a file"));
            }
            Event::DocumentStart(_) => {
                documents += 1;
                let (event, span) = reader.next()?;
                root = reader.node(event, &span, 0)?;
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

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Wrong> {
        if depth > DEPTH_MAX {
            return Err(wrong(span, "this is nested too deeply; make it flatter"));
        }
        let content = match event {
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Content::Text(text.into_owned()),
            Event::Alias(_) => {
                return Err(wrong(span, "aliases are not supported here; write the value out"));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Content::Plain(Value::Null),
        };
        Ok(Node { line: span.start.line().max(1), content })
    }

    fn list(&mut self, depth: usize) -> Result<Content, Wrong> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Content::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Wrong> {
        let mut entries: Vec<(String, usize, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Content::Map(entries));
            }
            let Event::Scalar(key, ..) = event else {
                return Err(wrong(&span, "a key must be a text"));
            };
            if entries.iter().any(|(known, ..)| *known == key) {
                return Err(wrong(&span, &format!("`{key}` stands twice; keep one of them")));
            }
            let line = span.start.line().max(1);
            let (event, span) = self.next()?;
            entries.push((key.into_owned(), line, self.node(event, &span, depth + 1)?));
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Wrong {
                line: error.marker().line().max(1),
                message: format!(
                    "this is not valid YAML ({}); check the indentation and quotes",
                    error.info()
                ),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }
}

// === impl Node ===

impl Node {
    pub(super) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Text(_) => "a text",
            Content::Plain(Value::Null) => "nothing",
            Content::Plain(Value::Bool(_)) => "true or false",
            Content::Plain(_) => "a number",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Text(text) => Value::String(text.clone()),
            Content::Plain(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                entries.iter().map(|(key, _, value)| (key.clone(), value.to_json())).collect()
            }
        }
    }
}

// === private helpers ===

/// Without quotes, a value may be a number, true, false or nothing.
fn plain(text: &str) -> Content {
    match serde_yaml::from_str::<Value>(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => Content::Plain(value),
        _ => Content::Text(text.to_owned()),
    }
}

fn wrong(span: &Span, message: &str) -> Wrong {
    Wrong { line: span.start.line().max(1), message: message.to_owned() }
}
