//! What the formation is doing, in figures.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::FormationId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FormationStatus {
    pub formation: FormationIdentity,
    pub agents: ActiveCount,
    /// Always zero: none can be configured in this version.
    pub mcp_servers: ActiveCount,
    pub stats: FormationStats,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FormationIdentity {
    pub id: FormationId,
    pub name: Option<String>,
    pub description: String,
    #[schema(example = "1.0.0")]
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActiveCount {
    pub count: usize,
    pub active: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FormationStats {
    pub running: Running,
    pub memory: MemoryUse,
    pub requests: RequestCounts,
    pub sessions: u64,
    /// Messages that are kept.
    pub buffer_size: u64,
    /// The mean since the start, where two busy cores are 200; null if the machine does not tell.
    pub cpu_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Running {
    pub seconds: i64,
    #[schema(format = DateTime)]
    pub since: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryUse {
    /// Always null.
    pub working_memory_mb: Option<f64>,
    /// Of the process; null if the machine does not tell.
    pub memory_usage_mb: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestCounts {
    /// Turns that were begun since the start.
    pub total: u64,
    /// Turns at work or waiting.
    pub active: usize,
}
