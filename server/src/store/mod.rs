//! What must survive the manager: intent, generations, leases, the living instances, operations.
//!
//! Invariants: one thread owns the database, so only this module writes it; a command is one
//! closure in one transaction; what `write` answered is on the disk.

pub mod audit;
pub mod calls;
pub mod deliveries;
pub mod events;
pub mod formations;
pub mod generations;
pub mod holds;
pub mod instances;
pub mod keys;
mod migrate;
pub mod operations;
pub mod outcomes;
pub mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::migrate::{Inspection, inspect, leased_ports};
use crate::disk::Reserve;
use crate::metrics::StoreMetrics;

/// A handle on the database's thread; clones share it. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    changes: Arc<broadcast::Sender<String>>,
    /// The number of the newest event.
    newest_event: Arc<watch::Sender<u64>>,
    reserve: Reserve,
    metrics: StoreMetrics,
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to use the database")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the disk is full")]
    DiskFull,
    #[error(
        "the database is of version {found}, and this program knows none above {known}: a newer \
         muxi-server has used it. Install that one again, or put back the copy manager.db.before-v{found} \
         that it made"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the manager that runs is of an older version (its database {found}, ours {known}); restart it first"
    )]
    Older { found: i64, known: i64 },
    #[error("failed to copy the database to {path} before its migration")]
    Copy { path: std::path::PathBuf, source: std::io::Error },
    #[error("a stored value is not readable: {0}")]
    Unreadable(String),
    #[error("the database's thread has ended")]
    Closed,
    /// A rule of the caller's, checked inside the transaction.
    #[error("formation `{0}` is not known")]
    UnknownFormation(String),
    #[error("formation `{0}` exists")]
    FormationExists(String),
    #[error("port {0} is leased")]
    PortLeased(u16),
    #[error("formation `{formation}` is busy with `{kind}`")]
    Busy { formation: String, kind: String },
}

type Command = Box<dyn FnOnce(&mut Connection) + Send>;

/// Commands that wait for the thread; more make callers wait.
const QUEUED_COMMANDS_MAX: usize = 256;
/// Changes that a slow follower may miss before it reads all again.
const QUEUED_CHANGES_MAX: usize = 256;
/// In order; the database's version is the number of those that it has seen.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
];

/// Opens or creates the database and brings it to the newest version: for whoever is alone with it.
pub fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = open(path)?;
    migrate::migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens the database beside a manager that works on it, which must be of the same version.
pub fn connect_beside(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = VERSION;
    match found.cmp(&known) {
        std::cmp::Ordering::Greater => Err(StoreError::Newer { found, known }),
        std::cmp::Ordering::Less => Err(StoreError::Older { found, known }),
        std::cmp::Ordering::Equal => Ok(connection),
    }
}

/// A database with all tables and without a file.
#[cfg(test)]
pub(crate) fn in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    migrate::migrate(&mut connection, Path::new(":memory:")).unwrap();
    connection
}

/// The newest version of the database.
#[expect(clippy::cast_possible_wrap, reason = "migrations are few")]
pub const VERSION: i64 = MIGRATIONS.len() as i64;

// === impl Store ===

impl Store {
    /// Opens or creates the database and brings it to the newest version.
    pub fn open(path: &Path, reserve: Reserve) -> Result<Self, StoreError> {
        // The log beside the database is made anew with every start.
        reserve.give_way();
        let mut connection = connect(path)?;
        let (newest_event, _) = watch::channel(events::newest(&connection)?);
        let (commands, mut queue) = mpsc::channel::<Command>(QUEUED_COMMANDS_MAX);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(command) = queue.blocking_recv() {
                    command(&mut connection);
                }
            })
            .map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let (changes, _) = broadcast::channel(QUEUED_CHANGES_MAX);
        Ok(Self {
            commands,
            changes: Arc::new(changes),
            newest_event: Arc::new(newest_event),
            reserve,
            metrics: StoreMetrics::default(),
        })
    }

    /// Runs `command` in a transaction that is committed if it succeeds.
    pub async fn write<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reserve, newest_event) = (self.reserve.clone(), Arc::clone(&self.newest_event));
        self.run("write", move |connection| {
            reserve.give_way();
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = command(&transaction)?;
            transaction.commit()?;
            // Here, so that nobody who records an event can forget to tell.
            if let Ok(newest) = events::newest(connection) {
                newest_event.send_if_modified(|told| std::mem::replace(told, newest) != newest);
            }
            Ok(value)
        })
        .await
        .map_err(|error| {
            let error = error.name_disk_full();
            if matches!(error, StoreError::DiskFull) {
                // For the next try.
                self.reserve.give_slice();
            }
            error
        })
    }

    /// Runs `query`, which sees one consistent state.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run("read", move |connection| query(connection)).await
    }

    /// The ids of operations that got new events, after the events were written.
    pub fn operation_changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// The number of the newest event, whenever there is another.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.newest_event.subscribe()
    }

    /// Tells followers to look at an operation again.
    pub fn announce(&self, operation: &str) {
        // No follower is no fault: the events are stored.
        let _followers = self.changes.send(operation.to_owned());
    }

    /// What the handles on this database count.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    async fn run<T: Send + 'static>(
        &self,
        access: &'static str,
        command: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.metrics.asked(access);
        let command: Command = Box::new(move |connection| {
            let result = command(connection);
            asked.answered(matches!(result, Err(StoreError::Sqlite(_) | StoreError::DiskFull)));
            // The asker may be gone; the command counts all the same.
            let _asker_gone = reply.send(result);
        });
        self.commands.send(command).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

// === impl StoreError ===

impl StoreError {
    pub fn busy(with: &operations::Running) -> Self {
        Self::Busy { formation: with.formation.clone(), kind: with.kind.as_str().to_owned() }
    }

    fn name_disk_full(self) -> Self {
        if let Self::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) = &self
            && (failure.code == rusqlite::ErrorCode::DiskFull
                || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Self::DiskFull;
        }
        self
    }
}

/// Makes an empty database of the newest version.
pub fn create(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    migrate::migrate(&mut connection, path)?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // FULL: an intent that was answered must survive a power cut, too.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -512;",
    )?;
    Ok(connection)
}
