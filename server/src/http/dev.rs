//! `/rpc/dev/run` and `/rpc/dev/stop`: a draft as a process beside its formation. Their answers have
//! no envelope, in failures neither.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::FormationId;
use muxi_contract::draft::{DevRun, DevRunRequest, DevStop, DevStopRequest};
use muxi_contract::management::{Completed, FormationStatus, ProblemKind};
use muxi_formation::{Loaded, Resolve};
use serde::de::DeserializeOwned;

use super::error::Failure;
use super::operations::{ended, outcome};
use crate::acts::DeployError;
use crate::bundles::{self, Prepared};
use crate::config::DevConfig;
use crate::drafts::DraftError;
use crate::store::{StoreError, formations};
use crate::supervisor::Supervisor;

pub(super) async fn run(State(supervisor): State<Supervisor>, body: Bytes) -> Response {
    let ran = async { outcome(&supervisor, begin(&supervisor, &body).await?).await };
    told_running(ran.await)
}

pub(super) async fn stop(State(supervisor): State<Supervisor>, body: Bytes) -> Response {
    let ended = async { outcome(&supervisor, end(&supervisor, &body).await?).await };
    told_stopped(ended.await)
}

/// The answer to a run.
pub(super) fn told_running(outcome: Result<Completed, Failure>) -> Response {
    match outcome {
        Ok(completed) => {
            let formation_id = completed.formation_id.to_string();
            let Completed { port, status, .. } = completed;
            Json(DevRun { success: true, formation_id, port, status, error: None }).into_response()
        }
        Err(failure) => {
            let (status, error) = told(failure);
            (status, Json(DevRun { error: Some(error), ..DevRun::default() })).into_response()
        }
    }
}

/// The answer to a stop.
pub(super) fn told_stopped(outcome: Result<Completed, Failure>) -> Response {
    match outcome {
        Ok(completed) => {
            let formation_id = completed.formation_id.to_string();
            let status = FormationStatus::Stopped.as_str().to_owned();
            Json(DevStop { success: true, formation_id, status, error: None }).into_response()
        }
        Err(failure) => {
            let (status, error) = told(failure);
            (status, Json(DevStop { error: Some(error), ..DevStop::default() })).into_response()
        }
    }
}

/// Answers the operation's id.
async fn begin(supervisor: &Supervisor, body: &[u8]) -> Result<String, Failure> {
    let DevRunRequest { path, formation_id } = parse(body)?;
    let (source, wanted) = match (path.as_str(), formation_id.as_str()) {
        ("", "") => {
            return Err(invalid("Either path or formation_id is needed"));
        }
        (path, "") => (allowed_folder(&supervisor.context().live().dev, path).await?, None),
        ("", id) => {
            let id = parse_id(id)?;
            (draft_folder(supervisor, &id).await?, Some(id))
        }
        _ => return Err(invalid("Only one of path and formation_id can be run")),
    };
    let loaded = load(source.clone()).await?;
    let id = loaded.manifest.id.clone();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != id) {
        let message = format!("The draft's manifest names '{id}', not '{wanted}'");
        return Err(Failure::new(ProblemKind::IdentityMismatch, message));
    }
    let published = supervisor.context().drafts.get(&id);
    let over = [FormationStatus::CrashLoop, FormationStatus::Stopped];
    if published.is_some_and(|it| over.contains(&it.status)) {
        // What was given up, or stopped by the manager itself, makes way for the next try.
        let operation = supervisor.delete(&id.draft()).await?;
        ended(supervisor, operation).await?;
    }
    let prepared = prepare(supervisor, source.clone(), id.clone()).await?;
    match supervisor.run_draft(prepared, source).await {
        Err(DeployError::Store(StoreError::FormationExists(_))) => {
            Err(running_already(supervisor, &id).await)
        }
        begun => Ok(begun?),
    }
}

/// Answers the operation's id.
async fn end(supervisor: &Supervisor, body: &[u8]) -> Result<String, Failure> {
    let DevStopRequest { formation_id } = parse(body)?;
    if formation_id.is_empty() {
        return Err(invalid("formation_id is needed"));
    }
    let id = parse_id(&formation_id)?;
    supervisor.delete(&id.draft()).await.map_err(|error| {
        let failure = Failure::from(error);
        if failure.kind == ProblemKind::NotFound {
            return Failure::new(failure.kind, format!("No draft of '{id}' runs"));
        }
        failure
    })
}

/// The folder behind a path of the caller, if the operator lets it be run. Only then is told whether
/// it is there.
async fn allowed_folder(config: &DevConfig, path: &str) -> Result<PathBuf, Failure> {
    if !path.starts_with('/') {
        return Err(invalid("Path must be absolute"));
    }
    if !config.enabled || config.roots.is_empty() {
        return Err(invalid(
            "This server runs no folders; to let it, set dev.enabled: true and list in dev.roots the \
             folders below which formations are developed",
        ));
    }
    let (path, roots) = (PathBuf::from(path), config.roots.clone());
    let found = tokio::task::spawn_blocking(move || resolve(&path, &roots));
    found.await.expect("looking at a folder does not panic")
}

fn resolve(path: &Path, roots: &[String]) -> Result<PathBuf, Failure> {
    let outside =
        || invalid(&format!("{} does not lie below a folder of dev.roots", path.display()));
    // Without links: a link within a root must not lead out of it.
    let folder = std::fs::canonicalize(path);
    let roots: Vec<PathBuf> =
        roots.iter().filter_map(|root| std::fs::canonicalize(root).ok()).collect();
    match folder {
        Ok(folder) if !roots.iter().any(|root| folder.starts_with(root)) => Err(outside()),
        Ok(folder) if folder.is_dir() => Ok(folder),
        Ok(_) => Err(invalid(&format!("{} is not a folder", path.display()))),
        Err(_) if !roots.iter().any(|root| path.starts_with(root)) => Err(outside()),
        Err(error) => Err(invalid(&format!("{} cannot be opened: {error}", path.display()))),
    }
}

async fn draft_folder(supervisor: &Supervisor, id: &FormationId) -> Result<PathBuf, Failure> {
    let (drafts, id) = (supervisor.context().draft_files.clone(), id.clone());
    let folder = tokio::task::spawn_blocking(move || drafts.folder(&id)).await;
    folder.expect("looking at a draft does not panic").map_err(|error| {
        if matches!(error, DraftError::NotFound) {
            Failure::new(ProblemKind::NotFound, error.to_string())
        } else {
            Failure::internal(&error)
        }
    })
}

/// Packed as for a deploy: what runs does not change under the process, and is fenced as everywhere.
async fn prepare(
    supervisor: &Supervisor,
    folder: PathBuf,
    id: FormationId,
) -> Result<Prepared, Failure> {
    let context = supervisor.context();
    context.disk.check()?;
    let (layout, limits) = (context.layout.clone(), context.live().limits);
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let prepared = tokio::task::spawn_blocking(move || {
        let packed = bundles::from_folder(&folder, &id, &layout);
        let upload = packed.map_err(|error| invalid(&error.to_string()))?;
        bundles::prepare(upload, &layout, &limits).map_err(Failure::from)
    });
    let prepared = prepared.await.expect("preparing a bundle does not panic");
    drop(permit);
    prepared
}

async fn running_already(supervisor: &Supervisor, id: &FormationId) -> Failure {
    let draft = id.draft();
    let found = supervisor.context().store.read(move |db| formations::get(db, &draft)).await;
    let port = found.ok().flatten().map_or_else(String::new, |it| format!(" on port {}", it.port));
    Failure::new(ProblemKind::Conflict, format!("already running{port}"))
}

async fn load(folder: PathBuf) -> Result<Loaded, Failure> {
    let loaded = tokio::task::spawn_blocking(move || muxi_formation::load(&folder, Resolve::Keep));
    loaded.await.expect("loading a bundle does not panic").map_err(|faults| {
        let details = faults.iter().map(ToString::to_string).collect();
        Failure { details, ..Failure::new(ProblemKind::BundleInvalid, "The formation has faults") }
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| invalid(&format!("Invalid request body: {error}")))
}

fn parse_id(text: &str) -> Result<FormationId, Failure> {
    text.parse().map_err(|error| invalid(&format!("Invalid formation_id: {error}")))
}

fn invalid(message: &str) -> Failure {
    Failure::new(ProblemKind::ValidationError, message)
}

/// All that went wrong in one text, for the shape has no other place.
fn told(failure: Failure) -> (StatusCode, String) {
    let status = StatusCode::from_u16(failure.kind.status());
    let mut lines = vec![failure.message];
    lines.extend(failure.details);
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), lines.join("\n"))
}
