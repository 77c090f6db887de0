//! Messages.

use muxi_contract::chat::{AudioChatRequest, ChatData, ChatRequest, Processing};
use muxi_contract::envelope::{Envelope, Failure};

use super::parameters::{ChatUser, Repeatable};

/// Send a message
///
/// Answers with JSON, as a stream, or at once where the answer comes later: the body and the `Accept`
/// header decide. Messages of one session are answered one after the other. What a model could not
/// answer is `LLM_ERROR`, never an apology.
#[utoipa::path(post, path = "/v1/chat", tag = "chat", operation_id = "chat",
    security(("client" = [])), params(ChatUser, Repeatable),
    request_body(content = ChatRequest, content_type = "application/json"),
    extensions(("x-answer" = json!({
        "200": "chat_response chat.completed", "202": "request request.processing",
    }))),
    responses(
        (status = 200, description = "The answer", content(
            (Envelope<ChatData> = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "The answer comes later", body = Envelope<Processing>),
        (status = 404, description = "`AGENT_NOT_FOUND`", body = Failure),
        (status = 408, description = "`TIMEOUT`", body = Failure),
        (status = 429, description = "`BUDGET_EXCEEDED`: until the time that `Retry-After` tells", body = Failure),
        (status = 499, description = "`CANCELLED`: somebody else cancelled the request", body = Failure),
        (status = 502, description = "`LLM_ERROR`: no model could answer", body = Failure),
    ))]
pub(super) fn chat() {}

/// Send a recording
///
/// It is written down by the model that the manifest names for `audio`, and then answered like a
/// message. Without such a model this is 503.
#[utoipa::path(post, path = "/v1/audiochat", tag = "chat", operation_id = "audio_chat",
    security(("client" = [])), params(ChatUser, Repeatable),
    request_body(content = AudioChatRequest, content_type = "application/json"),
    extensions(("x-answer" = json!({
        "200": "chat_response chat.completed", "202": "request request.processing",
    }))),
    responses(
        (status = 200, description = "The answer", content(
            (Envelope<ChatData> = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "The answer comes later", body = Envelope<Processing>),
        (status = 404, description = "`AGENT_NOT_FOUND`", body = Failure),
        (status = 429, description = "`BUDGET_EXCEEDED`: until the time that `Retry-After` tells", body = Failure),
        (status = 499, description = "`CANCELLED`: somebody else cancelled the request", body = Failure),
        (status = 502, description = "`LLM_ERROR`: no model could answer", body = Failure),
    ))]
pub(super) fn audio_chat() {}
