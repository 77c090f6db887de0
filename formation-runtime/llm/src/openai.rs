//! The chat completions wire of `OpenAI`, which most providers and local servers speak.

use eventsource_stream::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Response;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::http::{Connection, Fault, KeyHeader, error_object};
use crate::transcription::transcribe;
use crate::wire::{Decoder, Step, chunks, malformed};
use crate::{
    Chunk, ChunkStream, CompletionRequest, Endpoint, FinishReason, HttpClients, LlmError,
    LlmErrorKind, Message, Provider, Recording, SetupError, Transcript, Usage, file, sse,
};

#[derive(Debug)]
pub struct OpenAi {
    connection: Connection,
}

impl OpenAi {
    pub fn new(
        provider: &str,
        endpoint: Endpoint,
        clients: &HttpClients,
    ) -> Result<Self, SetupError> {
        let connection = Connection::new(provider, endpoint, clients, KeyHeader::Bearer)?;
        Ok(Self { connection })
    }
}

// === impl Provider ===

impl Provider for OpenAi {
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
            match self.ask(model, request).await {
                Ok(response) => {
                    let events = sse::events(response.bytes_stream(), self.connection.timeout);
                    Ok(chunks(events, Answer::default(), blame))
                }
                Err(fault) => Err(blame.error(fault)),
            }
        }
        .boxed()
    }

    fn transcribe<'a>(
        &'a self,
        model: &'a str,
        recording: &'a Recording,
    ) -> BoxFuture<'a, Result<Transcript, LlmError>> {
        async move {
            let blame = self.connection.blame(model);
            let written = transcribe(&self.connection, model, recording).await;
            written.map_err(|fault| blame.error(fault))
        }
        .boxed()
    }
}

impl OpenAi {
    /// Sends the request; a server that names an optional field it does not take is asked again without.
    async fn ask(&self, model: &str, request: &CompletionRequest) -> Result<Response, Fault> {
        let mut body = self.body(model, request);
        loop {
            let fault = match self.connection.post("/chat/completions", &body).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            let unwelcome = OPTIONAL.iter().copied().find(|field| {
                fault.kind == LlmErrorKind::BadRequest
                    && body.get(field).is_some()
                    && fault.message.contains(field)
            });
            let (Some(field), Some(fields)) = (unwelcome, body.as_object_mut()) else {
                return Err(fault);
            };
            tracing::debug!(provider = self.name(), model, field, "asking again without a field");
            fields.remove(field);
        }
    }

    fn body(&self, model: &str, request: &CompletionRequest) -> Value {
        let mut body = json!({
            "model": model,
            "messages": request.messages.iter().map(Message::openai).collect::<Vec<_>>(),
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(temperature) = request.temperature {
            body["temperature"] = decimal(temperature);
        }
        if let Some(max_tokens) = request.max_tokens {
            // OpenAI's newer models refuse the older name, most others know only that one.
            let name = if self.name() == "openai" { "max_completion_tokens" } else { "max_tokens" };
            body[name] = max_tokens.into();
        }
        body
    }
}

/// A number as the formation's author wrote it: 0.7, not 0.699999988079071.
pub(crate) fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

// === the answer ===

/// Fields that an answer can do without.
const OPTIONAL: [&str; 2] = ["stream_options", "temperature"];

#[derive(Debug, Default)]
struct Answer {
    reason: Option<FinishReason>,
    usage: Option<Usage>,
}

impl Decoder for Answer {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault> {
        let data = event.data.trim();
        if data == "[DONE]" {
            let reason = self.reason.take().unwrap_or(FinishReason::Stop);
            return Ok(Step::Done(Chunk::Finished { reason, usage: self.usage }));
        }
        let frame: Frame = serde_json::from_str(data).map_err(malformed)?;
        if let Some(error) = frame.error {
            let (kind, text) = error_object(&error);
            let kind = kind.unwrap_or(SERVER_FAILED);
            return Err(Fault::new(kind, format!("failed while answering: {text}")));
        }
        if let Some(usage) = frame.usage {
            self.usage = Some(Usage {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
            });
        }
        let Some(mut choice) = frame.choices.into_iter().next() else { return Ok(Step::Nothing) };
        if let Some(word) = choice.finish_reason {
            self.reason = Some(reason(word));
        }
        let mut images = choice.message.take().map(|it| it.images).unwrap_or_default();
        let mut delta = choice.delta.unwrap_or_default();
        images.append(&mut delta.images);
        // A refusal in words is the model's answer, too.
        let said = |text: &String| !text.is_empty();
        let text = delta.content.filter(said).or(delta.refusal);
        let thought = delta.reasoning_content.filter(said).or(delta.reasoning).filter(said);
        if !images.is_empty() {
            let words = [thought.map(Chunk::Thinking), text.filter(said).map(Chunk::Text)];
            let files = images.into_iter().map(|it| Chunk::File(file::decode(&it.image_url.url)));
            return Ok(Step::Several(words.into_iter().flatten().chain(files).collect()));
        }
        let thought = || thought.map(Step::Thinking);
        Ok(text.filter(said).map(Step::Text).or_else(thought).unwrap_or(Step::Nothing))
    }

    fn at_end(&mut self) -> Option<Chunk> {
        // Some servers never send `[DONE]`; the reason alone says that the answer is whole.
        self.reason.take().map(|reason| Chunk::Finished { reason, usage: self.usage })
    }
}

const SERVER_FAILED: LlmErrorKind = LlmErrorKind::ServerError { status: 500, retry_after: None };

#[derive(Debug, Deserialize)]
struct Frame {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<UsageFrame>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    /// Some servers send the whole message once more; of it only what deltas do not have is read.
    message: Option<WholeMessage>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    /// What is thought before the answer; servers write it under one of these names.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    #[serde(default, deserialize_with = "or_none")]
    images: Vec<Image>,
}

#[derive(Debug, Default, Deserialize)]
struct WholeMessage {
    #[serde(default, deserialize_with = "or_none")]
    images: Vec<Image>,
}

/// A file that the model made. Not part of `OpenAI`'s own wire; several others agree on it.
#[derive(Debug, Deserialize)]
struct Image {
    image_url: ImageUrl,
}

#[derive(Debug, Deserialize)]
struct ImageUrl {
    url: String,
}

#[derive(Debug, Deserialize)]
struct UsageFrame {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// `null` is none, too.
fn or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Image>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn reason(word: String) -> FinishReason {
    match word.as_str() {
        "stop" | "eos" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "content_filter" | "safety" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word),
    }
}
