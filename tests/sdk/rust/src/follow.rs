//! Waiting for what is told, and for what becomes true.

use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use futures_util::{Stream, StreamExt as _};
use muxi_rust::SseEvent;
use serde_json::Value;

const PAUSE: Duration = Duration::from_millis(50);

/// Every frame of a stream that ends.
pub(crate) async fn all(
    stream: impl Stream<Item = muxi_rust::Result<SseEvent>>,
) -> muxi_rust::Result<Vec<SseEvent>> {
    stream.collect::<Vec<_>>().await.into_iter().collect()
}

/// The frames of an endless stream up to `is_last`. No frame tells that it is open, so `act` is done
/// until one of its events is heard.
pub(crate) async fn while_doing(
    stream: impl Stream<Item = muxi_rust::Result<SseEvent>>,
    is_last: impl Fn(&SseEvent) -> bool,
    act: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<SseEvent>> {
    let listening = async {
        let (mut frames, mut stream) = (Vec::new(), pin!(stream));
        while let Some(frame) = stream.next().await {
            frames.push(frame?);
            if frames.last().is_some_and(&is_last) {
                return Ok(frames);
            }
        }
        bail!("the stream ended after {frames:?}")
    };
    let acting = async {
        loop {
            if let Err(error) = act().await {
                return error;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        heard = listening => heard,
        error = acting => Err(error),
    }
}

/// Asks until the answer is the wanted one; the check's own time ends it.
pub(crate) async fn eventually(
    ask: impl AsyncFn() -> muxi_rust::Result<Value>,
    is_wanted: impl Fn(&Value) -> bool,
) -> muxi_rust::Result<Value> {
    loop {
        let answer = ask().await?;
        if is_wanted(&answer) {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The data of frames, as JSON.
pub(crate) fn data(frames: &[SseEvent]) -> serde_json::Result<Vec<Value>> {
    frames.iter().map(|frame| serde_json::from_str(&frame.data)).collect()
}
