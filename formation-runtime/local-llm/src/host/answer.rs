//! One answer on its way to a client, whole or as events.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::activity::Active;
use super::wire::{Head, WireError};
use crate::engine::{EngineError, FinishReason, Piece, Pieces};

/// How long a client hears nothing while its prompt waits or is read.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Dropping it, as happens when the client goes, cancels the generation.
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) pieces: Pieces,
    /// The request counts as active until the answer is gone.
    pub(super) _active: Active,
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
    pub(super) async fn collect(mut self) -> Result<Value, WireError> {
        let mut text = String::new();
        loop {
            match self.next().await? {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::Finished { reason: FinishReason::Cancelled, .. } => {
                    return Err(WireError::shutting_down());
                }
                Piece::Finished { reason, usage } => {
                    return Ok(self.head.completion(&text, reason, usage));
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

    async fn next(&mut self) -> Result<Piece, EngineError> {
        // The channel closes without a last piece only if the generating thread is gone.
        self.pieces.recv().await.unwrap_or(Err(EngineError::Crashed))
    }
}

// === impl Events ===

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = String::new();
        let piece = match self.phase {
            Phase::Ended => return None,
            Phase::Writing => self.answer.next().await,
            // Cancel-safe: receiving from a channel loses nothing when it is given up.
            Phase::Prefilling => match timeout(HEARTBEAT_INTERVAL, self.answer.next()).await {
                Err(_) => return Some(Bytes::from_static(b": prefill\n\n")),
                Ok(piece) => {
                    self.phase = Phase::Writing;
                    let first = json!({ "role": "assistant", "content": "" });
                    event(&mut out, &self.answer.head.chunk(&first, None));
                    piece
                }
            },
        };
        match piece {
            Ok(Piece::Text(text)) => {
                event(&mut out, &self.answer.head.chunk(&json!({ "content": text }), None));
            }
            Ok(Piece::Finished { reason: FinishReason::Cancelled, .. }) => {
                self.end_with(&mut out, &WireError::shutting_down());
            }
            Ok(Piece::Finished { reason, usage }) => {
                event(&mut out, &self.answer.head.chunk(&json!({}), Some(reason)));
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
