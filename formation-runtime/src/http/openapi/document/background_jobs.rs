//! What agents have begun and others work on.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::background_jobs::{
    BackgroundJob, BackgroundJobCancelled, BackgroundJobList, BackgroundJobLog,
};

use super::parameters::User;

/// Background jobs, newest first
///
/// Those of the user. What is asked at set times is among the jobs of the scheduler instead.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", operation_id = "list_background_jobs",
    security(("client" = [])),
    params(User,
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("background_job_list background_job.list.retrieved"))),
    responses((status = 200, description = "Newest first", body = Envelope<BackgroundJobList>)))]
pub(super) fn list() {}

/// One background job
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "get_background_job",
    security(("client" = [])), params(User, ("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("background_job background_job.retrieved"))),
    responses((status = 200, description = "It is known", body = Envelope<BackgroundJob>)))]
pub(super) fn get() {}

/// Cancel a background job
///
/// Its session is told nothing more of it.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "cancel_background_job",
    security(("client" = [])), params(User, ("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("background_job background_job.cancelled"))),
    responses(
        (status = 200, description = "It has ended; a process that works on it is told",
            body = Envelope<BackgroundJobCancelled>),
        (status = 400, description = "`OPERATION_FAILED`: it had ended", body = Failure),
    ))]
pub(super) fn cancel() {}

/// What was said in a background job
///
/// The newest 2,000 lines are kept.
#[utoipa::path(get, path = "/v1/jobs/{id}/logs", tag = "jobs", operation_id = "get_background_job_log",
    security(("client" = [])),
    params(User, ("id" = String, Path, description = "The job's id"),
        ("after" = Option<u32>, Query, description = "Lines after this one", minimum = 0),
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("background_job_log background_job.log.retrieved"))),
    responses((status = 200, description = "Oldest first", body = Envelope<BackgroundJobLog>)))]
pub(super) fn log() {}
