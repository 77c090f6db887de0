//! Whether the manager can do its work now, as load balancers and deploy scripts ask it.
//!
//! It asks only about the manager. How each formation is doing is counted, but does not decide.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muxi_contract::FormationId;
use muxi_contract::management::FormationStatus;
use muxi_contract::readiness::{CheckName, FormationCounts, Readiness, ReadinessCheck};
use tokio::time::Instant;

use crate::supervisor::{Context, Supervisor};

/// What is known between two questions.
#[derive(Debug, Default)]
pub struct Ready {
    /// Formations of the start that have not come to rest yet; absent before the store was read.
    starting: Mutex<Option<BTreeSet<FormationId>>>,
    /// Strangers ask, too, and each write waits for the disk: so one answer serves for a while.
    written: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

const WRITE_COUNTS_FOR: Duration = Duration::from_secs(5);
/// A store that takes longer than this to write is as good as none.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// The database's `application_id`, which tools such as `file` show: "MUXI".
const APPLICATION_ID: i64 = 0x4D55_5849;

// === impl Ready ===

impl Ready {
    /// The formations that this manager found when it started.
    pub(crate) fn booted(&self, formations: impl IntoIterator<Item = FormationId>) {
        *self.lock() = Some(formations.into_iter().collect());
    }

    /// Asks everything; `ready` only if nothing failed.
    pub(crate) async fn look(&self, supervisor: &Supervisor) -> Readiness {
        let context = supervisor.context();
        let checks = vec![
            check(CheckName::Running, running(context)),
            check(CheckName::Store, self.store(context).await),
            check(CheckName::Disk, context.disk.check().map_err(|low| low.to_string())),
            check(CheckName::Formations, self.reconciled(supervisor)),
        ];
        let ready = checks.iter().all(|check| check.ok);
        let version = crate::VERSION.to_owned();
        Readiness { success: ready, ready, version, checks, formations: counts(context) }
    }

    async fn store(&self, context: &Context) -> Result<(), String> {
        let mut written = self.written.lock().await;
        if let Some((at, result)) = &*written
            && at.elapsed() < WRITE_COUNTS_FOR
        {
            return result.clone();
        }
        // The same value each time, but a real page of the file.
        let write = context.store.write(|tx| {
            tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(Into::into)
        });
        let result = match tokio::time::timeout(WRITE_PATIENCE, write).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the database did not answer in {WRITE_PATIENCE:?}")),
        };
        *written = Some((Instant::now(), result.clone()));
        result
    }

    /// Whether each formation of the start was adopted, has started, or is known to be down.
    fn reconciled(&self, supervisor: &Supervisor) -> Result<(), String> {
        let mut starting = self.lock();
        let Some(left) = &mut *starting else {
            return Err("the formations are not read yet".to_owned());
        };
        left.retain(|id| match supervisor.context().routes.get(id) {
            Some(published) => published.status == FormationStatus::Starting,
            // Without an actor it was removed meanwhile; with one it was not published yet.
            None => supervisor.is_supervised(id),
        });
        if left.is_empty() {
            return Ok(());
        }
        let some: Vec<&str> = left.iter().take(5).map(FormationId::as_str).collect();
        Err(format!("{} formation(s) are starting: {}", left.len(), some.join(", ")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BTreeSet<FormationId>>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn running(context: &Context) -> Result<(), String> {
    let stopping = context.shutdown.stopping.is_cancelled();
    if stopping { Err("the manager is stopping".to_owned()) } else { Ok(()) }
}

fn check(name: CheckName, result: Result<(), String>) -> ReadinessCheck {
    ReadinessCheck { name, ok: result.is_ok(), message: result.err() }
}

/// Formations by what they are doing.
pub(crate) fn counts(context: &Context) -> FormationCounts {
    let published = context.routes.all();
    let count = |wanted: &[FormationStatus]| {
        published.values().filter(|it| wanted.contains(&it.status)).count() as u64
    };
    FormationCounts {
        total: published.len() as u64,
        running: count(&[FormationStatus::Running]),
        stopped: count(&[FormationStatus::Stopped]),
        crashed: count(&[FormationStatus::Crashed, FormationStatus::CrashLoop]),
    }
}
