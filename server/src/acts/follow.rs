//! The stored steps of an operation, from any of them on, as they come.

use std::collections::VecDeque;

use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;

use crate::store::Store;
use crate::store::operations::{self, OperationEvent};

/// The steps of an operation after `seq`, with their numbers, up to and including the last.
pub fn follow(
    store: &Store,
    operation: String,
    seq: u64,
) -> impl Stream<Item = (u64, OperationEvent)> + Send + use<> {
    let (store, changes) = (store.clone(), store.operation_changes());
    let start = (store, changes, operation, seq, VecDeque::new(), false);
    futures_util::stream::unfold(
        start,
        async |(store, mut changes, operation, mut seq, mut queue, ended)| {
            if ended {
                return None;
            }
            while queue.is_empty() {
                let id = operation.clone();
                match store.read(move |db| operations::events_after(db, &id, seq)).await {
                    Ok(events) => queue.extend(events),
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "progress is lost"
                        );
                        return None;
                    }
                }
                if queue.is_empty() {
                    // A change that was missed is found by reading again.
                    loop {
                        match changes.recv().await {
                            Ok(other) if other != operation => {}
                            Ok(_) | Err(RecvError::Lagged(_)) => break,
                            Err(RecvError::Closed) => return None,
                        }
                    }
                }
            }
            let (at, event) = queue.pop_front().expect("the queue was just filled");
            seq = at;
            let ended = !matches!(event, OperationEvent::Progress(_));
            Some(((at, event), (store, changes, operation, seq, queue, ended)))
        },
    )
}
