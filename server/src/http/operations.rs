//! How an operation is told: as a stream of its steps, or as one answer at its end.

use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use muxi_contract::management::{Completed, Failed, ProblemKind};
use muxi_service::sse;

use super::App;
use super::error::Failure;
use crate::acts;
use crate::store::operations::OperationEvent;

/// Idle proxies cut silent streams; existing clients skip comments.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The steps of an operation as frames, until its last or until the manager stops.
pub(super) fn frames(app: &App, operation: String) -> impl Stream<Item = Bytes> + Send + use<> {
    let context = app.supervisor.context();
    let stopping = context.shutdown.stopping.clone();
    acts::follow(&context.store, operation)
        .map(|event| frame(&event))
        .take_until(stopping.cancelled_owned())
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
pub(super) async fn outcome(app: &App, operation: String) -> Result<Completed, Failure> {
    let context = app.supervisor.context();
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
    let message = "The manager is stopping; the operation goes on when it is started again";
    Err(Failure::new(ProblemKind::ShuttingDown, message))
}

/// A failure as the last frame of a stream that has begun.
pub(super) fn failure_frame(failure: Failure, stage: muxi_contract::management::Stage) -> Bytes {
    let Failure { kind, message, details } = failure;
    frame(&OperationEvent::Error(Failed { error: kind, message, stage, details }))
}
