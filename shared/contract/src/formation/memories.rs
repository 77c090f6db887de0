//! What is remembered of a user beyond what was said.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ids::UserId;

/// Who may read a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryScope {
    /// The user.
    User,
    /// The user's group. Nobody is in one, so nothing can be remembered for one.
    Group,
    /// Every user; written and deleted with the admin key.
    Formation,
}

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryList {
    pub memories: Vec<Memory>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    #[schema(example = "V1StGXR8Z5jdHi6BmyTab")]
    pub id: String,
    #[serde(rename = "type")]
    #[schema(example = "preference")]
    pub kind: String,
    pub content: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// As it was given; `{}` if none was.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub scope: MemoryScope,
    /// Who may read it: the user's id, or the formation's.
    pub scope_id: String,
    /// Who brought it, if it came from outside.
    pub source: Option<String>,
    /// The act of remembering, for `GET /v1/memories/provenance`.
    pub event_id: String,
}

/// What is to be remembered. It can be written in three ways: `content` as a text, `content` with
/// `type` and `detail` in it, or these two by themselves. `content` counts if there is more than one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewMemory {
    pub content: Option<WrittenContent>,
    /// The text, if `content` is not given.
    pub detail: Option<MemoryText>,
    /// `general` if absent.
    #[serde(rename = "type")]
    #[schema(max_length = 256, pattern = r"\S", example = "preference")]
    pub kind: Option<String>,
    /// May have as many characters as the text, written as JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// `user` if absent.
    pub scope: Option<MemoryScope>,
    /// Who brings it. What comes from a source is reported as an ingestion.
    #[schema(max_length = 256, pattern = r"\S", example = "crm")]
    pub source: Option<String>,
    /// What the source calls it: it is remembered once. Needs `source`.
    #[schema(max_length = 256, pattern = r"\S")]
    pub source_id: Option<String>,
    /// Whom or what it is about; `entity` of `GET /v1/memories/provenance`.
    #[schema(max_length = 256, pattern = r"\S")]
    pub subject: Option<String>,
    /// When it happened.
    pub timestamp: Option<WrittenTime>,
}

/// Not blank, and with at most as many characters as `input_limits.max_memory_entry_size` of the
/// manifest says, 10,000 unless it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String, pattern = r"\S", example = "likes tea")]
pub struct MemoryText(pub String);

/// A text, or one with its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WrittenContent {
    Text(MemoryText),
    Typed {
        /// `general` if absent.
        #[serde(rename = "type")]
        #[schema(max_length = 256, pattern = r"\S")]
        kind: Option<String>,
        detail: MemoryText,
    },
}

/// ISO 8601, or Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WrittenTime {
    #[schema(format = DateTime)]
    Iso(String),
    Seconds(f64),
}

/// What was made of a new memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum MemoryAnswer {
    Memory(MemoryCreated),
    Ingestion(MemoryIngested),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryCreated {
    #[schema(example = "V1StGXR8Z5jdHi6BmyTab")]
    pub id: String,
    pub content: TypedContent,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub scope: MemoryScope,
    pub scope_id: String,
    pub event_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypedContent {
    #[serde(rename = "type")]
    pub kind: String,
    pub detail: String,
}

/// What became of an entry from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IngestedStatus {
    /// It is remembered.
    Accepted,
    /// Its source brought it before.
    Duplicate,
    /// It is no memory; `error` says why.
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryIngested {
    pub status: IngestedStatus,
    pub duplicate: bool,
    /// Of a duplicate, the one of the first time.
    pub event_id: String,
    pub source: String,
    pub source_id: Option<String>,
    pub scope: MemoryScope,
    pub scope_id: String,
    /// Always empty.
    pub derived_events: Vec<String>,
    #[schema(example = "ing_V1StGXR8Z5jdHi6BmyTab")]
    pub processing_id: String,
    /// Where the report is.
    pub status_url: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryBatch {
    /// At most as many as `input_limits.max_batch_items` of the manifest says, 100 unless it does.
    /// Each needs a `source`.
    #[schema(min_items = 1)]
    pub items: Vec<NewMemory>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchIngested {
    #[schema(example = "ing_V1StGXR8Z5jdHi6BmyTab")]
    pub processing_id: String,
    pub counts: IngestionCounts,
    /// In the order of the request.
    pub items: Vec<IngestedItem>,
    /// Where the report is.
    pub status_url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestedItem {
    /// Its place among the items of the request.
    pub index: usize,
    pub status: IngestedStatus,
    /// Of one that is remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub event_id: Option<String>,
    /// Why it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestionCounts {
    pub total: usize,
    pub accepted: usize,
    pub duplicate: usize,
    pub invalid: usize,
}

/// A report on what a source brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestionReport {
    pub processing_id: String,
    /// Always `completed`: entries are taken before their sender is answered.
    #[schema(example = "completed")]
    pub status: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub completed_at: String,
    pub counts: IngestionCounts,
    pub items: Vec<IngestedItem>,
    /// Always `{}`: no model is asked.
    #[schema(value_type = Object)]
    pub usage: Map<String, Value>,
}

/// Where memories come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// The event or entity that was asked for.
    pub query: String,
    pub events: Vec<ProvenanceEvent>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProvenanceEvent {
    pub event_id: String,
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub subject: Option<String>,
    /// When it happened, if that was told.
    #[schema(format = DateTime)]
    pub timestamp: Option<String>,
    #[schema(format = DateTime)]
    pub recorded_at: String,
    pub memory: Memory,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryDeleted {
    pub id: String,
    /// Always true.
    pub deleted: bool,
    pub user_id: UserId,
}
