//! The audit log: every management call, also those that were refused.
//!
//! An entry of a call that may change something is in the store before the call is answered. Those
//! of reading calls are written together, at most a tenth of a second later. Calls of strangers are
//! written one by one up to a rate, and beyond it counted: one entry a minute says how many, so that
//! a flood of them fills no disk.
//!
//! Nothing is lost in silence: when the store cannot be written, entries wait in memory up to a
//! bound, and what passes it is counted in the next entry that can be written. Calls are answered
//! all the same: what a full disk stops is what needs the disk.
//!
//! Secrets cannot get in: an entry knows the request line and never a header or a body.

pub mod action;
pub mod line;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use muxi_contract::audit::{AuditEntry, Outcome};
use muxi_contract::management::ProblemKind;
use muxi_service::{Clock, TaskGroup, TaskKind};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::auth::master::MasterKey;
use crate::auth::when::rfc3339;
use crate::config::AuditConfig;
use crate::store::audit::{self, Link, Seal};
use crate::store::{Store, StoreError};

/// Writes entries; clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    /// Somebody waits for the store.
    urgent: Notify,
    strangers: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, Instants>,
    store: Store,
    master: Option<MasterKey>,
    rules: AuditConfig,
    clock: Clock,
    tasks: TaskGroup,
    stopping: CancellationToken,
}

type Instants = NoOpMiddleware<std::time::Instant>;

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Queued>,
    /// Entries that somebody waits for.
    awaited: usize,
    /// A task writes what is here.
    writing: bool,
    /// Entries that there was no room for.
    lost: u64,
    /// Calls that are counted only, since the entry that says so was begun.
    refused: Option<RefusedCalls>,
    /// The last entry that was written, to see that it stays.
    written: Option<Link>,
    pruned_at_ms: i64,
}

#[derive(Debug)]
struct Queued {
    entry: AuditEntry,
    /// Told when it is in the store.
    written: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct RefusedCalls {
    count: u64,
    /// Where they came from, if from one place.
    remote: Option<String>,
    error: Option<ProblemKind>,
}

/// How long the entry of a reading call may wait for others.
const GATHERING: Duration = Duration::from_millis(100);
const QUEUED_MAX: usize = 10_000;
/// From here on callers wait for the store.
const QUEUED_EASY: usize = 2_000;
/// Entries that one transaction writes.
const WRITTEN_MAX: usize = 1_000;
/// Calls of strangers that are written down one by one, in a minute, of all addresses together.
const STRANGERS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300).expect("not zero");
const REFUSED_WINDOW: Duration = Duration::from_mins(1);
const PRUNING_PERIOD_MS: i64 = 300_000;
/// After a failure the store is left alone for so long.
const RETRY: Duration = Duration::from_secs(1);

// === impl Recorder ===

impl Recorder {
    pub fn new(
        store: Store,
        master: Option<MasterKey>,
        rules: AuditConfig,
        clock: Clock,
        tasks: TaskGroup,
        stopping: CancellationToken,
    ) -> Self {
        let quota = Quota::per_minute(STRANGERS_PER_MINUTE);
        let strangers = RateLimiter::direct_with_clock(quota, MonotonicClock);
        let (queue, urgent) = (Mutex::default(), Notify::new());
        let inner =
            Inner { queue, urgent, strangers, store, master, rules, clock, tasks, stopping };
        Self(Arc::new(inner))
    }

    /// Looks at the seal that the manager before left, and makes one of its own.
    pub async fn open(&self) -> Result<(), StoreError> {
        let (master, now_ms) = (self.0.master.clone(), self.0.clock.now_ms());
        let found = self.0.store.write(move |tx| {
            let (found, _) = audit::check_seal(tx, master.as_ref())?;
            let Some(master) = master else { return Ok(found) };
            let noted = match found {
                Seal::Valid | Seal::None | Seal::Unchecked => None,
                Seal::Broken => Some("audit.seal_broken"),
                Seal::OtherMasterKey => Some("audit.sealed_anew"),
            };
            if let Some(action) = noted {
                audit::append(tx, own_entry(action, now_ms))?;
            }
            audit::seal(tx, &master)?;
            Ok(found)
        });
        match found.await? {
            Seal::Broken => tracing::error!(
                "the audit log was changed from outside; `muxi-server audit verify` says where"
            ),
            Seal::OtherMasterKey => {
                tracing::warn!("the audit log was sealed with another master key");
            }
            Seal::Valid | Seal::None | Seal::Unchecked => {}
        }
        Ok(())
    }

    /// Notes a call; when `durable`, comes back after it is in the store.
    pub async fn record(&self, entry: AuditEntry, durable: bool) {
        let written = {
            let mut queue = self.0.lock();
            if durable || queue.entries.len() > QUEUED_EASY {
                let (reply, written) = oneshot::channel();
                queue.push(entry, Some(reply));
                Some(written)
            } else {
                queue.push(entry, None);
                None
            }
        };
        self.write_soon();
        if let Some(written) = written {
            self.0.urgent.notify_one();
            // Without an answer the store has failed, which was reported.
            let _written_or_not = written.await;
        }
    }

    /// Notes a call whose caller is gone.
    pub fn record_abandoned(&self, entry: AuditEntry) {
        self.0.lock().push(entry, None);
        self.write_soon();
    }

    /// Notes a call of a stranger, one by one or as one of many.
    pub fn record_stranger(&self, entry: AuditEntry, counted: bool) {
        if !counted && self.0.strangers.check().is_ok() {
            self.0.lock().push(entry, None);
            self.write_soon();
            return;
        }
        let opened = self.0.lock().count_refused(entry);
        if !opened {
            return;
        }
        let recorder = self.clone();
        self.0.tasks.spawn(TaskKind::Connection, "count refused calls", async move {
            let stopping = recorder.0.stopping.cancelled();
            // At the end as well as after a while.
            let _stopping_or_not = tokio::time::timeout(REFUSED_WINDOW, stopping).await;
            let now_ms = recorder.0.clock.now_ms();
            if recorder.0.lock().end_refused(now_ms) {
                recorder.write_soon();
            }
        });
    }

    /// Has a task write what waits; one is enough.
    fn write_soon(&self) {
        let begun = std::mem::replace(&mut self.0.lock().writing, true);
        if !begun {
            let recorder = self.clone();
            self.0.tasks.spawn(TaskKind::Connection, "audit writer", recorder.write_all());
        }
    }

    async fn write_all(self) {
        let inner = &self.0;
        loop {
            // Gather, unless somebody waits or the end is near.
            if inner.lock().awaited == 0 && !inner.stopping.is_cancelled() {
                let urgent = async {
                    tokio::select! {
                        // Order does not matter: both only end the gathering. Both are cancel-safe.
                        () = inner.urgent.notified() => {}
                        () = inner.stopping.cancelled() => {}
                    }
                };
                let _urgent_or_not = tokio::time::timeout(GATHERING, urgent).await;
            }
            let (taken, known) = inner.lock().take();
            let entries = taken.iter().map(|it| it.entry.clone()).collect();
            match inner.write(entries, known).await {
                Ok(last) => inner.lock().written = Some(last),
                Err(error) => {
                    report(&error);
                    inner.lock().put_back(taken);
                    if inner.stopping.is_cancelled() {
                        return;
                    }
                    let _stopping_or_not =
                        tokio::time::timeout(RETRY, inner.stopping.cancelled()).await;
                    continue;
                }
            }
            for reply in taken.into_iter().filter_map(|it| it.written) {
                // The caller may be gone.
                let _gone = reply.send(());
            }
            inner.prune().await;
            let mut queue = inner.lock();
            if queue.entries.is_empty() {
                queue.writing = false;
                return;
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // The queue is whole even if a holder panicked: each change is one call.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(
        &self,
        entries: Vec<AuditEntry>,
        known: Option<Link>,
    ) -> Result<Link, StoreError> {
        let (master, now_ms) = (self.master.clone(), self.clock.now_ms());
        let (last, whole) = self
            .store
            .write(move |tx| {
                let whole = known.map_or(Ok(true), |known| audit::holds(tx, &known))?;
                if !whole {
                    audit::append(tx, own_entry("audit.changed_from_outside", now_ms))?;
                }
                for entry in entries {
                    audit::append(tx, entry)?;
                }
                if let Some(master) = master {
                    audit::seal(tx, &master)?;
                }
                Ok((audit::last(tx)?, whole))
            })
            .await?;
        if !whole {
            tracing::error!("the audit log was changed from outside while this manager ran");
        }
        Ok(last)
    }

    async fn prune(&self) {
        let (now_ms, rules, master) = (self.clock.now_ms(), self.rules, self.master.clone());
        let due = {
            let mut queue = self.lock();
            let due = now_ms.saturating_sub(queue.pruned_at_ms) >= PRUNING_PERIOD_MS;
            if due {
                queue.pruned_at_ms = now_ms;
            }
            due
        };
        if !due {
            return;
        }
        let pruned = self.store.write(move |tx| {
            let more = audit::prune(tx, rules, now_ms)?;
            if let Some(master) = master {
                audit::seal(tx, &master)?;
            }
            Ok(more)
        });
        match pruned.await {
            Ok(false) => {}
            // The rest with the next entries: others wait for the store, too.
            Ok(true) => self.lock().pruned_at_ms = 0,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "old entries of the audit log are not pruned");
            }
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("queue", &self.queue).finish_non_exhaustive()
    }
}

// === impl Queue ===

impl Queue {
    /// An entry without room is not awaited either.
    fn push(&mut self, entry: AuditEntry, written: Option<oneshot::Sender<()>>) {
        if self.entries.len() < QUEUED_MAX {
            self.awaited += usize::from(written.is_some());
            self.entries.push_back(Queued { entry, written });
        } else {
            self.lost += 1;
        }
    }

    fn take(&mut self) -> (Vec<Queued>, Option<Link>) {
        let count = self.entries.len().min(WRITTEN_MAX);
        let mut taken: Vec<_> = self.entries.drain(..count).collect();
        self.awaited -= taken.iter().filter(|it| it.written.is_some()).count();
        if let (Some(last), true) = (taken.last(), self.lost > 0) {
            let count = std::mem::take(&mut self.lost);
            let (at, outcome) = (last.entry.at.clone(), Outcome::Failure);
            let entry = AuditEntry { at, outcome, count, ..own_entry("audit.lost", 0) };
            taken.push(Queued { entry, written: None });
        }
        (taken, self.written)
    }

    /// Nobody waits for what the store would not take.
    fn put_back(&mut self, taken: Vec<Queued>) {
        for Queued { entry, .. } in taken.into_iter().rev() {
            self.entries.push_front(Queued { entry, written: None });
        }
        while let Some(Queued { written, .. }) =
            (self.entries.len() > QUEUED_MAX).then(|| self.entries.pop_back()).flatten()
        {
            self.awaited -= usize::from(written.is_some());
            self.lost += 1;
        }
    }

    /// True when this is the first of a window.
    fn count_refused(&mut self, entry: AuditEntry) -> bool {
        if let Some(refused) = &mut self.refused {
            refused.count += 1;
            if refused.remote != entry.remote {
                refused.remote = None;
            }
            if refused.error != entry.error {
                refused.error = None;
            }
            return false;
        }
        let AuditEntry { remote, error, .. } = entry;
        self.refused = Some(RefusedCalls { count: 1, remote, error });
        true
    }

    fn end_refused(&mut self, now_ms: i64) -> bool {
        let Some(RefusedCalls { count, remote, error }) = self.refused.take() else { return false };
        let status = error.map_or(0, ProblemKind::status);
        let outcome = Outcome::Refused;
        let entry = own_entry("refused", now_ms);
        self.push(AuditEntry { actor: None, remote, error, status, outcome, count, ..entry }, None);
        true
    }
}

fn report(error: &StoreError) {
    let error: &dyn std::error::Error = error;
    tracing::error!(error, "the audit log cannot be written");
}

/// Who did what the manager did by itself.
const OWN_ACTOR: &str = "manager";

/// Something that the manager itself has to say.
fn own_entry(action: &str, now_ms: i64) -> AuditEntry {
    AuditEntry {
        seq: 0,
        at: rfc3339(now_ms),
        actor: Some(OWN_ACTOR.to_owned()),
        claimed_key: None,
        remote: None,
        method: String::new(),
        path: String::new(),
        action: action.to_owned(),
        target: None,
        outcome: Outcome::Success,
        status: 0,
        error: None,
        duration_ms: 0,
        request_id: String::new(),
        count: 1,
    }
}

/// An act on the command line, by the system's user.
pub fn local_entry(action: &str, target: Option<&str>, now_ms: i64) -> AuditEntry {
    let user = rustix::process::getuid().as_raw();
    AuditEntry {
        actor: Some(format!("local:{user}")),
        target: target.map(str::to_owned),
        ..own_entry(action, now_ms)
    }
}

#[cfg(test)]
mod tests;
