//! How many requests are active, and since when there are none.

use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Activity {
    state: watch::Sender<State>,
}

/// A request that is active until this is dropped.
#[derive(Debug)]
pub(super) struct Active {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    active: usize,
    changed_at: Instant,
}

// === impl Activity ===

impl Activity {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State { active: 0, changed_at: Instant::now() }) }
    }

    pub(super) fn begin(&self) -> Active {
        self.state.send_modify(|state| state.active += 1);
        Active { state: self.state.clone() }
    }

    pub(super) fn count(&self) -> usize {
        self.state.borrow().active
    }

    /// `None` while a request is active.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = *self.state.borrow();
        (state.active == 0).then_some(state.changed_at)
    }

    /// Waits for a request to begin or end after this call.
    pub(super) async fn changed(&self) {
        // Cannot fail: `self` holds a sender.
        self.state.subscribe().changed().await.unwrap_or_default();
    }
}

// === impl Active ===

impl Drop for Active {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            state.active -= 1;
            state.changed_at = Instant::now();
        });
    }
}
