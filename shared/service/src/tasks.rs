//! A group of named tasks with one owner and one end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// The process cannot work without it: its early end stops the process.
    Critical,
    /// Serves one formation; its failure is that formation's.
    PerFormation,
    /// Serves one connection or request.
    Connection,
}

/// Spawns tasks and knows by name which of them still run.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tracker: TaskTracker,
    stop: CancellationToken,
    next_id: AtomicU64,
    running: Mutex<BTreeMap<u64, Cow<'static, str>>>,
    critical_failed: AtomicBool,
}

/// Strikes the task from the list however it ends, by return, cancellation or panic.
struct Entry {
    inner: Arc<Inner>,
    id: u64,
    kind: TaskKind,
}

// === impl TaskGroup ===

impl TaskGroup {
    /// `stop` is cancelled when a critical task ends before its time.
    pub fn new(stop: CancellationToken) -> Self {
        let inner = Inner {
            tracker: TaskTracker::new(),
            stop,
            next_id: AtomicU64::new(0),
            running: Mutex::default(),
            critical_failed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn spawn<F>(&self, kind: TaskKind, name: impl Into<Cow<'static, str>>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = self.enter(kind, name.into());
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        tokio::spawn(self.inner.tracker.track_future(async move {
            let _entry = entry;
            future.await;
        }));
    }

    /// Whether a critical task ended before the group was told to stop.
    pub fn critical_failed(&self) -> bool {
        self.inner.critical_failed.load(Ordering::Relaxed)
    }

    /// Waits for all tasks, at most for `deadline`; the answer names those that did not finish.
    pub async fn drain(&self, deadline: Duration) -> Vec<String> {
        self.inner.tracker.close();
        match tokio::time::timeout(deadline, self.inner.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_elapsed) => {
                self.inner.lock_running().values().map(|name| name.clone().into_owned()).collect()
            }
        }
    }

    fn enter(&self, kind: TaskKind, name: Cow<'static, str>) -> Entry {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        self.inner.lock_running().insert(id, name);
        Entry { inner: Arc::clone(&self.inner), id, kind }
    }
}

// === impl Inner ===

impl Inner {
    fn lock_running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Cow<'static, str>>> {
        // The map is whole even if a holder panicked: each use is one call.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Drop for Entry {
    fn drop(&mut self) {
        let name = self.inner.lock_running().remove(&self.id).unwrap_or_default();
        if std::thread::panicking() {
            tracing::error!(task = %name, "a task panicked");
        }
        if self.kind == TaskKind::Critical && !self.inner.stop.is_cancelled() {
            tracing::error!(task = %name, "a critical task ended early; stopping");
            self.inner.critical_failed.store(true, Ordering::Relaxed);
            self.inner.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_names_those_who_did_not_finish() {
        let tasks = TaskGroup::new(CancellationToken::new());
        tasks.spawn(TaskKind::Connection, "quick", async {});
        tasks.spawn(TaskKind::PerFormation, "supervise hello", std::future::pending());
        assert_eq!(tasks.drain(Duration::from_millis(50)).await, ["supervise hello"]);
    }

    #[tokio::test]
    async fn the_early_end_of_a_critical_task_stops_the_process() {
        let stop = CancellationToken::new();
        let tasks = TaskGroup::new(stop.clone());
        tasks.spawn(TaskKind::Critical, "store writer", async {});
        stop.cancelled().await;
        assert!(tasks.critical_failed());
    }

    #[tokio::test]
    async fn a_critical_task_may_end_after_the_stop() {
        let stop = CancellationToken::new();
        let tasks = TaskGroup::new(stop.clone());
        tasks.spawn(TaskKind::Critical, "listener", stop.clone().cancelled_owned());
        stop.cancel();
        assert!(tasks.drain(Duration::from_secs(5)).await.is_empty());
        assert!(!tasks.critical_failed());
    }
}
