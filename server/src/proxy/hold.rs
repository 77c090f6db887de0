//! Requests wait for a formation that starts, bounded in time and number, instead of failing.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use muxi_contract::FormationId;
use muxi_contract::management::FormationStatus;
use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::{Gate, Slot};
use super::refusal::Refusal;
use super::routes::{Routes, Upstream};
use super::upload::Upload;
use crate::config::ProxyConfig;
use crate::supervisor::Context;

/// One request's claim on its formation's instance.
pub(super) struct Hold<'a> {
    context: &'a Context,
    routes: &'a Routes,
    config: &'a ProxyConfig,
    id: &'a FormationId,
    gate: Arc<Gate>,
    /// From the first wait on.
    waiting: Option<Waiting>,
}

struct Waiting {
    news: watch::Receiver<()>,
    deadline: Instant,
    /// None while the request is on its way.
    slots: Option<(Slot, Slot)>,
}

/// How long a request that found nobody waits for the supervisor to notice the same. It watches
/// processes, so it takes milliseconds.
const NOTICE: Duration = Duration::from_millis(500);

// === impl Hold ===

impl<'a> Hold<'a> {
    pub(super) fn new(
        context: &'a Context,
        routes: &'a Routes,
        config: &'a ProxyConfig,
        id: &'a FormationId,
    ) -> Result<Self, Refusal> {
        let gate = routes.gate(id).ok_or(Refusal::Unknown)?;
        Ok(Self { context, routes, config, id, gate, waiting: None })
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The instance to send to, at once or when there is one.
    pub(super) async fn upstream(&mut self, upload: &mut Upload) -> Result<Upstream, Refusal> {
        loop {
            let published = self.routes.get(self.id).ok_or(Refusal::Unknown)?;
            if let Some(upstream) = &published.upstream {
                if let Some(waiting) = &mut self.waiting {
                    waiting.slots = None;
                }
                return Ok(upstream.clone());
            }
            match published.status {
                FormationStatus::Starting
                | FormationStatus::Running
                | FormationStatus::Stopping
                | FormationStatus::Crashed => {
                    let refusal = Refusal::NotYet(published.status);
                    self.wait(upload, refusal).await?;
                }
                FormationStatus::Stopped | FormationStatus::CrashLoop => {
                    return Err(Refusal::NotRunning(published.status));
                }
            }
        }
    }

    /// Whether the route leads elsewhere, now or very soon; then it is worth another try.
    pub(super) async fn is_superseded(&mut self, tried: &Upstream) -> bool {
        let deadline = Instant::now() + NOTICE;
        loop {
            let still = self.routes.get(self.id).and_then(|it| it.upstream.clone());
            if !still.is_some_and(|upstream| upstream.is_same(tried)) {
                return true;
            }
            let Some(waiting) = self.begin() else { return false };
            let deadline = deadline.min(waiting.deadline);
            // Cancel-safe: news that was not seen stays news.
            if tokio::time::timeout_at(deadline, waiting.news.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// Until there is news of the route. The first call only begins to listen, because what was read
    /// before it may be old already.
    async fn wait(&mut self, upload: &mut Upload, refusal: Refusal) -> Result<(), Refusal> {
        let is_first = self.waiting.is_none();
        let stopping = self.context.shutdown.stopping.clone();
        let waiting = self.begin().ok_or(refusal)?;
        if is_first {
            return Ok(());
        }
        let mut reads_on = true;
        loop {
            tokio::select! {
                biased;
                // The news first: they decide. Cancel-safe.
                changed = waiting.news.changed() => return changed.map_err(|_| Refusal::Unknown),
                () = stopping.cancelled() => return Err(Refusal::Stopping),
                () = tokio::time::sleep_until(waiting.deadline) => return Err(refusal),
                // Cancel-safe: what was read is kept. It is read so that a client that leaves is
                // noticed, which drops this request.
                () = poll_fn(|context| upload.poll_early(context)), if reads_on => reads_on = false,
            }
        }
    }

    /// Takes a place among those who wait; none when all are taken or nobody may wait.
    fn begin(&mut self) -> Option<&mut Waiting> {
        let patience = Duration::from_millis(self.config.hold_ms);
        let gate = &self.gate;
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            news: gate.subscribe(),
            deadline: Instant::now() + patience,
            slots: None,
        });
        if waiting.slots.is_none() {
            let ours = self.gate.held.take(self.config.held_per_formation_max)?;
            let all = self.routes.held().take(self.config.held_max)?;
            waiting.slots = Some((ours, all));
        }
        (!patience.is_zero()).then_some(waiting)
    }
}
