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

/// What is said to an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalDecision {
    /// `approve` or `deny`.
    #[schema(example = "approve")]
    pub decision: String,
    /// For the agent, such as why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000)]
    pub note: Option<String>,
    /// With `approve`, of a plan: what is done instead, as `detail.plan` of the approval has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub plan: Option<Value>,
}

/// It is decided, and the request goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalDecided {
    pub id: String,
    /// `approve` or `deny`.
    pub decision: String,
    /// The request that waited.
    pub request_id: RequestId,
    /// Where its end is told.
    pub poll_url: String,
}
