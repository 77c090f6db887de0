//! What became of requests: every turn is one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::Usage;
use crate::envelope::ErrorCode;
use crate::formation::artifacts::ArtifactRef;
use crate::ids::{RequestId, SessionId, UserId};

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestList {
    pub requests: Vec<RequestView>,
    pub count: usize,
}

/// One request. What cannot be told of one that still waits in its session's queue is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    pub request_id: RequestId,
    pub user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub session_id: Option<SessionId>,
    /// Who answers, from the start of the work for as long as the session is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<String>,
    /// What asked: `chat`, `trigger`, `job`, `watch`, `delegation` or `a2a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kind: Option<String>,
    /// `sync`, `stream` or `async`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mode: Option<String>,
    /// `pending`, `processing`, `awaiting_clarification`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// Always null.
    pub progress: Option<f64>,
    pub created_at: f64,
    /// When its question left the queue of its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub started_at: Option<f64>,
    pub completed_at: Option<f64>,
    /// What its answer used, as far as the provider told it; of one whose process died nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
    /// The code that a caller who waited was answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error_code: Option<ErrorCode>,
    /// The answer of a completed one, where one request is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub result: Option<String>,
    /// What one that awaits a clarification asks, where one request is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub waits_for: Option<WaitsFor>,
    /// What had been said when it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub partial_result: Option<String>,
    /// The files that were made in it and are still there, where one request is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub artifacts: Option<Vec<ArtifactRef>>,
    /// What is missing of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub warnings: Option<Vec<String>>,
}

/// What a request waits for. The next message of its session answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    #[schema(example = "clr_V1StGXR8_Z5jdHi6B-myT")]
    pub id: String,
    /// `approval`, `plan`, `clarification` or `credential`; the first two are among the approvals, too.
    pub kind: String,
    pub question: String,
    /// ISO 8601.
    pub expires_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestCancelled {
    pub request_id: RequestId,
    #[schema(example = "cancelled")]
    pub status: String,
    /// `immediate`, or `cooperative` if another process works on it and is told.
    pub cancellation: String,
    pub message: String,
}
