//! An upgraded connection, such as a WebSocket: bytes both ways until a side closes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio_util::sync::CancellationToken;

use super::flow::Flow;
use super::gate::Slot;

/// Both ends of a connection that both sides have agreed to upgrade.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) instance: OnUpgrade,
    pub(super) flow: Flow,
    pub(super) slot: Slot,
    /// Silence in both directions that ends it.
    pub(super) idle: Duration,
}

/// Both answers are sent when this begins; only a peer that is gone takes longer.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);
/// After one side has closed, the other may still say its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 16 << 10;

// === impl Tunnel ===

impl Tunnel {
    /// Runs until a side closes, for longer than `idle` nothing is said, or `closing`.
    pub(super) async fn run(self, closing: CancellationToken) {
        let Self { client, instance, mut flow, slot, idle } = self;
        let both = async { tokio::try_join!(client, instance) };
        let (client, instance) = match tokio::time::timeout(UPGRADE_WAIT, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => {
                tracing::debug!(%error, "an upgrade came to nothing");
                return;
            }
            Err(_elapsed) => {
                tracing::debug!("an upgrade did not come in time");
                return;
            }
        };
        let (bytes_in, bytes_out) = (AtomicU64::new(0), AtomicU64::new(0));
        tokio::select! {
            biased;
            // The end by the sides first: it is the good one.
            () = copy(client, instance, &bytes_in, &bytes_out) => {}
            () = closing.cancelled() => {}
            () = silence(&bytes_in, &bytes_out, idle) => {
                tracing::debug!("an upgraded connection was silent for too long");
            }
        }
        flow.count(bytes_in.into_inner(), bytes_out.into_inner());
        drop(slot);
    }
}

// === private helpers ===

async fn copy(client: Upgraded, instance: Upgraded, bytes_in: &AtomicU64, bytes_out: &AtomicU64) {
    let (client_read, client_write) = split(TokioIo::new(client));
    let (instance_read, instance_write) = split(TokioIo::new(instance));
    let mut up = std::pin::pin!(pipe(client_read, instance_write, bytes_in));
    let mut down = std::pin::pin!(pipe(instance_read, client_write, bytes_out));
    // Whichever ends first has told its reader; a failure counts as an end.
    let last_words = tokio::select! {
        ended = &mut up => match ended {
            Ok(()) => tokio::time::timeout(LAST_WORDS, down).await,
            Err(error) => Ok(Err(error)),
        },
        ended = &mut down => match ended {
            Ok(()) => tokio::time::timeout(LAST_WORDS, up).await,
            Err(error) => Ok(Err(error)),
        },
    };
    if let Ok(Err(error)) = last_words {
        tracing::debug!(%error, "an upgraded connection broke");
    }
}

/// Copies until the end of `from`, and then ends `to`.
async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Resolves after a whole `idle` without a byte.
async fn silence(bytes_in: &AtomicU64, bytes_out: &AtomicU64, idle: Duration) {
    let sum = || bytes_in.load(Ordering::Relaxed) + bytes_out.load(Ordering::Relaxed);
    let mut before = sum();
    loop {
        tokio::time::sleep(idle).await;
        let now = sum();
        if now == before {
            return;
        }
        before = now;
    }
}
