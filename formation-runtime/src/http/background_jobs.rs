//! What agents have begun and others work on: listed, shown, cancelled.

use axum::extract::State;
use axum::http::Uri;
use muxi_contract::formation::background_jobs::{
    BackgroundJob, BackgroundJobCancelled, BackgroundJobLine, BackgroundJobList, BackgroundJobLog,
};
use muxi_contract::{ErrorCode, UserId};
use muxi_memory::{Task, TaskState};

use super::answer::Answer;
use super::auth::{Client, NamedUser, RequiredUser};
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::{App, Parts};

const LIMIT: u32 = 50;
const LINES: u32 = 200;
const LIMIT_MAX: u32 = 1000;

pub(crate) async fn list(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    query.finish()?;
    let found = app.store.for_user(&user).tasks(limit).await?;
    let jobs: Vec<BackgroundJob> = found.into_iter().map(|task| shown(task, &named)).collect();
    let data = BackgroundJobList { count: jobs.len(), jobs };
    Ok(Answer::new("background_job_list", "background_job.list.retrieved", &data))
}

pub(crate) async fn get(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let data = shown(find(&app, &user, &id).await?, &named);
    Ok(Answer::new("background_job", "background_job.retrieved", &data))
}

pub(crate) async fn cancel(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    find(&app, &user, &id).await?;
    let store = app.store.for_user(&user);
    if !store.cancel_task(&id, app.clock.now_ms()).await? {
        let status = find(&app, &user, &id).await?.state.as_str();
        let message = format!("job '{id}' has ended: it is {status}");
        return Err(Problem::new(ErrorCode::OperationFailed, message));
    }
    app.jobs.look();
    let data = BackgroundJobCancelled {
        id,
        status: TaskState::Cancelled.as_str().to_owned(),
        message: "Whoever works on it is told to stop; its session hears nothing more.".to_owned(),
    };
    Ok(Answer::new("background_job", "background_job.cancelled", &data))
}

pub(crate) async fn log(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let after = i64::from(query.number("after", 0..=u32::MAX, 0));
    let limit = query.number("limit", 1..=LIMIT_MAX, LINES);
    query.finish()?;
    find(&app, &user, &id).await?;
    let lines = app.store.for_user(&user).task_lines(&id, after, limit).await?;
    let data = BackgroundJobLog {
        id,
        count: lines.len(),
        next_after: lines.last().map_or(after, |line| line.seq),
        lines: lines
            .into_iter()
            .map(|line| BackgroundJobLine { seq: line.seq, at: time(line.at_ms), text: line.text })
            .collect(),
    };
    Ok(Answer::new("background_job_log", "background_job.log.retrieved", &data))
}

// === private helpers ===

async fn find(app: &Parts, user: &UserId, id: &str) -> Result<Task, Problem> {
    app.store.for_user(user).task(id).await?.ok_or_else(|| {
        Problem::new(ErrorCode::ResourceNotFound, format!("job '{id}' was not found"))
    })
}

/// What its worker needs is not for callers.
fn shown(task: Task, named: &NamedUser) -> BackgroundJob {
    BackgroundJob {
        user_id: named.shown(&task.user).clone(),
        id: task.id,
        kind: task.kind.as_str().to_owned(),
        status: task.state.as_str().to_owned(),
        label: task.label,
        session_id: task.session,
        request_id: task.request_id,
        result: task.result,
        failures: task.failures,
        created_at: time(task.created_ms),
        updated_at: time(task.updated_ms),
        completed_at: task.ended_ms.map(time),
    }
}
