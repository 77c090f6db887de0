//! Forgetting for the operator.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::UserId;

/// What is to be forgotten: of a user, of a source, or what a source brought of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forget {
    pub user_id: Option<UserId>,
    #[schema(max_length = 256, pattern = r"\S", example = "crm")]
    pub source: Option<String>,
    /// Kept with the job.
    #[schema(max_length = 1000, pattern = r"\S")]
    pub reason: Option<String>,
    /// True is refused: nothing is derived that could be made anew.
    pub rebuild: Option<bool>,
    /// Makes no difference: it is always done before the answer.
    pub background: Option<bool>,
}

/// What was forgotten. It was one act, and nothing brings it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForgetJob {
    #[schema(example = "forget_V1StGXR8Z5jdHi6BmyTab")]
    pub job_id: String,
    /// Always `completed`.
    #[schema(example = "completed")]
    pub status: String,
    /// Under whom it was kept.
    pub user_id: Option<UserId>,
    pub source: Option<String>,
    pub reason: Option<String>,
    pub deleted_events: u64,
    /// As many: each memory is one event.
    pub deleted_memories: u64,
    /// Always 0.
    pub grace_period_days: u32,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub completed_at: String,
    pub status_url: String,
}
