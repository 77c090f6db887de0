//! Jobs: what is asked at times that were set before.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ids::{RequestId, SessionId, UserId};

/// What the manifest says of jobs, with what it leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulerSettings {
    pub enabled: bool,
    /// Of jobs that name none.
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    /// How soon a job is seen that another process made; this one's own are begun to the second.
    pub check_interval_minutes: u32,
    pub max_concurrent_jobs: u32,
    /// A recurring job is paused after so many failures in a row.
    pub max_failures_before_pause: u32,
    /// Of those that may still run.
    pub max_jobs_per_user: u32,
    /// What becomes of times that passed while nothing could run: `once` makes one run of them all,
    /// `skip` leaves them out.
    pub missed_runs: String,
    /// For a job that names a day only.
    #[schema(example = "09:00")]
    pub default_time: String,
}

/// Newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<Job>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    #[schema(example = "job_V1StGXR8Z5jdHi6B")]
    pub id: String,
    pub user_id: UserId,
    /// Where all its runs are said and answered.
    pub session_id: SessionId,
    pub title: String,
    /// What is asked at each time.
    pub original_prompt: String,
    /// The same.
    pub execution_prompt: String,
    pub is_recurring: bool,
    /// Of a recurring job.
    #[schema(example = "0 9 * * 1-5")]
    pub cron_expression: Option<String>,
    /// Of a job that runs once.
    #[schema(format = DateTime)]
    pub scheduled_for: Option<String>,
    /// In which the cron expression's times are.
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    /// Always empty.
    pub exclusion_rules: Vec<Value>,
    /// Always empty.
    #[schema(value_type = Object)]
    pub job_metadata: Map<String, Value>,
    /// `ACTIVE` or `PAUSED`; of a job that has had its only run `COMPLETED`, `FAILED` or `CANCELLED`.
    #[schema(example = "ACTIVE")]
    pub status: String,
    /// Null if it will not run any more.
    #[schema(format = DateTime)]
    pub next_run_at: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
    #[schema(format = DateTime)]
    pub last_run_at: Option<String>,
    /// `running`, or how its request ended: `completed`, `failed` or `cancelled`.
    pub last_run_status: Option<String>,
    pub last_run_failure_message: Option<String>,
    /// Runs that have ended.
    pub total_runs: u64,
    pub total_failures: u64,
    /// Since the last run that did not fail.
    pub consecutive_failures: u64,
}

/// A job with its last runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobWithHistory {
    #[serde(flatten)]
    pub job: Job,
    /// The last 20, newest first.
    pub history: Vec<JobRun>,
}

/// A run is a request: `GET /v1/requests/{id}` has its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobRun {
    pub request_id: RequestId,
    /// `running`, or how the request ended: `completed`, `failed` or `cancelled`.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The time that it was for.
    #[schema(format = DateTime)]
    pub scheduled_for: String,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobDeleted {
    pub message: String,
    pub id: String,
    /// Always true.
    pub deleted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobPaused {
    pub id: String,
    #[schema(example = "PAUSED")]
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobResumed {
    pub id: String,
    #[schema(example = "ACTIVE")]
    pub status: String,
    /// Null if it will not run any more.
    #[schema(format = DateTime)]
    pub next_run_at: Option<String>,
}

/// A new job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewJob {
    #[serde(rename = "type")]
    pub kind: JobType,
    /// Of a recurring job a cron expression of 5 to 7 fields (seconds may come first, years last); of
    /// the other a moment in the future in ISO 8601. Without an offset that is a time of `timezone`,
    /// without a time the formation's `default_time` of that day.
    #[schema(example = "0 9 * * 1-5")]
    pub schedule: String,
    /// What is asked at each time. It may be as long as a message to the formation
    /// (`input_limits.max_message_length`).
    #[schema(min_length = 1, pattern = r"\S", example = "What is new?")]
    pub message: String,
    /// Made of the message if it is left out.
    #[schema(max_length = 500)]
    pub title: Option<String>,
    /// The formation's if it is left out.
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    /// Whose job it is. The header `X-Muxi-User-ID` wins; without both it is nobody's, which is `0`.
    pub user_id: Option<UserId>,
}

/// How often a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobType {
    OneTime,
    Recurring,
}

/// What of a job shall be otherwise. What is left out stays; a `type` counts together with its
/// `schedule`, and a `timezone` alone moves a recurring job's times there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobChange {
    #[serde(rename = "type")]
    pub kind: Option<JobType>,
    /// As of a new job.
    #[schema(example = "0 9 * * 1-5")]
    pub schedule: Option<String>,
    #[schema(min_length = 1, pattern = r"\S")]
    pub message: Option<String>,
    #[schema(max_length = 500)]
    pub title: Option<String>,
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
}
