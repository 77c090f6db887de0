//! `data` of the answers about a formation's logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/logging`: the manifest's section as it is written, keys masked, and what is hidden in logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoggingConfig {
    /// `logging.system`, absent when the manifest has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub system: Option<serde_json::Value>,
    /// `logging.conversation`, absent when the manifest has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub conversation: Option<serde_json::Value>,
    /// Of the section's older form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Of the section's older form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub streams: Option<serde_json::Value>,
    pub redaction: RedactionState,
}

/// What is hidden in everything that leaves as a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedactionState {
    /// Secrets of the formation, keys, tokens, passwords, addresses, numbers of cards and people: always
    /// `active`.
    #[schema(example = "active")]
    pub patterns: String,
    /// Names of people, places and the like: `off`, or `unavailable` for want of a model that finds them.
    #[schema(example = "unavailable")]
    pub entities: String,
}

/// `GET /v1/logging/destinations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggingDestinationList {
    /// Where what happens to the formation itself is written.
    pub system: SystemDestination,
    pub conversation: ConversationDestinations,
    pub redaction: RedactionState,
}

/// `logging.system`, with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemDestination {
    /// The lowest level that is written.
    #[schema(example = "debug")]
    pub level: String,
    /// `stdout`, or a file below the data folder.
    #[schema(example = "stdout")]
    pub destination: String,
    /// The level of the process's own log, which goes to standard error.
    #[schema(example = "info")]
    pub process_level: String,
    #[serde(flatten)]
    pub state: DestinationState,
}

/// `logging.conversation`, with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConversationDestinations {
    pub destinations: Vec<ConversationDestination>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConversationDestination {
    /// Its place in the manifest's list.
    #[schema(example = "streams[0]")]
    pub name: String,
    /// `stdout`, `file` or `stream` (HTTP).
    #[schema(example = "file")]
    pub transport: String,
    /// The file, or the address without secrets.
    #[schema(example = "logs/events.jsonl")]
    pub destination: String,
    /// The lowest level that is written.
    #[schema(example = "info")]
    pub level: String,
    /// `jsonl`, `text` or `opentelemetry`.
    #[schema(example = "jsonl")]
    pub format: String,
    /// Patterns of the kinds that are written; empty for all that conversations have.
    pub events: Vec<String>,
    /// How the receiver knows who sends: `none`, `bearer`, `basic` or `api_key`; null if not by HTTP.
    pub auth: Option<String>,
    #[serde(flatten)]
    pub state: DestinationState,
}

/// What became of the events of a destination since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationState {
    /// Not yet written, or on their way.
    pub queued: u64,
    pub sent: u64,
    /// Lost because there was no room, or because the destination did not take them.
    pub dropped: u64,
    pub last_error: Option<DestinationError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationError {
    /// ISO 8601.
    #[schema(example = "2026-01-01T00:00:00Z")]
    pub at: String,
    pub message: String,
}
