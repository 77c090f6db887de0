//! The manager's answer to `GET /ready`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// 200 with `ready: true`, or 503 with what keeps the manager from its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// The same as `ready`, for clients that read this field in every answer.
    pub success: bool,
    pub ready: bool,
    pub version: String,
    pub checks: Vec<ReadinessCheck>,
    pub formations: FormationCounts,
}

/// One thing that the manager needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessCheck {
    pub name: CheckName,
    pub ok: bool,
    /// What is wrong, when something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The manager is not on its way to its end.
    Running,
    /// A write to the database reached the disk.
    Store,
    /// The disk of the data folder has room for uploads.
    Disk,
    /// Each formation that was there at the start was adopted, has started, or is known to be down.
    Formations,
}

/// How many formations there are, by what they are doing. Those in between count only in `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FormationCounts {
    pub total: u64,
    pub running: u64,
    pub stopped: u64,
    pub crashed: u64,
}
