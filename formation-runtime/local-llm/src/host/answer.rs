//! One answer on its way to a client, whole or as events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::activity::Active;
use super::calls::{CallReader, Words};
use super::wire::{Head, WireError};
use crate::engine::{EngineError, FinishReason, Piece, Pieces, Usage};

/// How long a client hears nothing while its prompt is read, or a call written.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Dropping it, as happens when the client goes, cancels the generation.
pub(super) struct Answer {
    head: Head,
    pieces: Pieces,
    /// Only where tools are on offer do marks mean calls.
    reader: Option<CallReader>,
    ready: VecDeque<Said>,
    calls: usize,
    /// The request counts as active until the answer is gone.
    _active: Active,
}

enum Said {
    Text(String),
    /// As this wire writes it.
    Call(Value),
    Finished {
        reason: FinishReason,
        usage: Usage,
    },
}

struct Events {
    answer: Answer,
    include_usage: bool,
    phase: Phase,
}

enum Phase {
    Prefilling,
    Writing,
    Ended,
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(head: Head, pieces: Pieces, with_tools: bool, active: Active) -> Self {
        let reader = with_tools.then(CallReader::default);
        Self { head, pieces, reader, ready: VecDeque::new(), calls: 0, _active: active }
    }

    pub(super) async fn collect(mut self) -> Result<Value, WireError> {
        let (mut text, mut calls) = (String::new(), Vec::new());
        loop {
            match self.next().await? {
                Said::Text(piece) => text.push_str(&piece),
                Said::Call(call) => calls.push(call),
                Said::Finished { reason: FinishReason::Cancelled, .. } => {
                    return Err(WireError::shutting_down());
                }
                Said::Finished { reason, usage } => {
                    return Ok(self.head.completion(&text, &calls, reason, usage));
                }
            }
        }
    }

    /// The events of the answer. After an error there is no `[DONE]`.
    pub(super) fn into_events(
        self,
        include_usage: bool,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let events = Events { answer: self, include_usage, phase: Phase::Prefilling };
        futures_util::stream::unfold(events, async |mut events| {
            let bytes = events.next().await?;
            Some((Ok(bytes), events))
        })
    }

    /// Cancel-safe: receiving from a channel loses nothing when it is given up, and nothing else waits.
    async fn next(&mut self) -> Result<Said, EngineError> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Ok(said);
            }
            // The channel closes without a last piece only if the generating thread is gone.
            match self.pieces.recv().await.unwrap_or(Err(EngineError::Crashed))? {
                Piece::Text(text) => match &mut self.reader {
                    Some(reader) => reader.push(&text).into_iter().for_each(|it| self.take(it)),
                    None => return Ok(Said::Text(text)),
                },
                Piece::Finished { reason, usage } => {
                    let cut = reason != FinishReason::Stop;
                    let rest = self.reader.take().and_then(|reader| reader.finish(cut));
                    if let Some(words) = rest {
                        self.take(words);
                    }
                    self.ready.push_back(Said::Finished { reason, usage });
                }
            }
        }
    }

    fn take(&mut self, words: Words) {
        self.ready.push_back(match words {
            Words::Text(text) => Said::Text(text),
            Words::Call { name, arguments } => {
                let index = self.calls;
                self.calls += 1;
                Said::Call(json!({
                    "index": index,
                    "id": format!("call_{}", Uuid::new_v4().simple()),
                    "type": "function",
                    "function": { "name": name, "arguments": arguments },
                }))
            }
        });
    }
}

// === impl Events ===

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = String::new();
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        let Ok(said) = timeout(HEARTBEAT_INTERVAL, self.answer.next()).await else {
            return Some(Bytes::from_static(match self.phase {
                Phase::Prefilling => b": prefill\n\n",
                Phase::Writing | Phase::Ended => b": writing\n\n",
            }));
        };
        if matches!(self.phase, Phase::Prefilling) {
            self.phase = Phase::Writing;
            let first = json!({ "role": "assistant", "content": "" });
            event(&mut out, &self.answer.head.chunk(&first));
        }
        match said {
            Ok(Said::Text(text)) => {
                event(&mut out, &self.answer.head.chunk(&json!({ "content": text })));
            }
            Ok(Said::Call(call)) => {
                event(&mut out, &self.answer.head.chunk(&json!({ "tool_calls": [call] })));
            }
            Ok(Said::Finished { reason: FinishReason::Cancelled, .. }) => {
                self.end_with(&mut out, &WireError::shutting_down());
            }
            Ok(Said::Finished { reason, usage }) => {
                let called = self.answer.calls > 0;
                event(&mut out, &self.answer.head.last_chunk(reason, called));
                if self.include_usage {
                    event(&mut out, &self.answer.head.usage_chunk(usage));
                }
                out.push_str("data: [DONE]\n\n");
                self.phase = Phase::Ended;
            }
            Err(error) => self.end_with(&mut out, &error.into()),
        }
        Some(out.into())
    }

    fn end_with(&mut self, out: &mut String, error: &WireError) {
        event(out, &error.to_json());
        self.phase = Phase::Ended;
    }
}

// === private helpers ===

fn event(out: &mut String, data: &Value) {
    out.push_str("data: ");
    out.push_str(&data.to_string());
    out.push_str("\n\n");
}
