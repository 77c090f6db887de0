//! `POST /v1/chat`: what is asked, what is answered, and the two dialects of its stream.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::formation::artifacts::ArtifactRef;
use crate::ids::{RequestId, SessionId, UserId};

/// A message, as documents describe it: the runtime reads it field by field, to tell all faults at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// Not blank, and with at most as many characters as `input_limits.max_message_length` of the
    /// manifest says.
    #[schema(pattern = r"\S", example = "What is the capital of France?")]
    pub message: String,
    /// Older way to name the user; the `X-Muxi-User-ID` header wins.
    pub user_id: Option<UserId>,
    /// Goes on with a session, or begins it; a new one is made if absent.
    pub session_id: Option<SessionId>,
    /// Under which the request can be asked for, cancelled and followed.
    pub request_id: Option<RequestId>,
    #[schema(example = "assistant")]
    pub agent_id: Option<String>,
    /// `true` streams, `false` answers with JSON; if absent, the `Accept` header decides.
    pub stream: Option<bool>,
    /// `events` unless only the `Accept` header asked for the stream.
    pub stream_format: Option<StreamFormat>,
    /// `async` is answered at once, and worked on later; `sync` always waits. If absent, an answer that
    /// would take longer than the threshold is not waited for.
    pub mode: Option<ChatMode>,
    /// What would take longer is not waited for; 0 never waits. Else `async.threshold_seconds` of the
    /// manifest counts.
    #[schema(minimum = 0)]
    pub threshold_seconds: Option<f64>,
    /// The address that is told when an asynchronous request has ended.
    #[schema(example = "https://hooks.example.com/muxi")]
    pub webhook_url: Option<String>,
    /// A JSON Schema that the answer must fit: then `data.structured` is the answer as a value.
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<serde_json::Value>,
    #[schema(max_items = 10)]
    pub files: Option<Vec<ChatFile>>,
    /// The answer to a widget that the formation has shown.
    pub ui_response: Option<UiResponse>,
    /// Without effect: groups come from the formation.
    #[schema(max_length = 256)]
    pub group_id: Option<String>,
    /// Without effect.
    #[schema(max_length = 256)]
    pub source_channel: Option<String>,
}

/// A message that is heard; the other fields of a message are taken, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AudioChatRequest {
    /// Recordings, `audio/…`.
    #[schema(min_items = 1, max_items = 10)]
    pub files: Vec<ChatFile>,
    /// Said besides.
    pub message: Option<String>,
    pub user_id: Option<UserId>,
    pub session_id: Option<SessionId>,
    pub request_id: Option<RequestId>,
    pub agent_id: Option<String>,
    pub stream: Option<bool>,
    pub stream_format: Option<StreamFormat>,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatFile {
    #[schema(min_length = 1, max_length = 256, example = "notes.md")]
    pub filename: String,
    /// Base64; of a text file, the text itself is taken, too.
    #[schema(min_length = 1)]
    pub content: String,
    /// Needed where the name does not tell.
    #[schema(example = "text/markdown")]
    pub content_type: Option<String>,
    /// Bytes; checked if given.
    pub size: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UiResponse {
    /// The widget's id.
    #[schema(example = "ui_V1StGXR8Z5jdHi6BmyTab")]
    pub id: String,
    pub value: serde_json::Value,
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
    /// Remarks on fields that look like typing errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `data` for those who are not waited for: where the answer will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Processing {
    pub message: ProcessingMessage,
    #[schema(example = "processing")]
    pub status: String,
    #[schema(example = "async")]
    pub processing_mode: String,
    /// How long the answer may take, if that is why it is not waited for.
    pub estimated_seconds: Option<f64>,
    #[schema(example = "/v1/requests/req_V1StGXR8Z5jdHi6BmyTab")]
    pub poll_url: String,
    pub webhook_url: Option<String>,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub request_id: RequestId,
    /// Remarks on fields that look like typing errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The same, where clients look for the assistant's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessingMessage {
    #[schema(example = "processing")]
    pub status: String,
    pub request_id: RequestId,
    pub message: String,
    /// `webhook` or `polling`.
    pub delivery: String,
    pub webhook_url: Option<String>,
    pub poll_url: String,
}

/// The answer as a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssistantMessage {
    pub role: String,
    pub content: String,
    /// The files that were made with the answer; null if there are none.
    pub artifacts: Option<Vec<ArtifactRef>>,
    /// Who answered, and how: `agent_id`, `model`, `finish_reason`, `processing_time_ms`, `agents_used`,
    /// `tools_called`, `model_calls`, `decisions`, of a question back `pending`, `approval_required` and
    /// `requires_user_response`, and of a recording its `transcript`.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Widgets for the caller's screen; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub ui: Option<Vec<serde_json::Value>>,
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
    #[serde(rename = "tool_call")]
    ToolCall,
    Content,
    Finalizing,
    Completed,
    Failed,
    Cancelled,
}
