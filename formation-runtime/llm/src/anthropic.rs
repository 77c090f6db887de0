//! Anthropic's native messages wire.

use eventsource_stream::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Connection, Fault, KeyHeader, error_object};
use crate::openai::decimal;
use crate::wire::{Decoder, Step, chunks, malformed};
use crate::{
    Chunk, ChunkStream, CompletionRequest, Endpoint, FinishReason, HttpClients, LlmError,
    LlmErrorKind, Message, Provider, Role, SetupError, Usage, sse,
};

#[derive(Debug)]
pub struct Anthropic {
    connection: Connection,
}

impl Anthropic {
    pub fn new(endpoint: Endpoint, clients: &HttpClients) -> Result<Self, SetupError> {
        let key = KeyHeader::Named("x-api-key");
        let connection = Connection::new("anthropic", endpoint, clients, key)?
            .with_header("anthropic-version", "2023-06-01");
        Ok(Self { connection })
    }
}

// === impl Provider ===

impl Provider for Anthropic {
    fn name(&self) -> &str {
        &self.connection.provider
    }

    fn stream<'a>(
        &'a self,
        model: &'a str,
        request: &'a CompletionRequest,
    ) -> BoxFuture<'a, Result<ChunkStream, LlmError>> {
        async move {
            let blame = self.connection.blame(model);
            match self.connection.post("/messages", &body(model, request)).await {
                Ok(response) => {
                    let events = sse::events(response.bytes_stream(), self.connection.timeout);
                    Ok(chunks(events, Answer::default(), blame))
                }
                Err(fault) => Err(blame.error(fault)),
            }
        }
        .boxed()
    }
}

/// This wire demands a bound on the answer; the formation's own default.
const MAX_TOKENS_DEFAULT: u32 = 4096;

fn body(model: &str, request: &CompletionRequest) -> Value {
    let (system, talk): (Vec<_>, Vec<_>) =
        request.messages.iter().partition(|message| message.role == Role::System);
    let mut body = json!({
        "model": model,
        "messages": talk.into_iter().map(Message::anthropic).collect::<Vec<_>>(),
        "max_tokens": request.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT),
        "stream": true,
    });
    if !system.is_empty() {
        let texts: Vec<_> = system.iter().map(|message| message.content.as_str()).collect();
        body["system"] = texts.join("\n\n").into();
    }
    if let Some(temperature) = request.temperature {
        // A formation may say up to 2, this wire ends at 1.
        body["temperature"] = decimal(temperature.min(1.0));
    }
    body
}

// === the answer ===

#[derive(Debug, Default)]
struct Answer {
    reason: Option<FinishReason>,
    usage: Option<Usage>,
}

impl Decoder for Answer {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault> {
        let frame: Frame = serde_json::from_str(&event.data).map_err(malformed)?;
        match frame {
            Frame::MessageStart { message } => self.count(message.usage),
            Frame::ContentBlockStart { content_block: block }
            | Frame::ContentBlockDelta { delta: block } => {
                if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                    return Ok(Step::Text(text));
                }
                if let Some(thought) = block.thinking.filter(|text| !text.is_empty()) {
                    return Ok(Step::Thinking(thought));
                }
            }
            Frame::MessageDelta { delta, usage } => {
                self.count(usage);
                if let Some(word) = delta.stop_reason {
                    self.reason = Some(reason(word));
                }
            }
            Frame::MessageStop => {
                let reason = self.reason.take().unwrap_or(FinishReason::Stop);
                return Ok(Step::Done(Chunk::Finished { reason, usage: self.usage }));
            }
            Frame::Error { error } => {
                let (kind, text) = error_object(&error);
                let kind =
                    kind.unwrap_or(LlmErrorKind::ServerError { status: 500, retry_after: None });
                return Err(Fault::new(kind, format!("failed while answering: {text}")));
            }
            // `ping`, `content_block_stop`, and kinds that are yet to be invented.
            Frame::Other => {}
        }
        Ok(Step::Nothing)
    }

    fn at_end(&mut self) -> Option<Chunk> {
        None
    }
}

impl Answer {
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
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Block,
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
    text: Option<String>,
    thinking: Option<String>,
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
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word),
    }
}
