//! Acts on a formation that is there: start, stop, restart, rollback, cancel-update.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use muxi_contract::management::{
    FormationStatus, ProblemKind, RollbackRequest, Stage, UpdateCancelled,
};
use muxi_service::sse;

use super::ending::answer;
use super::error::Failure;
use super::formations::{IdInPath, known};
use super::operations::{failed_stream, frames, stream as event_stream};
use super::uploads::expected_generation;
use crate::store::operations::OperationKind;
use crate::supervisor::Supervisor;

pub(super) async fn stop(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let operation = supervisor.stop(&known(id)?).await?;
    answer(&supervisor, OperationKind::Stop, operation).await
}

pub(super) async fn start(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let begun = begin(&supervisor, id, false).await;
    tell(&supervisor, OperationKind::Start, begun, sse::is_asked_for(&headers)).await
}

pub(super) async fn restart(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let begun = begin(&supervisor, id, true).await;
    tell(&supervisor, OperationKind::Restart, begun, sse::is_asked_for(&headers)).await
}

pub(super) async fn start_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let begun = begin(&supervisor, id, false).await;
    tell(&supervisor, OperationKind::Start, begun, true).await
}

pub(super) async fn restart_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let begun = begin(&supervisor, id, true).await;
    tell(&supervisor, OperationKind::Restart, begun, true).await
}

pub(super) async fn rollback(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let begun = begin_rollback(&supervisor, id, &headers, &body).await;
    tell(&supervisor, OperationKind::Rollback, begun, sse::is_asked_for(&headers)).await
}

pub(super) async fn rollback_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let begun = begin_rollback(&supervisor, id, &headers, &body).await;
    tell(&supervisor, OperationKind::Rollback, begun, true).await
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

async fn begin(supervisor: &Supervisor, id: IdInPath, restart: bool) -> Result<String, Failure> {
    Ok(supervisor.start(&known(id)?, restart).await?)
}

async fn begin_rollback(
    supervisor: &Supervisor,
    id: IdInPath,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<String, Failure> {
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
    Ok(supervisor.rollback(&id, wanted.generation, expected).await?)
}

/// A stream opens at once, so what is refused is told in it: clients of streams do not look at the
/// status.
async fn tell(
    supervisor: &Supervisor,
    kind: OperationKind,
    begun: Result<String, Failure>,
    streamed: bool,
) -> Result<Response, Failure> {
    match begun {
        Ok(operation) if streamed => Ok(event_stream(frames(supervisor, operation, 0))),
        Ok(operation) => answer(supervisor, kind, operation).await,
        Err(failure) if streamed => Ok(failed_stream(failure, Stage::Validating)),
        Err(failure) => Err(failure),
    }
}
