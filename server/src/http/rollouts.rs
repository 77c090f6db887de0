//! Acts on a formation that is there: start, stop, restart, rollback, cancel-update.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::answers::{Started, Stopped};
use muxi_contract::management::{
    FormationStatus, ProblemKind, RollbackRequest, Success, UpdateCancelled, Updated,
};
use muxi_service::sse;

use super::error::Failure;
use super::formations::{IdInPath, known};
use super::operations::{frames, outcome, stream as event_stream};
use super::uploads::{expected_generation, updated};
use crate::supervisor::Supervisor;

/// How the end of an operation is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Start,
    Restart,
}

pub(super) async fn stop(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Json<Success<Stopped>>, Failure> {
    let id = known(id)?;
    let operation = supervisor.stop(&id).await?;
    outcome(&supervisor, operation).await?;
    let message = "Formation stopped successfully".to_owned();
    let data = Stopped { id, status: "stopped".to_owned(), message };
    Ok(Json(Success { success: true, data }))
}

pub(super) async fn start(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let operation = supervisor.start(&known(id)?, false).await?;
    tell(&supervisor, operation, Told::Start, sse::is_asked_for(&headers)).await
}

pub(super) async fn restart(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let operation = supervisor.start(&known(id)?, true).await?;
    tell(&supervisor, operation, Told::Restart, sse::is_asked_for(&headers)).await
}

pub(super) async fn start_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let operation = supervisor.start(&known(id)?, false).await?;
    tell(&supervisor, operation, Told::Start, true).await
}

pub(super) async fn restart_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let operation = supervisor.start(&known(id)?, true).await?;
    tell(&supervisor, operation, Told::Restart, true).await
}

pub(super) async fn rollback(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let streamed = sse::is_asked_for(&headers);
    begin_rollback(&supervisor, id, &headers, &body, streamed).await
}

pub(super) async fn rollback_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    begin_rollback(&supervisor, id, &headers, &body, true).await
}

pub(super) async fn cancel_update(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Json<UpdateCancelled>, Failure> {
    let id = known(id)?;
    let cancelled = supervisor.cancel_update(&id).await?;
    let published = supervisor.context().routes.get(&id);
    let status = published.map_or(FormationStatus::Starting, |it| it.status);
    Ok(Json(UpdateCancelled {
        message: "Update cancelled successfully".to_owned(),
        formation_id: id,
        staging_port: cancelled.port,
        current_port: cancelled.port,
        status: status.as_str().to_owned(),
    }))
}

async fn begin_rollback(
    supervisor: &Supervisor,
    id: IdInPath,
    headers: &HeaderMap,
    body: &[u8],
    streamed: bool,
) -> Result<Response, Failure> {
    let id = known(id)?;
    // Clients send no body, or an empty object.
    let wanted: RollbackRequest = if body.trim_ascii().is_empty() {
        RollbackRequest::default()
    } else {
        serde_json::from_slice(body).map_err(|error| {
            let message =
                format!("The body is not readable: {error}; send {{\"generation\": 3}} or nothing");
            Failure::new(ProblemKind::ValidationError, message)
        })?
    };
    let expected = expected_generation(headers)?;
    let operation = supervisor.rollback(&id, wanted.generation, expected).await?;
    if streamed {
        return Ok(event_stream(frames(supervisor, operation, 0)));
    }
    let completed = outcome(supervisor, operation).await?;
    let message = "Rolled back to previous version".to_owned();
    let data = Updated { message, ..updated(completed) };
    Ok(Json(Success { success: true, data }).into_response())
}

async fn tell(
    supervisor: &Supervisor,
    operation: String,
    told: Told,
    streamed: bool,
) -> Result<Response, Failure> {
    if streamed {
        return Ok(event_stream(frames(supervisor, operation, 0)));
    }
    let completed = outcome(supervisor, operation).await?;
    let message = match told {
        Told::Start => "Formation started",
        Told::Restart => "Formation restarted",
    };
    let data = Started {
        id: completed.formation_id,
        status: completed.status,
        message: message.to_owned(),
        restart_count: completed.restart_count,
        port: completed.port,
        pid: completed.pid,
    };
    Ok(Json(Success { success: true, data }).into_response())
}
