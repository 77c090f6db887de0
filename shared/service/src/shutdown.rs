//! The two steps of stopping: take nothing new, then end what is open.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Shared by everything that must notice that the process stops.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: accept nothing new, let what is open go on.
    pub stopping: CancellationToken,
    /// Cancelled when the grace is over: send a last event and end.
    pub closing: CancellationToken,
}

// === impl Shutdown ===

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for SIGTERM or SIGINT (or for `stopping` from inside), then for the grace to run out,
    /// for a second signal, or for `drained`; at the end both tokens are cancelled.
    pub async fn run(self, grace: Duration, drained: impl Future<Output = ()>) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Order does not matter here: each arm only waits.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.stopping.cancelled() => {}
        }
        tracing::info!(grace_ms = grace.as_millis(), "stopping");
        self.stopping.cancel();
        // A second signal means now.
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(grace) => tracing::warn!("the grace is over; closing"),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.closing.cancel();
        Ok(())
    }
}
