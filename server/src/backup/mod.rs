//! The data folder as one file, taken while the manager runs, and back again.
//!
//! Databases are copied through `SQLite`, so that each is whole; everything that the copy of the
//! manager's database speaks of is in the archive (see `create`). Nothing is replaced before every
//! byte of an archive was checked, and what was there before is moved aside, never deleted.

mod archive;
mod create;
mod database;
mod restore;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muxi_contract::FormationId;
use muxi_formation::UnpackError;
use serde::{Deserialize, Serialize};

pub use self::create::create;
pub use self::restore::restore;
use crate::owner::OwnerError;
use crate::store::StoreError;

/// What is taken, and where to.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Must not exist.
    pub output: PathBuf,
    pub include_logs: bool,
    /// The configuration's file, which holds the secrets of keys.
    pub include_config: bool,
    /// Where the configuration and the master key lie; nothing of it is taken for data.
    pub config_file: PathBuf,
    pub config_dir: PathBuf,
    /// This formation alone.
    pub formation: Option<FormationId>,
    /// How long databases of formations may be busy, all together, before they are left out.
    pub patience: Duration,
}

/// A backup that is whole and on the disk.
#[derive(Debug, Clone, Serialize)]
pub struct BackedUp {
    pub output: PathBuf,
    pub formations: Vec<FormationId>,
    pub files: usize,
    /// Before compression.
    pub bytes: u64,
    pub archive_bytes: u64,
    pub left_out: Vec<LeftOut>,
}

#[derive(Debug, Clone)]
pub struct RestoreOptions {
    pub archive: PathBuf,
    /// Moves aside what is there.
    pub force: bool,
    /// Where a configuration in the archive belongs.
    pub config_file: PathBuf,
}

/// A data folder that is again what it was.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    pub data_dir: PathBuf,
    /// When the backup was taken, and by which version.
    pub created_at: String,
    pub version: String,
    pub files: usize,
    pub bytes: u64,
    pub formations: Vec<RestoredFormation>,
    /// Where everything lies that was there before.
    pub moved_aside: Option<PathBuf>,
    /// Where the configuration of the archive was put.
    pub config: Option<PathBuf>,
}

/// What the next start does with a formation.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredFormation {
    pub id: FormationId,
    pub version: String,
    pub generation: u64,
    pub port: u16,
    /// Whether it is started.
    pub starts: bool,
    /// Whether another program has its port now.
    pub port_taken: bool,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub files: usize,
    pub bytes: u64,
}

/// What cannot be in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub path: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no manager's database in {0}; nothing to back up")]
    NoData(PathBuf),
    #[error("formation `{0}` is not on this manager")]
    UnknownFormation(FormationId),
    #[error("{0} exists; choose another name with --output")]
    Exists(PathBuf),
    #[error("{0} lies in the data folder itself; choose another place with --output")]
    Inside(PathBuf),
    #[error(
        "{0} is missing on the disk, though the database speaks of it; `muxi-server doctor` says more"
    )]
    Missing(PathBuf),
    #[error("formations were deployed again and again while the backup was taken; try again")]
    Restless,
    #[error(
        "the database is of version {found} and this program of {known}; one formation alone is taken \
         by the version that wrote it"
    )]
    OtherVersion { found: i64, known: i64 },
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("failed to copy the database {path}")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error("a manager works on {0}; end it with `muxi-server stop` first")]
    Held(PathBuf),
    #[error(
        "formations of {folder} still run without a manager (processes {}); start the manager and \
         stop it, so that they end",
        shown(pids)
    )]
    StillRunning { folder: PathBuf, pids: Vec<u32> },
    #[error("{0} is not empty; with --force what is there is moved aside")]
    NotEmpty(PathBuf),
    #[error("{path} is no backup: {reason}")]
    NotABackup { path: PathBuf, reason: String },
    #[error("the backup is of a newer version ({0}) of muxi-server; restore it with that one")]
    Newer(String),
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    #[error("the archive cannot be unpacked")]
    Unpack(#[source] UnpackError),
    #[error("the database of the backup is not usable")]
    Database(#[source] rusqlite::Error),
}

/// The last entry of an archive: everything that is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Contents {
    format: u32,
    /// Of the program that wrote it.
    version: String,
    created_at: String,
    formations: Vec<FormationId>,
    folders: Vec<FolderEntry>,
    files: Vec<FileEntry>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FolderEntry {
    path: String,
    mode: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FileEntry {
    path: String,
    bytes: u64,
    mode: u32,
    sha256: String,
}

const FORMAT: u32 = 1;
const CONTENTS: &str = "backup.json";
/// Below it lies the data folder.
const DATA: &str = "data";
const DATABASE: &str = "manager.db";
const CONFIG: &str = "config/config.yaml";
/// Beginnings of names at the top of a data folder that a restore made there.
const ASIDE: &str = "before-restore-";
const STAGING: &str = ".restore-";
/// Paths that the archive's reader takes.
const PATH_BYTES_MAX: usize = 4_096;
const DEPTH_MAX: usize = 64;

/// The name at the top of a data folder below which something else lies, by their real paths.
fn entry_above(root: &Path, path: &Path) -> Option<OsString> {
    let (root, path) = (root.canonicalize().ok()?, path.canonicalize().ok()?);
    let first = path.strip_prefix(root).ok()?.components().next()?;
    Some(first.as_os_str().to_owned())
}

fn read_failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Read { path, source }
}

fn write_failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Write { path, source }
}

fn shown(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
