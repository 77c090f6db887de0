//! The audit log: one entry for every management call.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::management::ProblemKind;

/// One entry. Its canonical form, which is what the chain of hashes covers, is its compact JSON with
/// the fields in this order; so fields may be added at the end, but not moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Counts up by one; the first entry is 1.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub at: String,
    /// The id of the key that signed, `anonymous` when authentication is off, or `local:UID` for an
    /// act on the command line; null when nobody was recognised.
    pub actor: Option<String>,
    /// The key that a refused call named; nothing proves that it had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_key: Option<String>,
    /// Address of the caller; null on this machine's own command line.
    pub remote: Option<String>,
    pub method: String,
    /// With its query.
    pub path: String,
    /// What was asked, such as `formations.restart`; `unknown` where no route is.
    pub action: String,
    /// The formation, operation or key that it was about.
    pub target: Option<String>,
    pub outcome: Outcome,
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    pub error: Option<ProblemKind>,
    pub duration_ms: u64,
    pub request_id: String,
    /// More than 1 where one entry stands for several refused calls.
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    /// The call was let in, and failed.
    Failure,
    /// The call was not let in.
    Refused,
    /// The caller left before there was an answer.
    Abandoned,
}

/// `data` of `GET /rpc/server/logs` for clients that accept nothing but JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerLogs {
    /// As the text has them, oldest first.
    pub lines: Vec<String>,
}

/// `data` of `GET /rpc/audit`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// Give it as `cursor` to go on to older entries; null at the oldest. A page may have fewer
    /// entries than the limit, even none, and still not be the last.
    pub next_cursor: Option<String>,
}

// === impl Outcome ===

impl Outcome {
    /// What an HTTP status comes to.
    pub const fn of_status(status: u16) -> Self {
        match status {
            0 => Self::Abandoned,
            1..=399 => Self::Success,
            401 | 403 | 429 => Self::Refused,
            _ => Self::Failure,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}
