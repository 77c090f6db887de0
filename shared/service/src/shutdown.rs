//! The two steps of stopping: take nothing new, then end what is open.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Shared by everything that must notice that the process stops.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: accept nothing new, let what is open go on.
    pub stopping: CancellationToken,
    /// Cancelled when the grace is over: send a last event and end.
    pub closing: CancellationToken,
}

/// The signals that stop a process. From [`Signals::listen`] on they no longer kill it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Signals ===

impl Signals {
    /// To be called before anybody can know that the process is there. Needs a runtime.
    pub fn listen() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn received(&mut self) {
        // Order does not matter here: each arm only waits.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// === impl Shutdown ===

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for SIGTERM or SIGINT (or for `stopping` from inside), then for the grace to run out,
    /// for a second signal, or for `drained`; at the end both tokens are cancelled.
    pub async fn run(
        self,
        mut signals: Signals,
        grace: Duration,
        drained: impl Future<Output = ()>,
    ) {
        tokio::select! {
            () = signals.received() => {}
            () = self.stopping.cancelled() => {}
        }
        tracing::info!(grace_ms = grace.as_millis(), "stopping");
        self.stopping.cancel();
        // A second signal means now.
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(grace) => tracing::warn!("the grace is over; closing"),
            () = signals.received() => {}
        }
        self.closing.cancel();
    }
}
