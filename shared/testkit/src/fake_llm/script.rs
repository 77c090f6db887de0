//! The script: which request gets which reply, and the plan of acts that a reply stands for.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

// === impl Prompter ===

impl Prompter {
    pub(super) fn new(script: Script) -> Self {
        let seen = vec![0; script.rules.len()];
        Self { script, seen }
    }

    pub(super) fn reply(&mut self, model: &str, last_user_message: &str) -> Reply {
        let mut decided = None;
        for (rule, seen) in self.script.rules.iter().zip(&mut self.seen) {
            let Match { contains, model: wanted_model, nth } = &rule.matches;
            let says = contains.as_ref().is_none_or(|part| last_user_message.contains(part));
            if !says || wanted_model.as_ref().is_some_and(|wanted| wanted != model) {
                continue;
            }
            *seen += 1;
            if decided.is_none() && nth.is_none_or(|nth| nth == *seen) {
                decided = Some(&rule.reply);
            }
        }
        decided.cloned().unwrap_or_else(|| Reply {
            text: Some(format!("fake model: {last_user_message}")),
            ..Reply::default()
        })
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

    /// Everything that happens after the head, in order.
    pub(super) fn plan(&self, wire: Wire, model: &str, tokens: Option<Tokens>) -> Vec<Act> {
        let (opening, chunks, closing) = match &self.raw_chunks {
            Some(raw) => (Vec::new(), raw.iter().cloned().map(Bytes::from).collect(), Vec::new()),
            None => (
                wire.opening(model, tokens),
                self.chunks().iter().map(|text| wire.chunk(model, text)).collect::<Vec<_>>(),
                wire.closing(model, self.finish_reason.as_deref(), tokens),
            ),
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
