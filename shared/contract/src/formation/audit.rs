//! What operators did to the formation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLog {
    pub entries: Vec<AuditEntry>,
    pub count: usize,
    /// How many fit what was asked for, also beyond the limit.
    pub total_entries: u64,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the log.
    pub id: i64,
    #[schema(format = DateTime)]
    pub timestamp: String,
    #[schema(example = "secret.created")]
    pub action: String,
    /// The kind and the id of what it was done to; the kind alone if it was done to all.
    #[schema(example = "secret/OPENAI_API_KEY")]
    pub resource: String,
    #[schema(example = "secret")]
    pub resource_type: String,
    pub resource_id: Option<String>,
    /// Always `admin`: there is one admin key.
    #[schema(example = "admin")]
    pub user: String,
    pub request_id: String,
    /// `succeeded`, `failed`, or `pending` while it is done and if the process died in it.
    #[schema(example = "succeeded")]
    pub outcome: String,
    /// The code of the error of what failed.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditCleared {
    pub message: String,
    pub previous_entries_count: u64,
    #[schema(example = "admin")]
    pub cleared_by: String,
}
