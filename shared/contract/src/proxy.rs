//! What the manager itself answers on the paths of formations.

use serde::{Deserialize, Serialize};

/// The body of a request to a formation that was not passed on, or came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProblem {
    pub success: bool,
    /// A stable phrase, such as `Formation unavailable`.
    pub error: String,
    pub message: String,
    /// The HTTP status.
    pub code: u16,
    pub request_id: Option<String>,
    pub side: Side,
    /// Whether the same request may succeed later without anybody's help.
    pub retryable: bool,
}

/// Who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who sent the request.
    Client,
    /// The formation.
    Formation,
    /// The manager, by its limits or because it stops.
    Manager,
}
