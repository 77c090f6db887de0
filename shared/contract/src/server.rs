//! What the manager says of itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::management::ConfigView;
use crate::readiness::FormationCounts;

/// `GET /health`: flat, and the same as long as the manager answers at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub success: bool,
    #[schema(example = "ok")]
    pub status: String,
    pub version: String,
}

/// `data` of `GET /rpc/server/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    pub server: ServerIdentity,
    pub formations: FormationCounts,
    pub port_pool: PortPoolView,
    pub config: ConfigView,
    pub runtime: RuntimeView,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerIdentity {
    /// `server_id` of the configuration.
    pub id: String,
    pub version: String,
    /// Seconds since the manager started.
    pub uptime: i64,
}

/// The ports that formations may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortPoolView {
    pub total: u64,
    pub available: u64,
    pub allocated: u64,
}

/// Existing clients decode this object; its first two values say nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    pub goroutines: u64,
    pub go_version: String,
    pub version: String,
}
