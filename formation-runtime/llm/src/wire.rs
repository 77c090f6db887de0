//! What the two wires have in common: events in, chunks out, and exactly one end.

use std::collections::VecDeque;

use eventsource_stream::Event;
use futures_util::{Stream, StreamExt, stream};

use crate::http::{Blame, Fault};
use crate::{Chunk, ChunkStream, LlmErrorKind};

pub(crate) enum Step {
    Nothing,
    Text(String),
    Thinking(String),
    /// Several at once, in order; none of them is the last.
    Several(Vec<Chunk>),
    /// A [`Chunk::Finished`]; nothing after it is read.
    Done(Chunk),
}

/// One answer's state on one wire.
pub(crate) trait Decoder: Send + 'static {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault>;

    /// What the answer amounts to if nothing more arrives; `None` if that is a cut.
    fn at_end(&mut self) -> Option<Chunk>;
}

pub(crate) fn chunks<S, D>(events: S, decoder: D, blame: Blame) -> ChunkStream
where
    S: Stream<Item = Result<Event, Fault>> + Send + 'static,
    D: Decoder,
{
    let state = Some((Box::pin(events), decoder, VecDeque::new()));
    let steps = stream::unfold(state, |state| async move {
        let (mut events, mut decoder, mut ready) = state?;
        loop {
            if let Some(chunk) = ready.pop_front() {
                return Some((Ok(chunk), Some((events, decoder, ready))));
            }
            let step = match events.next().await {
                Some(Ok(event)) => decoder.decode(&event),
                Some(Err(fault)) => decoder.at_end().map(Step::Done).ok_or(fault),
                None => decoder.at_end().map(Step::Done).ok_or_else(cut_off),
            };
            match step {
                Ok(Step::Nothing) => {}
                Ok(Step::Text(text)) => {
                    return Some((Ok(Chunk::Text(text)), Some((events, decoder, ready))));
                }
                Ok(Step::Thinking(text)) => {
                    return Some((Ok(Chunk::Thinking(text)), Some((events, decoder, ready))));
                }
                Ok(Step::Several(chunks)) => ready.extend(chunks),
                Ok(Step::Done(finished)) => return Some((Ok(finished), None)),
                Err(fault) => return Some((Err(fault), None)),
            }
        }
    });
    Box::pin(steps.map(move |item| item.map_err(|fault| blame.error(fault))))
}

pub(crate) fn malformed(error: serde_json::Error) -> Fault {
    Fault {
        kind: LlmErrorKind::Protocol,
        message: "sent an event that cannot be read".to_owned(),
        source: Some(error.into()),
    }
}

// === private helpers ===

fn cut_off() -> Fault {
    Fault::new(LlmErrorKind::CutOff, "the answer was cut off before its end")
}
