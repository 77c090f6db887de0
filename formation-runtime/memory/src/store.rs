//! The thread that owns the database, and how others reach it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muxi_contract::UserId;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::migrate::{self, APPLICATION_ID, MigrationError};
use crate::owner::Owner;
use crate::transcript::{self, UserStore};
use crate::{DATABASE_FILE, DATABASE_FILE_BESIDE_FOREIGN, Placed};

/// Where the memory lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In the folder, under a name that is free or already ours.
    Folder(PathBuf),
    /// In this very file.
    File(PathBuf),
    /// In this process only, bounded by the retention.
    Process(Retention),
}

/// How much a memory without a disk keeps; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub messages_per_session: u32,
    pub sessions: u32,
}

/// A handle; clones share the thread, which ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    context: Context,
    placed: Option<Placed>,
}

/// Totals over all users, for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub sessions: u64,
    pub messages: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("failed to look at `{}`", path.display())]
    Inspect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("both `{}` and `{}` belong to another program", first.display(), second.display())]
    Foreign { first: PathBuf, second: PathBuf },
    #[error("`{}` belongs to another program", path.display())]
    ForeignFile { path: PathBuf },
    #[error("failed to open `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("failed to bring `{}` up to date", path.display())]
    Migrate {
        path: PathBuf,
        #[source]
        source: MigrationError,
    },
    #[error("failed to start the memory's thread")]
    Thread(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the memory's thread has ended")]
    Gone,
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

/// What every call on the thread may read.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) owner: String,
    pub(crate) retention: Option<Retention>,
}

type Command = Box<dyn FnOnce(&mut Connection) + Send>;

/// Calls that wait for the thread; a further caller waits to be let in.
const QUEUED_CALLS_MAX: usize = 256;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an `SQLite` file's header: the magic text, and the application id at byte 68.
const HEADER_BYTES: usize = 72;
/// `SQLite`'s name for a database without a file.
const IN_PROCESS: &str = ":memory:";
const MAGIC: &[u8] = b"SQLite format 3\0";

// === impl Store ===

impl Store {
    /// Opens or makes the database, marks the turns of dead processes as interrupted, and starts
    /// the thread. Blocks for as long as the disk takes.
    pub fn open(location: &Location) -> Result<Self, OpenError> {
        let (placed, retention) = match location {
            Location::Folder(folder) => (Some(place(folder)?), None),
            Location::File(file) => (Some(place_at(file)?), None),
            Location::Process(retention) => (None, Some(*retention)),
        };
        let path = placed.as_ref().map_or(Path::new(IN_PROCESS), |placed| placed.file.as_path());
        let context = Context { owner: Owner::this_process().to_string(), retention };
        let connection = connect(path)?;
        let (commands, queue) = mpsc::channel(QUEUED_CALLS_MAX);
        std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || work(connection, queue))
            .map_err(OpenError::Thread)?;
        Ok(Self { commands, context, placed })
    }

    /// The only handle with queries.
    pub fn for_user(&self, user: &UserId) -> UserStore {
        UserStore::new(self.clone(), user.clone())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|transaction| transaction.query_row("SELECT 1", [], |_| Ok(()))).await
    }

    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(transcript::counts).await
    }

    /// The file, or `None` for a memory without a disk.
    pub fn placed(&self) -> Option<&Placed> {
        self.placed.as_ref()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) async fn write<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.call(TransactionBehavior::Immediate, act).await
    }

    pub(crate) async fn read<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.call(TransactionBehavior::Deferred, act).await
    }

    /// Once queued, the transaction runs to its end even if the caller is dropped.
    async fn call<T, F>(&self, behavior: TransactionBehavior, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |connection| {
            let result = connection.transaction_with_behavior(behavior).and_then(|transaction| {
                let value = act(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
            // A caller that is gone does not need the answer; the change is made all the same.
            drop(reply.send(result));
        });
        self.commands.send(command).await.map_err(|_| StoreError::Gone)?;
        Ok(answer.await.map_err(|_| StoreError::Gone)??)
    }
}

// === private helpers ===

fn work(mut connection: Connection, mut queue: mpsc::Receiver<Command>) {
    while let Some(command) = queue.blocking_recv() {
        command(&mut connection);
    }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let opened = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // FULL: a turn that was told as done must survive a loss of power.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;",
        )?;
        Ok(connection)
    };
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    if path != Path::new(IN_PROCESS) {
        // Conversations are for their owner's eyes; `SQLite` gives its log the mode of the file.
        let mut options = File::options();
        let made = options.write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| OpenError::Inspect { path: path.to_owned(), source })?;
    }
    let mut connection = opened().map_err(failed)?;
    migrate::run(&mut connection)
        .map_err(|source| OpenError::Migrate { path: path.to_owned(), source })?;
    transcript::interrupt_orphans(&mut connection, |owner| {
        Owner::parse(owner).is_some_and(|owner| owner.is_alive())
    })
    .map_err(failed)?;
    Ok(connection)
}

fn place(folder: &Path) -> Result<Placed, OpenError> {
    let (first, second) = (folder.join(DATABASE_FILE), folder.join(DATABASE_FILE_BESIDE_FOREIGN));
    if is_ours_or_free(&first)? {
        return Ok(Placed { file: first, foreign: None });
    }
    if is_ours_or_free(&second)? {
        return Ok(Placed { file: second, foreign: Some(first) });
    }
    Err(OpenError::Foreign { first, second })
}

fn place_at(file: &Path) -> Result<Placed, OpenError> {
    if is_ours_or_free(file)? {
        Ok(Placed { file: file.to_owned(), foreign: None })
    } else {
        Err(OpenError::ForeignFile { path: file.to_owned() })
    }
}

/// Looks at the header only, so that another program's file is not even opened by `SQLite`.
fn is_ours_or_free(path: &Path) -> Result<bool, OpenError> {
    let inspect = |source| OpenError::Inspect { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(inspect(error)),
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(inspect)?;
    if header.is_empty() {
        // Made by us and killed before the first commit, or an empty placeholder. With a log
        // beside it, `SQLite` knows better than the header.
        return claims_ours(path);
    }
    let marked = header.get(68..72).is_some_and(|id| id == APPLICATION_ID.to_be_bytes());
    if header.starts_with(MAGIC) && !marked {
        return claims_ours(path);
    }
    Ok(header.starts_with(MAGIC) && marked)
}

/// The header lags behind the log until a checkpoint, so an unmarked file is asked through `SQLite`,
/// read-only.
fn claims_ours(path: &Path) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let marks = connection.query_row(
        "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id",
        [],
        |row| Ok((row.get::<_, i32>(0)?, row.get::<_, i64>(1)?)),
    );
    match marks {
        Ok((id, objects)) => Ok(id == APPLICATION_ID || (id == 0 && objects == 0)),
        // Not a database at all, or one that only its owner can recover: not ours to write.
        Err(_) => Ok(false),
    }
}
