//! Model providers behind one trait: any OpenAI-compatible endpoint and Anthropic's native wire.
//!
//! Invariants:
//! - An answer is passed on piece by piece as the provider sends it; nothing is collected first.
//! - A [`ChunkStream`] ends with exactly one [`Chunk::Finished`] or exactly one error, never silently.
//! - Dropping a stream, or the future that opens one, drops the HTTP request and so aborts the call.
//! - An API key is never part of an error, a log line or a `Debug` output.

mod anthropic;
mod content;
mod error;
mod file;
mod http;
mod llm;
mod model;
mod openai;
mod retry;
mod sse;
mod tool_calls;
mod transcription;
mod wire;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::anthropic::Anthropic;
pub use crate::content::{Attachment, AttachmentKind, Message};
pub use crate::error::{LlmError, LlmErrorKind, SetupError};
pub use crate::http::{Endpoint, HttpClients};
pub use crate::llm::{Llm, Served, Target};
pub use crate::model::connect;
pub use crate::openai::OpenAi;
pub use crate::retry::RetryPolicy;
pub use crate::transcription::{Recording, Transcript};

/// The pieces of one answer, in order; see the crate's invariants.
pub type ChunkStream = Pin<Box<dyn Stream<Item = Result<Chunk, LlmError>> + Send>>;

/// One model provider: speaks a wire, knows nothing of retries and fallbacks.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The provider's name as model strings and errors carry it.
    fn name(&self) -> &str;

    /// Resolves when the provider has accepted the request and begins to answer.
    fn stream<'a>(
        &'a self,
        model: &'a str,
        request: &'a CompletionRequest,
    ) -> BoxFuture<'a, Result<ChunkStream, LlmError>>;

    /// Writes down what is said in a recording.
    fn transcribe<'a>(
        &'a self,
        model: &'a str,
        _: &'a Recording,
    ) -> BoxFuture<'a, Result<Transcript, LlmError>> {
        let error = unable(self.name(), model, "transcribes no audio; name a model that does");
        Box::pin(async move { Err(error) })
    }

    /// What texts mean, as vectors of one length, one a text and in their order; in one request.
    fn embed<'a>(
        &'a self,
        model: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Embeddings, LlmError>> {
        let error = unable(self.name(), model, "makes no embeddings; name a model that does");
        Box::pin(async move { Err(error) })
    }
}

fn unable(provider: &str, model: &str, message: &str) -> LlmError {
    LlmError {
        kind: LlmErrorKind::BadRequest,
        provider: provider.to_owned(),
        model: model.to_owned(),
        message: message.to_owned(),
        source: None,
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompletionRequest {
    pub messages: Vec<Message>,
    pub temperature: Option<f32>,
    pub max_tokens: Option<u32>,
    /// What the model may ask for instead of answering.
    pub tools: Vec<ToolSpec>,
    /// JSON Schema of the answer. Not every provider can hold its model to it, so that the answer is
    /// to be checked all the same.
    pub shape: Option<Arc<Value>>,
}

/// A tool, as a model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// `[a-zA-Z0-9_-]{1,64}`, unique in its request.
    pub name: String,
    pub description: String,
    /// JSON Schema of an object.
    pub parameters: Arc<Value>,
}

/// What a model asks for. It comes whole, however the provider cut it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's, or made where it sends none; never empty.
    pub id: String,
    pub name: String,
    /// JSON as the model wrote it, which may be none; empty for no arguments.
    pub arguments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    /// The result of a call that the assistant asked for.
    Tool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Never empty.
    Text(String),
    /// What the model says to itself before it answers; never empty, and no part of the answer.
    Thinking(String),
    /// A file that the model made, or why there is none of what it sent.
    File(Result<ModelFile, BadFile>),
    /// The model wants this done before it goes on.
    ToolCall(ToolCall),
    /// Always the last item.
    Finished { reason: FinishReason, usage: Option<Usage> },
}

/// A file as a model sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// `type/subtype` without parameters.
    pub content_type: String,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    #[error("the model told where a file is instead of sending it")]
    Elsewhere,
    #[error("the model sent a file that cannot be read")]
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    /// The answer reached `max_tokens` or the model's context window.
    Length,
    /// It waits for what it asked for.
    ToolCalls,
    /// The provider withheld (part of) the answer.
    ContentFilter,
    /// A reason this crate gives no meaning to, in the provider's word.
    Other(String),
}

/// What texts mean to a model. Only vectors of one model compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One a text, in the order of the texts, all of one length.
    pub vectors: Vec<Vec<f32>>,
    pub usage: Option<Usage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

// === impl Usage ===

impl Usage {
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
        }
    }
}
