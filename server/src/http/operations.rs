//! How an operation is told: as a stream of its steps, or as one answer at its end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use muxi_contract::management::{Completed, Failed, ProblemKind, Stage};
use muxi_service::sse;

use super::error::Failure;
use crate::acts;
use crate::store::operations::OperationEvent;
use crate::supervisor::Supervisor;

/// Idle proxies cut silent streams; existing clients skip comments.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The steps of an operation as frames, until its last or until the manager stops.
pub(super) fn frames(
    supervisor: &Supervisor,
    operation: String,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let context = supervisor.context();
    let stopping = context.shutdown.stopping.clone();
    let told = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&told);
    let steps = acts::follow(&context.store, operation)
        .inspect(move |event| {
            ended.fetch_or(!matches!(event, OperationEvent::Progress(_)), Ordering::Relaxed);
        })
        .map(|event| frame(&event))
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

pub(super) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    sse::response(frames, HEARTBEAT)
}

/// Waits for the end of an operation.
pub(super) async fn outcome(
    supervisor: &Supervisor,
    operation: String,
) -> Result<Completed, Failure> {
    let context = supervisor.context();
    let mut events = pin!(
        acts::follow(&context.store, operation)
            .take_until(context.shutdown.stopping.clone().cancelled_owned())
    );
    while let Some(event) = events.next().await {
        match event {
            OperationEvent::Progress(_) => {}
            OperationEvent::Complete(completed) => return Ok(completed),
            OperationEvent::Error(failed) => return Err(failed.into()),
        }
    }
    Err(shutting_down())
}

fn shutting_down() -> Failure {
    let message = "The manager is stopping; the operation goes on when it is started again";
    Failure::new(ProblemKind::ShuttingDown, message)
}

/// A failure as the last frame of a stream that has begun.
pub(super) fn failure_frame(failure: Failure, stage: Stage) -> Bytes {
    let Failure { kind, message, details } = failure;
    frame(&OperationEvent::Error(Failed { error: kind, message, stage, details }))
}
