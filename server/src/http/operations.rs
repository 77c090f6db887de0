//! `/rpc/operations`, and how an operation is told: as a stream of its steps, or as one answer at
//! its end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use muxi_contract::FormationId;
use muxi_contract::management::{
    Completed, Failed, OperationEventView, OperationList, OperationState, OperationView,
    ProblemKind, Stage, Success,
};
use muxi_service::sse;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::formations::rfc3339;
use super::replay;
use crate::acts;
use crate::store::operations::{self, Operation, OperationEvent};
use crate::supervisor::Supervisor;

/// Idle proxies cut silent streams; existing clients skip comments.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Operations that one answer lists.
const LISTED_MAX: u32 = 100;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    formation: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Success<OperationList>>, Failure> {
    let Query(filter) = filter.map_err(|rejected| {
        let message = format!("Invalid query: {}", rejected.body_text());
        Failure::new(ProblemKind::ValidationError, message)
    })?;
    let count = filter.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
    let stored = match filter.formation.map(|text| text.parse::<FormationId>()).transpose() {
        Ok(formation) => {
            let read = move |db: &_| operations::list(db, formation.as_ref(), count);
            supervisor.context().store.read(read).await?
        }
        // An id that cannot be one has no operations.
        Err(_) => Vec::new(),
    };
    let operations: Vec<OperationView> =
        stored.into_iter().map(|it| view(it, Vec::new())).collect();
    Ok(Json(Success { success: true, data: OperationList { operations } }))
}

pub(super) async fn one(
    State(supervisor): State<Supervisor>,
    Path(id): Path<String>,
) -> Result<Json<Success<OperationView>>, Failure> {
    let read = move |db: &_| Ok((operations::get(db, &id)?, operations::events_after(db, &id, 0)?));
    let (stored, events) = supervisor.context().store.read(read).await?;
    let data = stored.map(|stored| view(stored, events)).ok_or_else(unknown)?;
    Ok(Json(Success { success: true, data }))
}

/// The steps from the first, or from the one after `Last-Event-ID`.
pub(super) async fn one_stream(
    State(supervisor): State<Supervisor>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let seq = sse::last_event_id(&headers).and_then(|id| id.parse().ok()).unwrap_or(0);
    let asked = id.clone();
    let read = move |db: &_| {
        Ok((operations::get(db, &asked)?, operations::events_after(db, &asked, seq)?))
    };
    let (stored, left) = supervisor.context().store.read(read).await?;
    let stored = stored.ok_or_else(unknown)?;
    if stored.finished_at_ms.is_some() && left.is_empty() {
        // The client has seen it all.
        return Ok(stream(futures_util::stream::empty()));
    }
    Ok(stream(frames(&supervisor, id, seq)))
}

/// The steps of an operation after `seq` as frames, until its last or until the manager stops.
pub(super) fn frames(
    supervisor: &Supervisor,
    operation: String,
    seq: u64,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let nothing = CancellationToken::new();
    nothing.cancel();
    frames_after(supervisor, operation, seq, nothing)
}

/// The same, but the end of the operation is not told before `done`.
pub(super) fn frames_after(
    supervisor: &Supervisor,
    operation: String,
    seq: u64,
    done: CancellationToken,
) -> impl Stream<Item = Bytes> + Send + use<> {
    replay::note_operation(supervisor, &operation);
    let context = supervisor.context();
    context.traces.awaited(&operation);
    let stopping = context.shutdown.stopping.clone();
    let told = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&told);
    let steps = acts::follow(&context.store, operation, seq)
        .then(move |(seq, event)| {
            let done = done.clone();
            async move {
                if !matches!(event, OperationEvent::Progress(_)) {
                    done.cancelled().await;
                }
                (seq, event)
            }
        })
        .inspect(move |(_, event)| {
            ended.fetch_or(!matches!(event, OperationEvent::Progress(_)), Ordering::Relaxed);
        })
        .map(|(seq, event)| numbered_frame(seq, &event))
        .take_until(stopping.cancelled_owned());
    // A client takes the end of a stream without a last word for a failure of unknown kind.
    let last_word = futures_util::stream::once(async move {
        let whole = told.load(Ordering::Relaxed);
        (!whole).then(|| failure_frame(shutting_down(), Stage::HealthCheck))
    });
    steps.chain(last_word.filter_map(std::future::ready))
}

pub(super) fn frame(event: &OperationEvent) -> Bytes {
    match event {
        OperationEvent::Progress(data) => sse::frame(Some("progress"), data),
        OperationEvent::Complete(data) => sse::frame(Some("complete"), data),
        OperationEvent::Error(data) => sse::frame(Some("error"), data),
    }
}

fn numbered_frame(seq: u64, event: &OperationEvent) -> Bytes {
    match event {
        OperationEvent::Progress(data) => sse::numbered_frame(seq, "progress", data),
        OperationEvent::Complete(data) => sse::numbered_frame(seq, "complete", data),
        OperationEvent::Error(data) => sse::numbered_frame(seq, "error", data),
    }
}

pub(super) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    sse::response(frames, HEARTBEAT)
}

/// Waits for the end of the operation that the call is about.
pub(super) async fn outcome(
    supervisor: &Supervisor,
    operation: String,
) -> Result<Completed, Failure> {
    replay::note_operation(supervisor, &operation);
    ended(supervisor, operation).await
}

/// Waits for the end of any operation.
pub(super) async fn ended(
    supervisor: &Supervisor,
    operation: String,
) -> Result<Completed, Failure> {
    let context = supervisor.context();
    context.traces.awaited(&operation);
    let mut events = pin!(
        acts::follow(&context.store, operation, 0)
            .take_until(context.shutdown.stopping.clone().cancelled_owned())
    );
    while let Some((_, event)) = events.next().await {
        match event {
            OperationEvent::Progress(_) => {}
            OperationEvent::Complete(completed) => return Ok(completed),
            OperationEvent::Error(failed) => return Err(failed.into()),
        }
    }
    Err(shutting_down())
}

fn view(stored: Operation, events: Vec<(u64, OperationEvent)>) -> OperationView {
    let events = events.into_iter().map(|(seq, event)| {
        let (name, data) = event.to_wire();
        let data = serde_json::from_str(&data).unwrap_or_default();
        OperationEventView { seq, event: name.to_owned(), data }
    });
    OperationView {
        kind: stored.kind.as_str().to_owned(),
        formation_id: stored.formation.formation(),
        draft: stored.formation.is_draft(),
        state: match stored.state.as_str() {
            "running" => OperationState::Running,
            "succeeded" => OperationState::Succeeded,
            _ => OperationState::Failed,
        },
        started_at: rfc3339(stored.started_at_ms),
        finished_at: stored.finished_at_ms.map(rfc3339),
        events: events.collect(),
        id: stored.id,
    }
}

fn unknown() -> Failure {
    Failure::new(ProblemKind::NotFound, "Operation not found; finished ones are kept for a while")
}

fn shutting_down() -> Failure {
    let message = "The manager is stopping; the operation goes on when it is started again";
    Failure::new(ProblemKind::ShuttingDown, message)
}

/// A failure as all that a stream has to tell; which one it was stays with the answer.
pub(super) fn failed_stream(failure: Failure, stage: Stage) -> Response {
    let kind = failure.kind;
    let only = futures_util::stream::once(std::future::ready(failure_frame(failure, stage)));
    let mut response = stream(only);
    response.extensions_mut().insert(kind);
    response
}

/// A failure as the last frame of a stream that has begun.
pub(super) fn failure_frame(failure: Failure, stage: Stage) -> Bytes {
    let Failure { kind, message, details } = failure;
    frame(&OperationEvent::Error(Failed { error: kind, message, stage, details }))
}
