//! Counts operations when they have ended, whoever ended them: it follows what the store announces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast::error::RecvError;

use crate::store::outcomes;
use crate::supervisor::Context;

/// The last word on an operation may be announced more than once.
const REMEMBERED_MAX: usize = 512;

/// Runs until the manager stops.
pub(crate) async fn observe(context: Arc<Context>) {
    let mut changes = context.store.operation_changes();
    let mut counted = VecDeque::with_capacity(REMEMBERED_MAX);
    loop {
        let announced = tokio::select! {
            biased;
            () = context.shutdown.stopping.cancelled() => return,
            // Cancel-safe: what is not received stays in the channel.
            announced = changes.recv() => announced,
        };
        let operation = match announced {
            Ok(operation) => operation,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "some operations are missing in the metrics");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if counted.contains(&operation) {
            continue;
        }
        let asked = operation.clone();
        let ended = context.store.read(move |db| outcomes::get(db, &asked)).await;
        let Ok(Some(ended)) = ended else { continue };
        let took = u64::try_from(ended.finished_at_ms - ended.started_at_ms).unwrap_or(0);
        let result = if ended.succeeded { "succeeded" } else { "failed" };
        let at =
            |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let times = (at(ended.started_at_ms), at(ended.finished_at_ms));
        context.traces.operation(&operation, &ended.kind, times, ended.succeeded);
        context.metrics.operation_ended(&ended.kind, result, Duration::from_millis(took));
        if counted.len() == REMEMBERED_MAX {
            counted.pop_front();
        }
        counted.push_back(operation);
    }
}
