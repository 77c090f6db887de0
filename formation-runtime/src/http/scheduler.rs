//! Jobs: what is asked at times that were set before. The operator's, but for the list of one's own.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use muxi_contract::ErrorCode;
use muxi_contract::formation::scheduler::{
    Job as JobView, JobDeleted, JobList, JobPaused, JobResumed, JobRun as RunView, JobWithHistory,
    SchedulerSettings,
};
use muxi_contract::ids::nanoid;
use muxi_formation::Persistent;
use muxi_memory::{Job, JobChange, JobRun, JobStatus, JobTimes, NewJob};
use serde_json::Map;

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::{Admin, Caller, HeaderUser, User};
use super::body;
use super::error::Problem;
use super::job_request::{self, NewTimes};
use super::path::Id;
use super::query::Parameters;
use crate::app::{App, Parts};
use crate::scheduler::{session_of, times};

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;
/// Of the random part of a job's id.
const ID_CHARS: usize = 16;

pub(crate) async fn settings(_: Admin, State(app): State<App>) -> Answer {
    let config = &app.scheduler.config;
    let data = SchedulerSettings {
        enabled: config.enabled,
        timezone: config.timezone.clone(),
        check_interval_minutes: config.check_interval_minutes,
        max_concurrent_jobs: config.max_concurrent_jobs,
        max_failures_before_pause: config.max_failures_before_pause,
        max_jobs_per_user: config.max_jobs_per_user,
        missed_runs: config.missed_runs.as_str().to_owned(),
        default_time: config.default_time.clone(),
    };
    Answer::new("scheduler", "scheduler.retrieved", &data)
}

pub(crate) async fn list(
    caller: Caller,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    query.finish()?;
    let found = match caller.user() {
        Some(user) => app.store.for_user(user).jobs(limit).await?,
        None => app.store.all_jobs(limit).await?,
    };
    let jobs: Vec<JobView> = found.into_iter().map(shown).collect();
    let data = JobList { count: jobs.len(), jobs };
    Ok(Answer::new("scheduled_job_list", "scheduler.jobs.list", &data))
}

pub(crate) async fn create(
    _: Admin,
    trail: Trail,
    HeaderUser(header_user): HeaderUser,
    State(app): State<App>,
    body: Body,
) -> Result<Response, Problem> {
    let fields = body::object(body, &app).await?;
    is_possible(&app)?;
    let now = app.clock.now();
    let new = job_request::new_job(&fields, &app, now)?;
    let user = match header_user {
        Some(user) => user,
        None => User::of(new.user, &app).await?,
    };
    let NewTimes { times, timezone, first } = new.times;
    let jobs_max = app.scheduler.config.max_jobs_per_user;
    let id = format!("job_{}", &nanoid()[..ID_CHARS]);
    let job = NewJob {
        id: id.clone(),
        title: new.title,
        prompt: new.message,
        times,
        timezone,
        next_ms: first.as_millisecond(),
        at_ms: now.as_millisecond(),
    };
    trail
        .record(act("scheduler.job.created", &id), async {
            if app.store.for_user(&user.id).create_job(job, jobs_max).await? {
                return Ok(());
            }
            let message = format!("a user may have {jobs_max} jobs; delete one first");
            Err(Problem::new(ErrorCode::OperationFailed, message))
        })
        .await?;
    app.scheduler.look();
    let (job, runs) = find(&app, &id).await?;
    let answer = Answer::new("scheduled_job", "scheduler.job.created", &whole(job, runs));
    Ok((StatusCode::CREATED, answer).into_response())
}

pub(crate) async fn get(_: Admin, State(app): State<App>, Id(id): Id) -> Result<Answer, Problem> {
    let (job, runs) = find(&app, &id).await?;
    Ok(Answer::new("scheduled_job", "scheduler.job.retrieved", &whole(job, runs)))
}

pub(crate) async fn update(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
    body: Body,
) -> Result<Answer, Problem> {
    let fields = body::object(body, &app).await?;
    let (job, runs) = find(&app, &id).await?;
    let now = app.clock.now();
    let changed = job_request::change(&fields, &job, &app, now)?;
    let times = changed
        .times
        .map(|NewTimes { times, timezone, first }| (times, timezone, first.as_millisecond()));
    let change = JobChange { title: changed.title, prompt: changed.message, times };
    let job = trail
        .record(act("scheduler.job.updated", &id), async {
            let job = app.store.change_job(&id, change, now.as_millisecond()).await?;
            job.ok_or_else(|| not_found(&id))
        })
        .await?;
    app.scheduler.look();
    Ok(Answer::new("scheduled_job", "scheduler.job.updated", &whole(job, runs)))
}

pub(crate) async fn delete(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    trail
        .record(act("scheduler.job.deleted", &id), async {
            let is_gone = app.store.delete_job(&id).await?;
            if is_gone { Ok(()) } else { Err(not_found(&id)) }
        })
        .await?;
    let data = JobDeleted { message: format!("job '{id}' was deleted"), id, deleted: true };
    Ok(Answer::new("message", "scheduler.job.deleted", &data))
}

pub(crate) async fn pause(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    trail
        .record(act("scheduler.job.paused", &id), async {
            let is_paused = app.store.pause_job(&id, app.clock.now_ms()).await?;
            if is_paused { Ok(()) } else { Err(wrong_state(&id, "active")) }
        })
        .await?;
    let data = JobPaused { id, status: status_name(JobStatus::Paused) };
    Ok(Answer::new("scheduled_job", "scheduler.job.paused", &data))
}

/// A recurring job goes on with the next of its times; one that runs once makes up for its own.
pub(crate) async fn resume(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.job(&id).await?.map(|(job, _)| job);
    let job = found.ok_or_else(|| wrong_state(&id, "paused"))?;
    let now = app.clock.now();
    let next = match &job.times {
        JobTimes::Once { .. } => job.next_ms,
        JobTimes::Recurring { cron } => {
            let zone = TimeZone::get(&job.timezone).ok();
            let next = times::parse_cron(cron).ok().zip(zone);
            next.and_then(|(cron, zone)| times::next_run(&cron, &zone, now))
                .map(Timestamp::as_millisecond)
        }
    };
    trail
        .record(act("scheduler.job.resumed", &id), async {
            let is_resumed = app.store.resume_job(&id, next, now.as_millisecond()).await?;
            if is_resumed { Ok(()) } else { Err(wrong_state(&id, "paused")) }
        })
        .await?;
    app.scheduler.look();
    let status = status_name(JobStatus::Active);
    let data = JobResumed { id, status, next_run_at: next.map(iso) };
    Ok(Answer::new("scheduled_job", "scheduler.job.resumed", &data))
}

// === private helpers ===

fn act(action: &'static str, id: &str) -> Act {
    Act { action, resource: Resource::SchedulerJob, id: Some(id.to_owned()) }
}

/// Whether a new job would ever run, and would be remembered until then.
fn is_possible(app: &Parts) -> Result<(), Problem> {
    let (code, message) = if matches!(app.manifest.memory.persistent, Persistent::Off) {
        let message = "jobs need a memory that lasts: `memory.persistent` is off";
        (ErrorCode::UnprocessableEntity, message)
    } else if !app.scheduler.config.enabled {
        let message = "jobs are off: write `scheduler: {enabled: true}` into the manifest";
        (ErrorCode::UnprocessableEntity, message)
    } else {
        return Ok(());
    };
    Err(Problem::new(code, message))
}

async fn find(app: &Parts, id: &str) -> Result<(Job, Vec<JobRun>), Problem> {
    app.store.job(id).await?.ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("job '{id}' was not found"))
}

/// As documented: a job in another state is as good as none.
fn wrong_state(id: &str, wanted: &str) -> Problem {
    let message = format!("there is no {wanted} job '{id}'");
    Problem::new(ErrorCode::ResourceNotFound, message)
}

fn shown(job: Job) -> JobView {
    let (cron, once_ms) = match job.times {
        JobTimes::Recurring { cron } => (Some(cron), None),
        JobTimes::Once { at_ms } => (None, Some(at_ms)),
    };
    JobView {
        session_id: session_of(&job.id),
        id: job.id,
        user_id: job.user,
        title: job.title,
        original_prompt: job.prompt.clone(),
        execution_prompt: job.prompt,
        is_recurring: cron.is_some(),
        cron_expression: cron,
        scheduled_for: once_ms.map(iso),
        timezone: job.timezone,
        // Published clients read these two; this version knows no exceptions and no extras.
        exclusion_rules: Vec::new(),
        job_metadata: Map::new(),
        status: status_name(job.status),
        next_run_at: job.next_ms.map(iso),
        created_at: iso(job.created_ms),
        updated_at: iso(job.updated_ms),
        last_run_at: job.last_run_ms.map(iso),
        last_run_status: job.last_status,
        last_run_failure_message: job.last_error,
        total_runs: job.runs,
        total_failures: job.failures,
        consecutive_failures: job.failures_in_a_row,
    }
}

fn whole(job: Job, runs: Vec<JobRun>) -> JobWithHistory {
    let history = runs.into_iter().map(|run| RunView {
        request_id: run.request_id,
        status: run.status,
        error: run.error,
        scheduled_for: iso(run.due_ms),
        started_at: iso(run.started_ms),
        completed_at: run.ended_ms.map(iso),
    });
    JobWithHistory { job: shown(job), history: history.collect() }
}

fn status_name(status: JobStatus) -> String {
    status.as_str().to_uppercase()
}

fn iso(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}
