//! An answer as this wire sends it, frame by frame.

use eventsource_stream::Event;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::http::{Fault, error_object};
use crate::tool_calls::{Piece, ToolCalls, arguments};
use crate::wire::{Decoder, Step, malformed};
use crate::{Chunk, FinishReason, LlmErrorKind, ToolSpec, Usage, file};

#[derive(Debug)]
pub(super) struct Answer {
    reason: Option<FinishReason>,
    usage: Option<Usage>,
    calls: ToolCalls,
}

impl Answer {
    pub(super) fn to(tools: &[ToolSpec]) -> Self {
        Self { reason: None, usage: None, calls: ToolCalls::of(tools) }
    }

    fn done(&mut self) -> Result<Step, Fault> {
        self.calls.finish(self.reason.take(), self.usage).map(Step::Done)
    }

    fn add(&mut self, calls: Vec<CallDelta>) -> Result<(), Fault> {
        calls.into_iter().try_for_each(|CallDelta { index, id, function }| {
            let function = function.unwrap_or_default();
            self.calls.add(Piece {
                index,
                id: id.unwrap_or_default(),
                name: function.name.unwrap_or_default(),
                arguments: arguments(function.arguments),
            })
        })
    }
}

impl Decoder for Answer {
    fn decode(&mut self, event: &Event) -> Result<Step, Fault> {
        let data = event.data.trim();
        if data == "[DONE]" {
            return self.done();
        }
        let frame: Frame = serde_json::from_str(data).map_err(malformed)?;
        if let Some(error) = frame.error {
            let (kind, text) = error_object(&error);
            let kind = kind.unwrap_or(SERVER_FAILED);
            return Err(Fault::new(kind, format!("failed while answering: {text}")));
        }
        if let Some(usage) = frame.usage {
            self.usage = Some(usage.into());
        }
        let Some(mut choice) = frame.choices.into_iter().next() else { return Ok(Step::Nothing) };
        if let Some(word) = choice.finish_reason {
            self.reason = Some(reason(word));
        }
        let WholeMessage { mut images, tool_calls } = choice.message.take().unwrap_or_default();
        let mut delta = choice.delta.unwrap_or_default();
        images.append(&mut delta.images);
        self.add(delta.tool_calls)?;
        if self.calls.is_empty() {
            self.add(tool_calls)?;
        }
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

    fn at_end(&mut self) -> Option<Result<Step, Fault>> {
        // Some servers never send `[DONE]`; the reason alone says that the answer is whole.
        self.reason.is_some().then(|| self.done())
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
    #[serde(default, deserialize_with = "or_none")]
    tool_calls: Vec<CallDelta>,
}

#[derive(Debug, Default, Deserialize)]
struct WholeMessage {
    #[serde(default, deserialize_with = "or_none")]
    images: Vec<Image>,
    #[serde(default, deserialize_with = "or_none")]
    tool_calls: Vec<CallDelta>,
}

#[derive(Debug, Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Value,
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
pub(super) struct UsageFrame {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl From<UsageFrame> for Usage {
    fn from(UsageFrame { prompt_tokens, completion_tokens }: UsageFrame) -> Self {
        Self { prompt_tokens, completion_tokens }
    }
}

/// `null` is none, too.
fn or_none<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn reason(word: String) -> FinishReason {
    match word.as_str() {
        "stop" | "eos" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" | "safety" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word),
    }
}
