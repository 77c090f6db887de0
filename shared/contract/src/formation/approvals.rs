//! `/v1/approvals`: what agents may only do when their user agrees.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::{RequestId, SessionId, UserId};

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalList {
    pub approvals: Vec<Approval>,
    pub count: usize,
}

/// What a turn waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    #[schema(example = "apv_V1StGXR8_Z5jdHi6B-myT")]
    pub id: String,
    /// `approval` of calls of tools, or `plan` of a plan.
    pub kind: String,
    /// `open`, `approved`, `denied`, `answered`, `cancelled` or `expired`.
    pub status: String,
    /// As the user was asked.
    pub question: String,
    /// The calls with their arguments, or the plan with its tasks.
    #[schema(value_type = Object)]
    pub detail: Value,
    pub user_id: UserId,
    /// Where a message answers it as well.
    pub session_id: SessionId,
    /// The request that waits, and under whose id the end is told.
    pub request_id: RequestId,
    /// What was said with the decision.
    pub note: Option<String>,
    /// ISO 8601, as the following.
    pub created_at: String,
    /// Until when it can be decided; the request fails then.
    pub expires_at: String,
    pub decided_at: Option<String>,
}
