//! `POST /v1/chat`: what is asked, what is answered, and the two dialects of its stream.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::formation::artifacts::ArtifactRef;
use crate::ids::{RequestId, SessionId, UserId};

/// The body of a chat request. Only `message` is required.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ChatRequest {
    pub message: String,
    /// Older way to name the user; the `X-Muxi-User-ID` header wins.
    pub user_id: Option<UserId>,
    pub session_id: Option<SessionId>,
    pub request_id: Option<RequestId>,
    pub agent_id: Option<String>,
    /// `true` streams events, `false` answers JSON, absent lets the Accept header decide.
    pub stream: Option<bool>,
    /// Overrides which dialect a stream speaks.
    pub stream_format: Option<StreamFormat>,
    /// `async` is answered at once, and worked on later.
    pub mode: Option<ChatMode>,
    /// The address that is told when an asynchronous request has ended.
    pub webhook_url: Option<String>,
    /// A JSON Schema that the answer must fit.
    pub output_schema: Option<serde_json::Value>,
}

/// Whether the caller waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatMode {
    Sync,
    Async,
}

/// How a stream's `data:` lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamFormat {
    /// `{"token": {type, content, stage, …}}`, as published SDKs receive.
    Events,
    /// `{"token": "text"}`, as the public API reference shows.
    Tokens,
}

/// `data` of a `chat_response`: the union of what the documented clients read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatData {
    pub message: AssistantMessage,
    pub response: Vec<ContentPart>,
    /// The answer as the value that `output_schema` asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<serde_json::Value>,
    pub status: String,
    pub processing_mode: String,
    pub usage: Usage,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub request_id: RequestId,
}

/// The answer as a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssistantMessage {
    pub role: String,
    pub content: String,
    /// The files that were made with the answer; null if there are none.
    pub artifacts: Option<Vec<ArtifactRef>>,
    pub metadata: serde_json::Value,
}

/// The answer as a list of parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ContentPart {
    Text { text: String },
}

/// Tokens of one turn, as the provider counted them; zero where it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
}

/// One event of a streamed turn (`{"token": …}` in the events dialect).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnEvent {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub session_id: SessionId,
    #[serde(rename = "type")]
    pub kind: TurnEventKind,
    pub content: String,
    pub stage: String,
    /// Unix seconds with fractions, as published clients receive.
    pub timestamp: f64,
    /// Keys that only some stages have, such as `agent_name` or `usage`.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnEventKind {
    Progress,
    Thinking,
    Planning,
    Content,
    Finalizing,
    Completed,
    Failed,
    Cancelled,
}
