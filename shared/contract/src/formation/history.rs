//! What was said and remembered, by time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::memories::Memory;
use crate::ids::{RequestId, SessionId, UserId};

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    pub user_id: UserId,
    pub entries: Vec<HistoryEntry>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HistoryEntry {
    Conversation(PastTurn),
    Memory(PastMemory),
}

/// One message and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastTurn {
    #[schema(format = DateTime)]
    pub timestamp: String,
    pub session_id: SessionId,
    pub request_id: RequestId,
    pub agent_id: String,
    /// `running`, `completed`, `failed`, `cancelled` or `interrupted`.
    pub status: String,
    /// Null if the turn has no message of the user.
    pub question: Option<String>,
    /// Null if there is none.
    pub answer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PastMemory {
    #[schema(format = DateTime)]
    pub timestamp: String,
    pub memory: Memory,
    /// With `include_sources`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sources: Option<Vec<MemorySource>>,
}

/// Where a memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemorySource {
    pub event_id: String,
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub subject: Option<String>,
}
