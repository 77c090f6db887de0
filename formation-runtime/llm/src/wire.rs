//! What the two wires have in common: events in, chunks out, and exactly one end.

use std::collections::VecDeque;

use eventsource_stream::Event;
use futures_util::{Stream, StreamExt, stream};

use crate::http::{Blame, Fault};
use crate::{Chunk, ChunkStream, CompletionRequest, LlmErrorKind};

pub(crate) enum Step {
    Nothing,
    Text(String),
    Thinking(String),
    /// Several at once, in order; none of them is the last.
    Several(Vec<Chunk>),
    /// The last ones, a [`Chunk::Finished`] at their end; nothing after them is read.
    Done(Vec<Chunk>),
}

/// One answer's state on one wire.
pub(crate) trait Decoder: Send + 'static {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault>;

    /// What the answer amounts to if nothing more arrives; `None` if that is a cut.
    fn at_end(&mut self) -> Option<Result<Step, Fault>>;
}

pub(crate) fn chunks<S, D>(events: S, decoder: D, blame: Blame) -> ChunkStream
where
    S: Stream<Item = Result<Event, Fault>> + Send + 'static,
    D: Decoder,
{
    let state = (Some((Box::pin(events), decoder)), VecDeque::new());
    let steps = stream::unfold(state, |(mut source, mut ready)| async move {
        loop {
            if let Some(chunk) = ready.pop_front() {
                return Some((Ok(chunk), (source, ready)));
            }
            let (mut events, mut decoder) = source.take()?;
            let step = match events.next().await {
                Some(Ok(event)) => decoder.decode(&event),
                Some(Err(fault)) => decoder.at_end().unwrap_or(Err(fault)),
                None => decoder.at_end().unwrap_or_else(|| Err(cut_off())),
            };
            match step {
                Ok(Step::Nothing) => {}
                Ok(Step::Text(text)) => ready.push_back(Chunk::Text(text)),
                Ok(Step::Thinking(text)) => ready.push_back(Chunk::Thinking(text)),
                Ok(Step::Several(chunks)) => ready.extend(chunks),
                // The connection is let go before the last chunks are read.
                Ok(Step::Done(chunks)) => {
                    ready.extend(chunks);
                    continue;
                }
                Err(fault) => return Some((Err(fault), (None, ready))),
            }
            source = Some((events, decoder));
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

/// Says what can be done when it is the tools that a model does not take.
pub(crate) fn refused_tools(fault: Fault, request: &CompletionRequest) -> Fault {
    let text = fault.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // A word about one tool's schema is about that tool.
    let told = says(&["tool", "function call"]) && says(&NOT_TAKEN) && !says(&["schema"]);
    // One provider answers 404 for "no endpoint that can do this".
    let refused = matches!(fault.kind, LlmErrorKind::BadRequest | LlmErrorKind::ModelNotFound);
    if request.tools.is_empty() || !refused || !told {
        return fault;
    }
    let message = format!(
        "{TAKES_NO_TOOLS}; name a model that does, or leave the agent without tools ({})",
        fault.message
    );
    Fault { kind: LlmErrorKind::BadRequest, message, ..fault }
}

/// How every refusal of tools begins, whoever refused.
pub(crate) const TAKES_NO_TOOLS: &str = "takes no tools";

// === private helpers ===

const NOT_TAKEN: [&str; 6] = [
    "not support",
    "unsupported",
    "unknown",
    "unrecognized",
    "no endpoints found",
    "enable-auto-tool-choice",
];

fn cut_off() -> Fault {
    Fault::new(LlmErrorKind::CutOff, "the answer was cut off before its end")
}
