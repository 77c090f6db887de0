//! The script: which request gets which reply, and the plan of acts that a reply stands for.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asked::Asked;
use super::wire::Wire;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// When set, a request with another key or none is answered with 401.
    pub api_key: Option<String>,
    /// What `/v1/models` lists.
    pub models: Vec<String>,
    /// The first rule that matches decides; without one the reply is an echo.
    pub rules: Vec<Rule>,
    /// The same for embeddings, counted apart: `contains` goes by any text, of a reply only delay and
    /// refusal count, and without one every text gets the vector of its words.
    pub embedding_rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, rename = "match")]
    pub matches: Match,
    pub reply: Reply,
}

/// All given conditions must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The last user message contains this.
    pub contains: Option<String>,
    /// The system's messages contain this.
    pub system_contains: Option<String>,
    /// Any message contains this, whoever's it is.
    pub any_contains: Option<String>,
    /// Whether a tool's result came after the assistant's last message.
    pub has_tool_result: Option<bool>,
    /// A tool of this name is on offer.
    pub offers_tool: Option<String>,
    pub model: Option<String>,
    /// Only the n-th request, from 1, of those that the other conditions let through; a request counts
    /// for every such rule, whichever decides it.
    pub nth: Option<u64>,
}

/// `*_after_chunks: n` acts when n chunks were sent, so 0 is before the first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// The answer, one chunk a word.
    pub text: Option<String>,
    /// The answer, chunk by chunk; wins over `text`.
    pub chunks: Option<Vec<String>>,
    /// What the model asks for after the text; each piece of a call is a chunk as well.
    pub tool_calls: Vec<Call>,
    /// How the arguments of calls are cut.
    pub split: Split,
    /// What the model thinks before the answer, chunk by chunk; no part of the counts of chunks.
    pub thinking: Vec<String>,
    /// Bytes of the event stream as they are, one write each; wins over both.
    pub raw_chunks: Option<Vec<String>>,
    /// Before the response head.
    pub head_delay_ms: u64,
    /// Between the head and the first chunk.
    pub first_delay_ms: u64,
    /// Before every further chunk.
    pub chunk_delay_ms: u64,
    /// Holds the stream at `gate_after_chunks` until the gate is opened.
    pub gate: Option<String>,
    pub gate_after_chunks: usize,
    /// Tears the connection down.
    pub cut_after_chunks: Option<usize>,
    /// Ends the body properly, but without the wire's closing mark.
    pub end_after_chunks: Option<usize>,
    /// Says nothing more and keeps the connection.
    pub stall_after_chunks: Option<usize>,
    /// Sends `error_body` as an event of the stream, and ends.
    pub error_after_chunks: Option<usize>,
    /// Other than 200: answers with `error_body`, no stream.
    pub status: Option<u16>,
    pub error_body: Option<Value>,
    pub headers: HashMap<String, String>,
    /// In the wire's own word.
    pub finish_reason: Option<String>,
    pub usage: Option<Tokens>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Made from its place when it is not given.
    pub id: Option<String>,
    pub name: String,
    /// A string is sent as it is, be it JSON or not; an object as its JSON.
    #[serde(default)]
    pub arguments: Value,
}

/// `"whole"`, `"byte"` (one character a piece), or so many characters a piece.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Split {
    Named(NamedSplit),
    Characters(NonZeroUsize),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedSplit {
    Whole,
    Byte,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Tokens {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// The script with the counts of its rules.
#[derive(Debug, Default)]
pub(super) struct Prompter {
    pub(super) script: Script,
    seen: Vec<u64>,
    embeddings_seen: Vec<u64>,
}

/// One step of sending a reply.
#[derive(Debug)]
pub(super) enum Act {
    Pause(Duration),
    Gate(String),
    /// A frame around the answer: roles, counts, closing marks.
    Frame(Bytes),
    Chunk(Bytes),
    Stall,
    Cut,
    /// The end before the end.
    Stop,
}

// === impl Script ===

impl Script {
    /// Reads a whole script, or a bare list of rules.
    pub fn from_json(script: Value) -> Result<Self, serde_json::Error> {
        if script.is_array() {
            let rules = serde_json::from_value(script)?;
            return Ok(Self { rules, ..Self::default() });
        }
        serde_json::from_value(script)
    }
}

// === impl Match ===

impl Match {
    /// Whether all conditions hold that one request can tell.
    fn fits(&self, asked: &Asked) -> bool {
        let Self {
            contains,
            system_contains,
            any_contains,
            has_tool_result,
            offers_tool,
            model,
            ..
        } = self;
        let says = |wanted: &Option<String>, text: &String| {
            wanted.as_ref().is_none_or(|part| text.contains(part))
        };
        says(contains, &asked.last_user_message)
            && says(system_contains, &asked.system)
            && (any_contains.is_none() || asked.texts.iter().any(|text| says(any_contains, text)))
            && has_tool_result.is_none_or(|wanted| wanted == asked.has_tool_result)
            && offers_tool.as_ref().is_none_or(|wanted| asked.tools.contains(wanted))
            && model.as_ref().is_none_or(|wanted| *wanted == asked.model)
    }
}

// === impl Prompter ===

impl Prompter {
    pub(super) fn new(script: Script) -> Self {
        let seen = vec![0; script.rules.len()];
        let embeddings_seen = vec![0; script.embedding_rules.len()];
        Self { script, seen, embeddings_seen }
    }

    pub(super) fn admits(&self, key: Option<&str>) -> bool {
        self.script.api_key.is_none() || self.script.api_key.as_deref() == key
    }

    pub(super) fn reply(&mut self, asked: &Asked) -> Reply {
        decide(&self.script.rules, &mut self.seen, asked).unwrap_or_else(|| Reply {
            text: Some(format!("fake model: {}", asked.last_user_message)),
            ..Reply::default()
        })
    }

    pub(super) fn embedding_reply(&mut self, asked: &Asked) -> Reply {
        let rules = &self.script.embedding_rules;
        decide(rules, &mut self.embeddings_seen, asked).unwrap_or_default()
    }
}

fn decide(rules: &[Rule], seen: &mut [u64], asked: &Asked) -> Option<Reply> {
    let mut decided = None;
    for (rule, seen) in rules.iter().zip(seen) {
        if !rule.matches.fits(asked) {
            continue;
        }
        *seen += 1;
        if decided.is_none() && rule.matches.nth.is_none_or(|nth| nth == *seen) {
            decided = Some(&rule.reply);
        }
    }
    decided.cloned()
}

// === impl Call ===

impl Call {
    pub(super) fn id(&self, place: usize) -> String {
        self.id.clone().unwrap_or_else(|| format!("call_fake_{place}"))
    }

    pub(super) fn arguments(&self) -> String {
        match &self.arguments {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.arguments.to_string()
            }
        }
    }
}

// === impl Split ===

impl Default for Split {
    fn default() -> Self {
        Self::Named(NamedSplit::Whole)
    }
}

impl Split {
    pub(super) fn cut(self, text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        let size = match self {
            Self::Named(NamedSplit::Whole) => characters.len().max(1),
            Self::Named(NamedSplit::Byte) => 1,
            Self::Characters(size) => size.get(),
        };
        characters.chunks(size).map(|piece| piece.iter().collect()).collect()
    }
}

// === impl Reply ===

impl Reply {
    pub(super) fn chunks(&self) -> Vec<String> {
        match (&self.chunks, &self.text) {
            (Some(chunks), _) => chunks.clone(),
            (None, Some(text)) => text.split_inclusive(' ').map(str::to_owned).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Calls alone come without a block of text, on the wire that has blocks.
    pub(super) fn has_text_block(&self) -> bool {
        self.tool_calls.is_empty() || !self.thinking.is_empty() || !self.chunks().is_empty()
    }

    /// Everything that happens after the head, in order.
    pub(super) fn plan(&self, wire: Wire, model: &str, tokens: Option<Tokens>) -> Vec<Act> {
        let (opening, chunks, closing) = if let Some(raw) = &self.raw_chunks {
            (Vec::new(), raw.iter().cloned().map(Bytes::from).collect(), Vec::new())
        } else {
            let texts = self.chunks();
            let texts = texts.iter().map(|text| wire.chunk(model, text));
            let chunks: Vec<_> = texts.chain(wire.calls(model, self)).collect();
            (wire.opening(model, self, tokens), chunks, wire.closing(model, self, tokens))
        };
        let mut acts: Vec<_> = opening.into_iter().map(Act::Frame).collect();
        acts.extend(self.thinking.iter().map(|text| Act::Frame(wire.thought(model, text))));
        for sent in 0..=chunks.len() {
            if let Some(gate) = self.gate.as_ref().filter(|_| self.gate_after_chunks == sent) {
                acts.push(Act::Gate(gate.clone()));
            }
            if self.cut_after_chunks == Some(sent) {
                acts.push(Act::Cut);
            }
            if self.stall_after_chunks == Some(sent) {
                acts.push(Act::Stall);
            }
            if self.error_after_chunks == Some(sent) {
                let error = self.error_body.clone().unwrap_or_else(|| wire.error(500, "scripted"));
                acts.extend([Act::Frame(wire.error_event(&error)), Act::Stop]);
            }
            if self.end_after_chunks == Some(sent) {
                acts.push(Act::Stop);
            }
            if let Some(chunk) = chunks.get(sent) {
                let delay_ms = if sent == 0 { self.first_delay_ms } else { self.chunk_delay_ms };
                acts.push(Act::Pause(Duration::from_millis(delay_ms)));
                acts.push(Act::Chunk(chunk.clone()));
            }
        }
        acts.extend(closing.into_iter().map(Act::Frame));
        acts
    }
}
