//! A formation as a zip: the files of one generation with what changed since it was deployed.
//!
//! The archive is made piece by piece while it is sent, so neither its size nor a slow client costs
//! memory or a thread. What a runtime owns is read as untrusted: links are not followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use muxi_contract::FormationId;
use muxi_formation::Resolve;
use muxi_formation::manifest::Persistent;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::OFlags;
use tempfile::TempPath;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{DateTime, ZipWriter};

use crate::layout::Layout;

/// The pieces of one zip, in order. Each step blocks for as long as the disk takes.
pub struct Archive {
    zip: Option<ZipWriter<StreamWriter<Buffer>>>,
    buffer: Buffer,
    entries: std::vec::IntoIter<Entry>,
    open: Option<File>,
    /// Removed when the archive goes.
    _databases: Vec<TempPath>,
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("there are no files of generation {0}")]
    NoGeneration(u64),
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to copy the formation's database")]
    Database(#[source] rusqlite::Error),
    #[error("the formation's database was busy for {0:?}")]
    DatabaseBusy(Duration),
}

#[derive(Debug, Clone)]
struct Entry {
    /// Within the archive.
    name: String,
    path: PathBuf,
}

/// Where the zip's bytes wait to be sent.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

const PIECE_BYTES: usize = 64 << 10;
/// From here on an entry says that it may need more than 32 bits for its size.
const LARGE_BYTES: u64 = 2 << 30;
/// Written by the runtime beside its database, and newer than what was deployed.
const TUNING_FILES: [&str; 3] = ["MUXI.md", "muxi.md", "PENDING-MUXI.md"];
const DATABASE: &str = "memory.db";
/// Where the runtime writes when `memory.db` is another program's.
const DATABASE_BESIDE_FOREIGN: &str = "memory.muxi.db";
const DATABASE_COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);

/// Collects what the archive will hold; everything that can be refused is refused here.
pub fn prepare(
    layout: &Layout,
    id: &FormationId,
    generation: u64,
    with_database: bool,
) -> Result<Archive, DownloadError> {
    let root = layout.generation(id, generation);
    if !root.is_dir() {
        return Err(DownloadError::NoGeneration(generation));
    }
    let mut entries = Vec::new();
    walk(&root, "", &mut entries)?;
    let database = database_name(&root);
    let is_database = |name: &str| {
        let file = name.rsplit('/').next().unwrap_or(name);
        name == database || file == DATABASE
    };
    let is_companion = |name: &str| {
        DATABASE_COMPANIONS.iter().filter_map(|it| name.strip_suffix(it)).any(is_database)
    };
    entries.retain(|entry| !is_companion(&entry.name));
    let mut databases = Vec::new();
    let data = layout.formation_data(id);
    if with_database {
        for name in [database.as_str(), DATABASE_BESIDE_FOREIGN] {
            if let Some(copy) = copy_database(&data, name, &layout.uploads())? {
                replace(&mut entries, name, &copy);
                databases.push(copy);
            }
        }
    } else {
        entries.retain(|entry| !is_database(&entry.name));
    }
    for name in TUNING_FILES {
        let live = data.join(name);
        if fs::symlink_metadata(&live).is_ok_and(|it| it.is_file()) {
            replace(&mut entries, name, &live);
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let buffer = Buffer::default();
    Ok(Archive {
        zip: Some(ZipWriter::new_stream(buffer.clone())),
        buffer,
        entries: entries.into_iter(),
        open: None,
        _databases: databases,
    })
}

/// Every file that is not hidden; `.env` alone is not hidden, as documented.
fn walk(folder: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<(), DownloadError> {
    let failed = |source| DownloadError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Unpacking let nothing in that is not UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') && name != ".env" {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        let within = format!("{prefix}{name}");
        if kind.is_dir() {
            walk(&entry.path(), &format!("{within}/"), entries)?;
        } else if kind.is_file() {
            entries.push(Entry { name: within, path: entry.path() });
        }
    }
    Ok(())
}

fn replace(entries: &mut Vec<Entry>, name: &str, path: &Path) {
    entries.retain(|entry| entry.name != name);
    entries.push(Entry { name: name.to_owned(), path: path.to_owned() });
}

/// The manifest's name for the database.
fn database_name(root: &Path) -> String {
    // A bundle that this version would refuse can still be downloaded.
    match muxi_formation::load(root, Resolve::Keep).map(|it| it.manifest.memory.persistent) {
        Ok(Persistent::Sqlite { file }) => file.into_string(),
        // What is on a server is not among the formation's files.
        Ok(Persistent::Off | Persistent::Postgres { .. }) | Err(_) => DATABASE.to_owned(),
    }
}

/// A consistent copy of a database that may be written to meanwhile; `None` if there is none.
fn copy_database(
    data: &Path,
    name: &str,
    uploads: &Path,
) -> Result<Option<TempPath>, DownloadError> {
    let read = |source| DownloadError::Read { path: data.join(name), source };
    // No link below the data folder may lead out of it; above it they are the operator's.
    let Ok(data) = data.canonicalize() else { return Ok(None) };
    let live = data.join(name);
    if !fs::symlink_metadata(&live).is_ok_and(|it| it.is_file()) {
        return Ok(None);
    }
    let copy = tempfile::Builder::new().prefix("database-").tempfile_in(uploads).map_err(read)?;
    let copy = copy.into_temp_path();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let copied = || -> rusqlite::Result<StepResult> {
        let from = Connection::open_with_flags(&live, flags)?;
        from.busy_timeout(DATABASE_PATIENCE)?;
        let mut to = Connection::open(&copy)?;
        // All at once: one read transaction, which keeps no writer waiting.
        Backup::new(&from, &mut to)?.step(-1)
    };
    match copied().map_err(DownloadError::Database)? {
        StepResult::Done => Ok(Some(copy)),
        StepResult::More | StepResult::Busy | StepResult::Locked | _ => {
            Err(DownloadError::DatabaseBusy(DATABASE_PATIENCE))
        }
    }
}

// === impl Archive ===

impl Iterator for Archive {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.piece() {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => Some(Ok(piece)),
            Err(error) => {
                // Nothing more may come: a zip that ends here must not look whole.
                (self.zip, self.open, self.entries) = (None, None, Vec::new().into_iter());
                self.buffer.take();
                Some(Err(error))
            }
        }
    }
}

impl Archive {
    /// The next bytes; none at the end.
    fn piece(&mut self) -> io::Result<Bytes> {
        let mut read = vec![0; PIECE_BYTES];
        while let Some(zip) = &mut self.zip {
            if self.buffer.len() >= PIECE_BYTES {
                break;
            }
            if let Some(file) = &mut self.open {
                match file.read(&mut read)? {
                    0 => self.open = None,
                    bytes => zip.write_all(&read[..bytes])?,
                }
            } else if let Some(entry) = self.entries.next() {
                self.open = Some(entry.begin(zip)?);
            } else if let Some(zip) = self.zip.take() {
                zip.finish()?;
            }
        }
        Ok(self.buffer.take())
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("entries", &self.entries).finish_non_exhaustive()
    }
}

// === impl Entry ===

impl Entry {
    fn begin(&self, zip: &mut ZipWriter<StreamWriter<Buffer>>) -> io::Result<File> {
        // Neither a link nor a pipe that took the file's place may be read.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other(format!("{} is no file any more", self.path.display())));
        }
        let options = SimpleFileOptions::default()
            .unix_permissions(metadata.permissions().mode())
            .last_modified_time(metadata.modified().map_or(DateTime::DEFAULT, zip_time))
            .large_file(metadata.len() >= LARGE_BYTES);
        zip.start_file(&self.name, options)?;
        Ok(file)
    }
}

/// In UTC, since a zip names no zone; what it cannot name is its earliest time.
fn zip_time(at: std::time::SystemTime) -> DateTime {
    let at = Timestamp::try_from(at).map(|at| at.to_zoned(TimeZone::UTC).datetime());
    at.ok().and_then(|at| at.try_into().ok()).unwrap_or(DateTime::DEFAULT)
}

// === impl Buffer ===

impl Buffer {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
