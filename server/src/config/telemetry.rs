//! What the manager tells of itself, and to whom.

use serde::{Deserialize, Serialize};

/// `GET /metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Whether everybody may read them. Otherwise this machine may, and others with a key.
    pub public: bool,
}
