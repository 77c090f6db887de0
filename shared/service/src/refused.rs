//! Bodies of requests that were refused before they were read.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

/// Bounds of what is read of a refused body.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(5);

/// Reads on for a while what will not be used: many clients look for an answer only after they have
/// sent all, and a connection that is closed before loses the answer.
pub async fn discard(chunks: impl Stream<Item = Result<Bytes, axum::Error>>) {
    let mut left = DISCARDED_BYTES_MAX;
    let mut chunks = std::pin::pin!(chunks);
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends on after that has had its chance.
    let _done_or_not = tokio::time::timeout(DISCARDING_MAX, reading).await;
}
