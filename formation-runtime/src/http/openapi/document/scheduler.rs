//! Jobs.

use muxi_contract::UserId;
use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::scheduler::{
    JobChange, JobDeleted, JobList, JobPaused, JobResumed, JobWithHistory, NewJob,
    SchedulerSettings,
};

use super::parameters::{AnyUser, Repeatable};

/// How jobs are set up
#[utoipa::path(get, path = "/v1/scheduler", tag = "scheduler", operation_id = "get_scheduler",
    security(("admin" = [])),
    extensions(("x-answer" = json!("scheduler scheduler.retrieved"))),
    responses((status = 200, description = "What the manifest says, with what it leaves open",
        body = Envelope<SchedulerSettings>)))]
pub(super) fn settings() {}

/// Jobs, newest first
///
/// A client sees the jobs of its user, the operator those of everybody.
#[utoipa::path(get, path = "/v1/scheduler/jobs", tag = "scheduler", operation_id = "list_jobs",
    security(("client" = []), ("admin" = [])),
    params(AnyUser,
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("scheduled_job_list scheduler.jobs.list"))),
    responses((status = 200, description = "Newest first", body = Envelope<JobList>)))]
pub(super) fn list() {}

/// Make a job
///
/// Each run is a request of the job's owner in the job's own session. Jobs are kept over restarts, and
/// one that has had its only run is forgotten after 30 days.
#[utoipa::path(post, path = "/v1/scheduler/jobs", tag = "scheduler", operation_id = "create_job",
    security(("admin" = [])),
    params(Repeatable,
        ("X-Muxi-User-ID" = Option<UserId>, Header, description = "Whose job it is", example = "alice")),
    request_body(content = NewJob, content_type = "application/json"),
    extensions(("x-answer" = json!("scheduled_job scheduler.job.created"))),
    responses(
        (status = 201, description = "It will run", body = Envelope<JobWithHistory>),
        (status = 400, description = "`PARSE_ERROR`, `INVALID_REQUEST`, or `OPERATION_FAILED`: the user has as many jobs as a user may",
            body = Failure),
        (status = 422, description = "`VALIDATION_ERROR`: also with `field`, `value`, `expected` and `error` of the first fault in \
                                      `error.data`; `UNPROCESSABLE_ENTITY`: jobs are off, or nothing is kept over a restart",
            body = Failure),
    ))]
pub(super) fn create() {}

/// One job, with its last runs
#[utoipa::path(get, path = "/v1/scheduler/jobs/{id}", tag = "scheduler", operation_id = "get_job",
    security(("admin" = [])), params(("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("scheduled_job scheduler.job.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<JobWithHistory>)))]
pub(super) fn get() {}

/// Change a job
///
/// What is left out stays. A run that has begun goes on as it was.
#[utoipa::path(put, path = "/v1/scheduler/jobs/{id}", tag = "scheduler", operation_id = "update_job",
    security(("admin" = [])), params(("id" = String, Path, description = "The job's id")),
    request_body(content = JobChange, content_type = "application/json"),
    extensions(("x-answer" = json!("scheduled_job scheduler.job.updated"))),
    responses(
        (status = 200, description = "As it is now", body = Envelope<JobWithHistory>),
        (status = 422, description = "`VALIDATION_ERROR`: also with `field`, `value`, `expected` and `error` of the first fault in \
                                      `error.data`",
            body = Failure),
    ))]
pub(super) fn update() {}

/// Delete a job
#[utoipa::path(delete, path = "/v1/scheduler/jobs/{id}", tag = "scheduler", operation_id = "delete_job",
    security(("admin" = [])), params(("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("message scheduler.job.deleted"))),
    responses((status = 200, description = "It is gone", body = Envelope<JobDeleted>)))]
pub(super) fn delete() {}

/// Pause a job
#[utoipa::path(post, path = "/v1/scheduler/jobs/{id}/pause", tag = "scheduler", operation_id = "pause_job",
    security(("admin" = [])), params(("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("scheduled_job scheduler.job.paused"))),
    responses(
        (status = 200, description = "It does not run until it is resumed", body = Envelope<JobPaused>),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: there is none, or it is not active", body = Failure),
    ))]
pub(super) fn pause() {}

/// Resume a job
///
/// A recurring job goes on with the next of its times; one that runs once makes up for its own.
#[utoipa::path(post, path = "/v1/scheduler/jobs/{id}/resume", tag = "scheduler", operation_id = "resume_job",
    security(("admin" = [])), params(("id" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("scheduled_job scheduler.job.resumed"))),
    responses(
        (status = 200, description = "It goes on", body = Envelope<JobResumed>),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: there is none, or it is not paused", body = Failure),
    ))]
pub(super) fn resume() {}
