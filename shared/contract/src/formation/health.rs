//! The one answer without an envelope.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `healthy` as long as the memory answers; else `unhealthy`, with 503.
    #[schema(example = "healthy")]
    pub status: String,
    /// The formation's version.
    pub version: String,
    pub uptime_seconds: i64,
}
