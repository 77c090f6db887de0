//! `/v1/jobs`: what agents have begun and others work on: jobs that are watched, code that is written.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{RequestId, SessionId, UserId};

/// Newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundJobList {
    pub jobs: Vec<BackgroundJob>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundJob {
    #[schema(example = "watch_V1StGXR8_Z5jdHi6B-myT")]
    pub id: String,
    /// `watch` of a job elsewhere, or `code`.
    pub kind: String,
    /// `started`, `running`, `completed`, `failed`, `cancelled` or `timed_out`.
    pub status: String,
    pub label: String,
    pub user_id: UserId,
    /// The session that is told of its end.
    pub session_id: SessionId,
    /// The request that began it.
    pub request_id: RequestId,
    /// What came of it, or why it failed.
    pub result: Option<String>,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// ISO 8601, as the following.
    pub created_at: String,
    pub updated_at: String,
    pub completed_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundJobCancelled {
    pub id: String,
    #[schema(example = "cancelled")]
    pub status: String,
    pub message: String,
}

/// What was said in a job, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundJobLog {
    pub id: String,
    pub lines: Vec<BackgroundJobLine>,
    pub count: usize,
    /// What to ask for as `after` to read on.
    pub next_after: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundJobLine {
    pub seq: i64,
    /// ISO 8601.
    pub at: String,
    pub text: String,
}
