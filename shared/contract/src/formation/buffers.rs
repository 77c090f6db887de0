//! The memory of conversations, under the name that the API has for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{SessionId, UserId};

/// What is kept of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BufferStatus {
    pub user_id: UserId,
    pub total_messages: u64,
    pub sessions: Vec<BufferedSession>,
    pub buffer_size_kb: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BufferedSession {
    pub session_id: SessionId,
    pub message_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BufferCleared {
    pub message: String,
    /// Null if everybody's was cleared.
    pub user_id: Option<UserId>,
    pub messages_cleared: u64,
    pub sessions_cleared: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionBufferCleared {
    pub message: String,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub messages_cleared: u64,
}

/// What is kept of everybody. Sessions are kept whole on a disk; only what a model reads of them
/// has a size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BufferStats {
    pub total_entries: u64,
    pub total_users: u64,
    pub total_sessions: u64,
    pub buffer_size_kb: f64,
    /// How many messages of a session a model reads.
    pub max_size: u32,
    /// Always null: nothing fills up.
    pub utilization: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BufferList {
    pub buffers: Vec<UserBuffer>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UserBuffer {
    pub user_id: UserId,
    pub total_messages: u64,
    pub sessions: u64,
    pub buffer_size_kb: f64,
}
