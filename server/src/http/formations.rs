//! `/rpc/formations`: deploy, list, one, delete, start, stop, restart.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::management::{
    FormationStatus, FormationView, ProblemKind, Progress, Stage, Success, VersionView,
};
use muxi_service::sse;
use serde_json::{Value, json};

use super::error::Failure;
use super::operations::{failure_frame, frame, frames, outcome, stream as event_stream};
use crate::acts::Expected;
use crate::bundles::{self, Upload};
use crate::proxy::routes::Published;
use crate::store::formations::{self, Formation};
use crate::store::operations::OperationEvent;
use crate::supervisor::Supervisor;
use crate::supervisor::lifecycle::DesiredState;

const GZIP_TYPES: [&str; 3] =
    ["application/gzip", "application/x-gzip", "application/octet-stream"];

/// The body is the tarball; the answer comes when the formation is healthy, as JSON or as progress.
pub(super) async fn deploy(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let context = supervisor.context();
    let expected = match check_before_reading(&supervisor, &headers).await {
        Ok(expected) => expected,
        Err(refused) => {
            if !headers.contains_key(header::EXPECT) {
                muxi_service::discard(body.into_data_stream()).await;
            }
            return Err(refused);
        }
    };
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let upload = bundles::receive(body, &context.layout, &context.config.limits).await?;
    drop(permit);
    if sse::is_asked_for(&headers) {
        return Ok(deploy_streamed(supervisor, upload, expected));
    }
    let operation = prepare_and_deploy(&supervisor, upload, expected).await?;
    let completed = outcome(&supervisor, operation).await?;
    Ok((StatusCode::CREATED, Json(Success { success: true, data: completed })).into_response())
}

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<Value>>, Failure> {
    let stored = supervisor.context().store.read(formations::all).await?;
    let views: Vec<FormationView> = stored.into_iter().map(|it| view(&supervisor, it)).collect();
    let data = json!({ "total": views.len(), "formations": views });
    Ok(Json(Success { success: true, data }))
}

pub(super) async fn one(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Success<FormationView>>, Failure> {
    let id = known(id)?;
    let stored = supervisor.context().store.read(move |db| formations::get(db, &id)).await?;
    let data = view(&supervisor, stored.ok_or_else(Failure::unknown_formation)?);
    Ok(Json(Success { success: true, data }))
}

pub(super) async fn delete(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Value>, Failure> {
    let id = known(id)?;
    let operation = supervisor.delete(&id).await?;
    outcome(&supervisor, operation).await?;
    let data = json!({ "id": id, "message": "Formation deleted successfully" });
    Ok(Json(json!({ "success": true, "data": data })))
}

pub(super) async fn stop(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Value>, Failure> {
    let id = known(id)?;
    let operation = supervisor.stop(&id).await?;
    outcome(&supervisor, operation).await?;
    let message = "Formation stopped successfully";
    let data = json!({ "id": id, "status": "stopped", "message": message });
    Ok(Json(json!({ "success": true, "data": data })))
}

pub(super) async fn start(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    begin(&supervisor, &known(id)?, &headers, false).await
}

pub(super) async fn restart(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    begin(&supervisor, &known(id)?, &headers, true).await
}

async fn begin(
    supervisor: &Supervisor,
    id: &FormationId,
    headers: &HeaderMap,
    restart: bool,
) -> Result<Response, Failure> {
    let operation = supervisor.start(id, restart).await?;
    if sse::is_asked_for(headers) {
        return Ok(event_stream(frames(supervisor, operation)));
    }
    let completed = outcome(supervisor, operation).await?;
    let data = json!({
        "id": id,
        "status": completed.status,
        "message": if restart { "Formation restarted" } else { "Formation started" },
        "restart_count": completed.restart_count,
        "port": completed.port,
        "pid": completed.pid,
    });
    Ok(Json(json!({ "success": true, "data": data })).into_response())
}

/// The stream begins once the body is whole; from there on failures are its last frame.
fn deploy_streamed(supervisor: Supervisor, upload: Upload, expected: Expected) -> Response {
    let extracting = Progress {
        stage: Stage::Extracting,
        message: "Unpacking and checking the bundle".to_owned(),
        version: None,
        attempt: None,
        max_attempts: None,
    };
    let first = frame(&OperationEvent::Progress(extracting));
    let rest = async move {
        match prepare_and_deploy(&supervisor, upload, expected).await {
            Ok(operation) => frames(&supervisor, operation).left_stream(),
            Err(failure) => {
                let unpacking = failure.kind == ProblemKind::BundleRejected;
                let stage = if unpacking { Stage::Extracting } else { Stage::Validating };
                let frame = failure_frame(failure, stage);
                stream::once(std::future::ready(frame)).right_stream()
            }
        }
    };
    event_stream(stream::once(std::future::ready(first)).chain(stream::once(rest).flatten()))
}

async fn prepare_and_deploy(
    supervisor: &Supervisor,
    upload: Upload,
    expected: Expected,
) -> Result<String, Failure> {
    let context = supervisor.context();
    let (layout, limits) = (context.layout.clone(), context.config.limits);
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let prepared = tokio::task::spawn_blocking(move || bundles::prepare(upload, &layout, &limits))
        .await
        .expect("preparing a bundle does not panic")?;
    drop(permit);
    for warning in &prepared.loaded.warnings {
        tracing::warn!(formation = %prepared.loaded.manifest.id, "{warning}");
    }
    Ok(supervisor.deploy(prepared, expected).await?)
}

/// What can be refused before a possibly large body is read.
fn check_headers(headers: &HeaderMap) -> Result<Expected, Failure> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        value.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let content_type = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if !GZIP_TYPES.iter().any(|gzip| content_type.contains(gzip)) {
        return Err(Failure::new(
            ProblemKind::ValidationError,
            "Invalid Content-Type. Expected application/gzip with a formation bundle (tar.gz)",
        ));
    }
    let id = text("x-formation-id");
    if let Some(Err(invalid)) = id.as_deref().map(str::parse::<FormationId>) {
        let message = format!("Invalid X-Formation-ID: {invalid}");
        return Err(Failure::new(ProblemKind::ValidationError, message));
    }
    Ok(Expected { id, version: text("x-formation-version") })
}

async fn check_before_reading(
    supervisor: &Supervisor,
    headers: &HeaderMap,
) -> Result<Expected, Failure> {
    let expected = check_headers(headers)?;
    refuse_existing(supervisor, &expected).await?;
    Ok(expected)
}

async fn refuse_existing(supervisor: &Supervisor, expected: &Expected) -> Result<(), Failure> {
    let Some(Ok(id)) = expected.id.as_deref().map(str::parse::<FormationId>) else { return Ok(()) };
    let context = supervisor.context();
    let asked = id.clone();
    if context.store.read(move |db| formations::exists(db, &asked)).await? {
        return Err(crate::store::StoreError::FormationExists(id.to_string()).into());
    }
    Ok(())
}

/// An id that cannot be one is simply not found.
fn known(
    id: Result<Path<FormationId>, axum::extract::rejection::PathRejection>,
) -> Result<FormationId, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::unknown_formation())
}

fn view(supervisor: &Supervisor, stored: Formation) -> FormationView {
    let context = supervisor.context();
    let published = context.routes.get(&stored.id);
    let published = published.as_deref();
    let since = published.and_then(|it| it.since);
    // Its actor has not spoken yet, or has spoken its last word.
    let leaving = stored.desired.state == DesiredState::Removed;
    let unpublished = if leaving { FormationStatus::Stopping } else { FormationStatus::Starting };
    let uptime = since.map_or(0, |since| context.clock.now().duration_since(since).as_secs());
    FormationView {
        name: stored.name,
        status: published.map_or(unpublished, |it| it.status),
        port: stored.port,
        pid: published.and_then(|it| it.pid).unwrap_or(0),
        uptime: u64::try_from(uptime).unwrap_or(0),
        restart_count: stored.restart_count,
        healthy: published.and_then(|it| it.healthy),
        created_at: rfc3339(stored.created_at_ms),
        deployed_at: rfc3339(stored.deployed_at_ms),
        updated_at: since.map_or_else(|| rfc3339(stored.updated_at_ms), |it| it.to_string()),
        version: VersionView {
            current: stored.bundle_sha256,
            semantic: stored.version,
            generation: stored.generation,
        },
        reason: published.and_then(|it: &Published| it.reason.clone()),
        id: stored.id,
    }
}

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
