//! A user's sessions, and what was said in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FormationId, RequestId, SessionId, UserId};

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    pub sessions: Vec<Session>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub message_count: u64,
    /// Whether somebody wrote in it in the last half an hour.
    pub active: bool,
    pub created_at: f64,
    pub last_activity: f64,
}

/// Oldest first: the newest of the session, or those before the place that was named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageList {
    pub session_id: SessionId,
    pub messages: Vec<Message>,
    pub count: usize,
    /// Whether there are older ones; the id of the first one here is the next `before`.
    pub has_more: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    #[schema(example = "msg_42")]
    pub id: String,
    pub text: String,
    pub metadata: MessageMetadata,
    pub timestamp: f64,
    #[schema(example = "buffer")]
    pub namespace: String,
    /// Always null.
    pub embedding: Option<Vec<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageMetadata {
    /// `user` or `assistant`.
    pub role: String,
    pub timestamp: f64,
    pub agent_id: String,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub request_id: RequestId,
    pub formation_id: FormationId,
    /// Of the turn: `running`, `completed`, `failed`, `cancelled` or `interrupted`.
    pub status: String,
    /// What came with the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<MessageFile>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageFile {
    pub filename: String,
    #[schema(example = "text/markdown")]
    pub content_type: String,
    /// In bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDeleted {
    pub session_id: SessionId,
    /// False if a message of the session is being answered, which stays.
    pub deleted: bool,
    pub messages_cleared: u64,
    pub message: String,
}

/// What a session shall hold from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    #[schema(max_items = 10_000)]
    pub messages: Vec<RestoredMessage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RestoredMessage {
    /// `user` or `assistant`.
    pub role: String,
    pub content: String,
    /// ISO 8601, or Unix seconds; messages are kept in its order.
    #[schema(value_type = String, example = "2026-01-31T12:00:00Z")]
    pub timestamp: serde_json::Value,
    pub agent_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionRestored {
    pub session_id: SessionId,
    pub messages_loaded: usize,
    pub messages_dropped: usize,
    pub message: String,
}
