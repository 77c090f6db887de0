//! The thread that owns the database, and how others reach it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muxi_contract::UserId;
use rusqlite::OpenFlags;
use secrecy::SecretString;
use tokio::sync::{Notify, mpsc};

use crate::calls::{self, Call, Waiting};
use crate::migrate::{self, APPLICATION_ID, Dialect, MigrationError};
use crate::owner::{self, Owner};
use crate::sql::postgres::{Place, Postgres};
use crate::sql::{Connection, DatabaseError, Mode, Transaction, sqlite};
use crate::transcript::{self, UserStore};
use crate::{DATABASE_FILE, DATABASE_FILE_BESIDE_FOREIGN, Placed};

/// Where the memory lives.
#[derive(Debug, Clone)]
pub enum Location {
    /// In the folder, under a name that is free or already ours.
    Folder(PathBuf),
    /// In this very file.
    File(PathBuf),
    /// In this process only, bounded by the retention.
    Process(Retention),
    /// On a server that several machines may share, in the schema of this formation.
    Postgres { url: SecretString, schema: String },
}

/// How much a memory without a disk keeps; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub messages_per_session: u32,
    pub sessions: u32,
    pub memories: u32,
}

/// A handle; clones share the thread, which ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Store {
    calls: mpsc::Sender<Box<dyn Call>>,
    context: Context,
    placed: Option<Placed>,
    /// A webhook was written down here.
    pub(crate) delivery_made: Arc<Notify>,
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
        source: DatabaseError,
    },
    #[error("failed to reach the database of `memory.persistent.connection_string`")]
    Connect(#[source] DatabaseError),
    #[error("failed to bring the memory up to date")]
    Migrate(#[source] MigrationError),
    #[error("failed to start the memory's thread")]
    Thread(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the memory's thread has ended")]
    Gone,
    #[error("the database refused")]
    Database(#[from] DatabaseError),
}

/// What every call on the thread may read.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) owner: String,
    pub(crate) retention: Option<Retention>,
}

/// Calls that wait for the thread; a further caller waits to be let in.
const QUEUED_CALLS_MAX: usize = 256;
/// Connections to a server; a file has one.
const CONNECTIONS: usize = 4;
const BEAT_SECONDS: u32 = 10;
/// Of an `SQLite` file's header: the magic text, and the application id at byte 68.
const HEADER_BYTES: usize = 72;
/// `SQLite`'s name for a database without a file.
const IN_PROCESS: &str = ":memory:";
const MAGIC: &[u8] = b"SQLite format 3\0";

// === impl Store ===

impl Store {
    /// Opens or makes the database, marks the turns of dead processes as interrupted, and starts
    /// the threads. Blocks for as long as the disk or the server takes.
    pub fn open(location: &Location) -> Result<Self, OpenError> {
        let mut beats = None;
        let (placed, retention, connections) = match location {
            Location::Folder(folder) => file(place(folder)?)?,
            Location::File(path) => file(place_at(path)?)?,
            Location::Process(retention) => {
                let connection = connect(Path::new(IN_PROCESS))?;
                (None, Some(*retention), vec![connection])
            }
            Location::Postgres { url, schema } => {
                let place = Place { url: url.clone(), schema: schema.clone() };
                // The driver waits in a way that a thread of the runtime may not.
                let connecting = std::thread::spawn(move || connect_to_server(&place));
                let (connections, pulse) = connecting.join().expect("connecting does not panic")?;
                beats = Some(pulse);
                (None, None, connections)
            }
        };
        let context = Context { owner: Owner::this_process().to_string(), retention };
        let (calls, queue) = mpsc::channel(QUEUED_CALLS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for connection in connections {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name("memory".to_owned())
                .spawn(move || calls::work(connection, &queue))
                .map_err(OpenError::Thread)?;
        }
        if let Some(connection) = beats {
            let (own, calls) = (context.owner.clone(), calls.downgrade());
            std::thread::Builder::new()
                .name("memory pulse".to_owned())
                .spawn(move || beat(connection, &own, &calls))
                .map_err(OpenError::Thread)?;
        }
        Ok(Self { calls, context, placed, delivery_made: Arc::default() })
    }

    /// The only handle with queries.
    pub fn for_user(&self, user: &UserId) -> UserStore {
        UserStore::new(self.clone(), user.clone())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|transaction| transaction.one("SELECT 1", &[], |_| Ok(()))).await
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
        F: FnOnce(&mut Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    {
        self.call(Mode::Write, act).await
    }

    pub(crate) async fn read<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    {
        self.call(Mode::Read, act).await
    }

    /// Once queued, the transaction runs to its end even if the caller is dropped.
    async fn call<T, F>(&self, mode: Mode, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    {
        let (call, answer) = Waiting::new(mode, act);
        self.calls.send(Box::new(call)).await.map_err(|_| StoreError::Gone)?;
        Ok(answer.await.map_err(|_| StoreError::Gone)??)
    }
}

// === private helpers ===

type Opened = (Option<Placed>, Option<Retention>, Vec<Box<dyn Connection>>);

fn file(placed: Placed) -> Result<Opened, OpenError> {
    let connection = connect(&placed.file)?;
    Ok((Some(placed), None, vec![connection]))
}

fn connect(path: &Path) -> Result<Box<dyn Connection>, OpenError> {
    if path != Path::new(IN_PROCESS) {
        // Conversations are for their owner's eyes; `SQLite` gives its log the mode of the file.
        let mut options = File::options();
        let made = options.write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| OpenError::Inspect { path: path.to_owned(), source })?;
    }
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let mut connection = sqlite::open(path).map_err(|error| failed(error.into()))?;
    migrate::run(&mut connection, Dialect::Sqlite).map_err(OpenError::Migrate)?;
    interrupt_orphans(&mut connection).map_err(failed)?;
    Ok(Box::new(connection))
}

/// Connections for commands, and one for the pulse.
fn connect_to_server(place: &Place) -> Result<(Vec<Box<dyn Connection>>, Postgres), OpenError> {
    let mut first = Postgres::connect(place.clone()).map_err(OpenError::Connect)?;
    migrate::run(&mut first, Dialect::Postgres).map_err(OpenError::Migrate)?;
    // Before anybody looks: who works on something must be known to live.
    let own = Owner::this_process().to_string();
    first
        .transact(Mode::Write, &mut |transaction| owner::note_life(transaction, &own))
        .map_err(OpenError::Connect)?;
    interrupt_orphans(&mut first).map_err(OpenError::Connect)?;
    let mut connections: Vec<Box<dyn Connection>> = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = Postgres::connect(place.clone()).map_err(OpenError::Connect)?;
        connections.push(Box::new(connection));
    }
    Ok((connections, first))
}

fn interrupt_orphans(connection: &mut dyn Connection) -> Result<(), DatabaseError> {
    connection.transact(Mode::Write, &mut |transaction| transcript::interrupt_orphans(transaction))
}

/// Says from time to time that this process lives, for those on other machines.
fn beat(mut connection: Postgres, own: &str, calls: &mpsc::WeakSender<Box<dyn Call>>) {
    for seconds in (0..BEAT_SECONDS).cycle() {
        if calls.upgrade().is_none() {
            return;
        }
        if seconds == 0 {
            let noted = connection
                .transact(Mode::Write, &mut |transaction| owner::note_life(transaction, own));
            // The next beat tries again; only a long silence has a meaning.
            drop(noted);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
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
    let failed =
        |source: rusqlite::Error| OpenError::Open { path: path.to_owned(), source: source.into() };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(sqlite::BUSY_TIMEOUT).map_err(failed)?;
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
