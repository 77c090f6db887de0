//! An answer as this wire sends it, event by event.

use eventsource_stream::Event;
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Fault, error_object};
use crate::tool_calls::{Piece, ToolCalls, arguments};
use crate::wire::{Decoder, Step, malformed};
use crate::{FinishReason, LlmErrorKind, ToolSpec, Usage};

#[derive(Debug)]
pub(super) struct Answer {
    reason: Option<FinishReason>,
    usage: Option<Usage>,
    calls: ToolCalls,
    /// Arguments that came with the beginning of their block; they count if no pieces follow.
    whole_input: Option<(u64, String)>,
}

impl Decoder for Answer {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault> {
        let frame: Frame = serde_json::from_str(&event.data).map_err(malformed)?;
        match frame {
            Frame::MessageStart { message } => self.count(message.usage),
            Frame::ContentBlockStart { index, content_block: block }
            | Frame::ContentBlockDelta { index, delta: block } => {
                if let Some(piece) = self.piece(index, &block) {
                    self.calls.add(piece)?;
                }
                if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                    return Ok(Step::Text(text));
                }
                if let Some(thought) = block.thinking.filter(|text| !text.is_empty()) {
                    return Ok(Step::Thinking(thought));
                }
            }
            Frame::ContentBlockStop { index } => {
                if let Some((_, input)) = self.whole_input.take_if(|(at, _)| *at == index) {
                    let index = Some(index);
                    self.calls.add(Piece { index, arguments: input, ..Piece::default() })?;
                }
            }
            Frame::MessageDelta { delta, usage } => {
                self.count(usage);
                if let Some(word) = delta.stop_reason {
                    self.reason = Some(reason(word));
                }
            }
            Frame::MessageStop => {
                return self.calls.finish(self.reason.take(), self.usage).map(Step::Done);
            }
            Frame::Error { error } => {
                let (kind, text) = error_object(&error);
                let kind =
                    kind.unwrap_or(LlmErrorKind::ServerError { status: 500, retry_after: None });
                return Err(Fault::new(kind, format!("failed while answering: {text}")));
            }
            // `ping`, and kinds that are yet to be invented.
            Frame::Other => {}
        }
        Ok(Step::Nothing)
    }

    fn at_end(&mut self) -> Option<Result<Step, Fault>> {
        None
    }
}

impl Answer {
    pub(super) fn to(tools: &[ToolSpec]) -> Self {
        Self { reason: None, usage: None, calls: ToolCalls::of(tools), whole_input: None }
    }

    /// What a block's event adds to a call, if it belongs to one.
    fn piece(&mut self, index: u64, block: &Block) -> Option<Piece> {
        let number = Some(index);
        match block.r#type.as_deref() {
            Some("tool_use") => {
                let given = block.input.as_object().is_some_and(|input| !input.is_empty());
                self.whole_input = given.then(|| (index, arguments(block.input.clone())));
                let [id, name] = [&block.id, &block.name].map(|it| it.clone().unwrap_or_default());
                Some(Piece { index: number, id, name, arguments: String::new() })
            }
            Some("input_json_delta") => {
                let arguments = block.partial_json.clone().filter(|text| !text.is_empty())?;
                self.whole_input = None;
                Some(Piece { index: number, arguments, ..Piece::default() })
            }
            // A tool of the provider's own is no call of ours.
            Some(_) | None => None,
        }
    }

    /// The counts are running totals; an event may carry one side only.
    fn count(&mut self, counts: Option<Counts>) {
        let Some(counts) = counts else { return };
        let usage = self.usage.get_or_insert_default();
        if let Some(fresh) = counts.input_tokens {
            let cached = counts.cache_creation_input_tokens.unwrap_or(0)
                + counts.cache_read_input_tokens.unwrap_or(0);
            usage.prompt_tokens = fresh + cached;
        }
        if let Some(completion) = counts.output_tokens {
            usage.completion_tokens = completion;
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    MessageStart {
        message: MessageStart,
    },
    ContentBlockStart {
        #[serde(default)]
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        #[serde(default)]
        index: u64,
        delta: Block,
    },
    ContentBlockStop {
        #[serde(default)]
        index: u64,
    },
    MessageDelta {
        delta: StopDelta,
        usage: Option<Counts>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct MessageStart {
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Block {
    r#type: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(default)]
    input: Value,
    partial_json: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StopDelta {
    stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the wire's names")]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

fn reason(word: String) -> FinishReason {
    match word.as_str() {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word),
    }
}
