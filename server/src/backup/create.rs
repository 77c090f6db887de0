//! Takes a backup. The manager goes on: it may deploy and delete meanwhile.
//!
//! First everything is copied that the manager's database speaks of now; then the database is copied
//! again, and whatever it speaks of by then is copied, too, until nothing is missing. That last copy
//! goes into the archive, so it never speaks of what is not there. What an archive holds beyond that,
//! because it was deleted meanwhile, is swept away by the next start.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind::NotFound};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use muxi_contract::FormationId;
use rusqlite::ErrorCode;
use rustix::fs::FileType;
use tempfile::TempDir;

use super::archive::Archive;
use super::database::{self, Named};
use super::source::{Folder, Found};
use super::{
    ASIDE, BackedUp, BackupError, BackupOptions, CONFIG, CONTENTS, Contents, DATA, DATABASE,
    DEPTH_MAX, FORMAT, LeftOut, PATH_BYTES_MAX, Progress, STAGING, entry_above, read_failed,
    write_failed,
};
use crate::layout::Layout;

/// At the top of the data folder: what is this run's alone, and what is copied by name.
const NOT_COPIED: [&str; 10] = [
    // It opens what is sealed in the rest; it is here only where both folders are one.
    "manager.key",
    "run",
    "tmp",
    "reserve",
    "manager.lock",
    "manager.json",
    "manager.json.new",
    DATABASE,
    "formations",
    "bundles",
];
const LOGS: &str = "logs";
/// Rounds before a manager that deploys all the time is left alone.
const ROUNDS_MAX: usize = 50;
/// Rounds in which the same was missing before it is taken for lost.
const IN_VAIN_MAX: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// How long one database may be busy.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Whose a file is, and thereby how it may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Written once, before anything spoke of it; without it there is no backup.
    Steady,
    /// Somebody may be writing to it, and it may be in any state: what cannot be copied is told.
    Changing,
}

struct Copying<'a> {
    layout: &'a Layout,
    root: Folder,
    archive: Archive<'a>,
    scratch: TempDir,
    scratch_files: usize,
    left_out: Vec<LeftOut>,
    /// How much longer formations' databases may be busy.
    patience: Duration,
    /// Of formations, and dealt with together with what `SQLite` has beside them.
    databases: BTreeSet<PathBuf>,
    /// What the archive has, whole.
    formations: BTreeSet<FormationId>,
    generations: BTreeSet<(FormationId, u64)>,
    bundles: BTreeSet<String>,
}

/// Writes the archive. It blocks.
pub fn create(
    layout: &Layout,
    options: &BackupOptions,
    tell: &mut dyn FnMut(Progress),
) -> Result<BackedUp, BackupError> {
    let output = std::path::absolute(&options.output).map_err(write_failed(&options.output))?;
    check(layout, &output)?;
    let folder = output.parent().unwrap_or(Path::new("/"));
    let scratch = tempfile::Builder::new()
        .prefix(".muxi-backup-")
        .tempdir_in(folder)
        .map_err(write_failed(folder))?;
    let mut copying = Copying {
        layout,
        root: Folder::open(layout.root()).map_err(read_failed(layout.root()))?,
        archive: Archive::create(&output, tell)?,
        scratch,
        scratch_files: 0,
        left_out: Vec::new(),
        patience: options.patience,
        databases: BTreeSet::new(),
        formations: BTreeSet::new(),
        generations: BTreeSet::new(),
        bundles: BTreeSet::new(),
    };
    let database = copying.everything(options)?;
    let named = database::named(&database)?;
    copying.archive.own_file(&format!("{DATA}/{DATABASE}"), &database)?;
    let contents = Contents {
        format: FORMAT,
        version: crate::VERSION.to_owned(),
        created_at: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        formations: named.generations.keys().cloned().collect(),
        folders: copying.archive.folders.clone(),
        files: copying.archive.files.clone(),
        left_out: copying.left_out.clone(),
    };
    let json = serde_json::to_vec(&contents).expect("our own types always serialise");
    copying.archive.bytes(CONTENTS, &json)?;
    let Progress { files, bytes } = copying.archive.done;
    let archive_bytes = copying.archive.finish()?;
    Ok(BackedUp {
        output,
        formations: contents.formations,
        files,
        bytes,
        archive_bytes,
        left_out: contents.left_out,
    })
}

fn check(layout: &Layout, output: &Path) -> Result<(), BackupError> {
    if !layout.database().is_file() {
        return Err(BackupError::NoData(layout.root().to_owned()));
    }
    if output.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(output.to_owned()));
    }
    let folder = output.parent().unwrap_or(Path::new("/"));
    let real = |path: &Path| path.canonicalize().map_err(read_failed(path));
    if real(folder)?.starts_with(real(layout.root())?) {
        return Err(BackupError::Inside(output.to_owned()));
    }
    Ok(())
}

// === impl Copying ===

impl Copying<'_> {
    /// Copies all files; answers where the copy of the manager's database is that they fit to.
    fn everything(&mut self, options: &BackupOptions) -> Result<PathBuf, BackupError> {
        let mode = self.root.mode().map_err(read_failed(&self.root.path))?;
        self.archive.folder(DATA, mode)?;
        for path in [self.layout.formations(), self.layout.bundles()] {
            if let Some(folder) = self.folder(&path)? {
                self.enter(&folder)?;
            }
        }
        let mut was_missing = Named::default();
        let mut in_vain = 0;
        for round in 0..ROUNDS_MAX {
            let database = self.database(options.formation.as_ref())?;
            let missing = self.missing(database::named(&database)?);
            if missing == Named::default() && round > 0 {
                return Ok(database);
            }
            in_vain = if missing == was_missing { in_vain + 1 } else { 0 };
            if in_vain > 0 {
                // Files and rows do not go at the same moment.
                std::thread::sleep(PAUSE);
            }
            if let Some(path) = self.first_of(&missing).filter(|_| in_vain == IN_VAIN_MAX) {
                return Err(BackupError::Missing(path));
            }
            self.copy(&missing)?;
            if round == 0 {
                self.rest(options)?;
            }
            was_missing = missing;
        }
        Err(BackupError::Restless)
    }

    /// A copy of the manager's database as it is now.
    fn database(&mut self, only: Option<&FormationId>) -> Result<PathBuf, BackupError> {
        let whole = self.scratch_file();
        let path = self.layout.database();
        let real = self.root.real_path().map_err(read_failed(&path))?.join(DATABASE);
        database::copy(&real, &whole, BUSY_MAX)
            .map_err(|source| BackupError::Database { path, source })?;
        let Some(id) = only else { return Ok(whole) };
        if !database::named(&whole)?.generations.contains_key(id) {
            return Err(BackupError::UnknownFormation(id.clone()));
        }
        let single = self.scratch_file();
        database::single_out(&whole, id, &single)?;
        Ok(single)
    }

    fn scratch_file(&mut self) -> PathBuf {
        self.scratch_files += 1;
        self.scratch.path().join(format!("{}.db", self.scratch_files))
    }

    /// What of this the archive does not have yet.
    fn missing(&self, mut named: Named) -> Named {
        named.bundles.retain(|it| !self.bundles.contains(it));
        for (id, generations) in &mut named.generations {
            generations.retain(|it| !self.generations.contains(&(id.clone(), *it)));
        }
        let has = |id: &FormationId| self.formations.contains(id);
        named.generations.retain(|id, generations| !generations.is_empty() || !has(id));
        named
    }

    fn first_of(&self, missing: &Named) -> Option<PathBuf> {
        let bundle = missing.bundles.iter().next().map(|it| self.layout.bundle(it));
        bundle.or_else(|| missing.generations.keys().next().map(|id| self.layout.formation(id)))
    }

    /// Copies what is named. What is gone stays missing, and the next copy of the database says
    /// whether it still matters.
    fn copy(&mut self, missing: &Named) -> Result<(), BackupError> {
        for sha256 in &missing.bundles {
            if self.at(&self.layout.bundle(sha256), Kind::Steady)? {
                self.bundles.insert(sha256.clone());
            }
        }
        for (id, generations) in &missing.generations {
            if !self.formations.contains(id) {
                self.formation(id)?;
            }
            for generation in generations {
                if self.at(&self.layout.generation(id, *generation), Kind::Steady)? {
                    self.generations.insert((id.clone(), *generation));
                }
            }
        }
        Ok(())
    }

    /// Everything of a formation but its generations.
    fn formation(&mut self, id: &FormationId) -> Result<(), BackupError> {
        let Some(folder) = self.folder(&self.layout.formation(id))? else { return Ok(()) };
        let Some(mut names) = self.enter(&folder)? else { return Ok(()) };
        names.retain(|name| name != "generations");
        self.each(&folder, &names, Kind::Changing)?;
        if let Some(generations) = self.folder(&self.layout.generations(id))? {
            self.enter(&generations)?;
        }
        self.formations.insert(id.clone());
        Ok(())
    }

    /// What lies beside bundles and formations.
    fn rest(&mut self, options: &BackupOptions) -> Result<(), BackupError> {
        if options.include_config {
            let path = &options.config_file;
            let file = unless_gone(File::open(path), path)?;
            let file = file.ok_or_else(|| BackupError::Missing(path.clone()))?;
            self.archive.changing_file(CONFIG, path, file)?;
        }
        if let Some(id) = &options.formation {
            return if options.include_logs { self.logs_of(id) } else { Ok(()) };
        }
        let Some(root) = self.folder(self.layout.root())? else { return Ok(()) };
        // The configuration and the master key, wherever below the data they lie.
        let apart = [&options.config_dir, &options.config_file];
        let apart = apart.map(|path| entry_above(self.layout.root(), path));
        let mut names = root.names().map_err(read_failed(&root.path))?;
        names.retain(|name| {
            let text = name.to_string_lossy();
            !NOT_COPIED.contains(&text.as_ref())
                && !text.starts_with(ASIDE)
                && !text.starts_with(STAGING)
                && !text.starts_with("config.yaml")
                && !apart.iter().flatten().any(|it| it == name)
                && database::owner(&text) != Some(DATABASE)
                && (text != LOGS || options.include_logs)
        });
        self.each(&root, &names, Kind::Changing).map(drop)
    }

    fn logs_of(&mut self, id: &FormationId) -> Result<(), BackupError> {
        let Some(logs) = self.folder(&self.layout.logs())? else { return Ok(()) };
        let starts = [format!("{id}-out.log"), format!("{id}-err.log")];
        let mut names = logs.names().map_err(read_failed(&logs.path))?;
        names.retain(|name| {
            let text = name.to_string_lossy();
            text == id.as_str() || starts.iter().any(|start| text.starts_with(start))
        });
        self.each(&logs, &names, Kind::Changing).map(drop)
    }

    /// A folder of the layout, `None` if it is gone.
    fn folder(&self, path: &Path) -> Result<Option<Folder>, BackupError> {
        let below = path.strip_prefix(self.layout.root()).expect("it is one of the layout");
        unless_gone(self.root.descend(below), path)
    }

    /// Adds a folder and answers the names in it, `None` if no archive can carry its own.
    fn enter(&mut self, folder: &Folder) -> Result<Option<Vec<OsString>>, BackupError> {
        let Some(path) = self.path_in_archive(&folder.path) else { return Ok(None) };
        self.archive.folder(&path, folder.mode().map_err(read_failed(&folder.path))?)?;
        folder.names().map(Some).map_err(read_failed(&folder.path))
    }

    /// Whatever lies at a path of the layout; whether it was there to the end.
    fn at(&mut self, path: &Path, kind: Kind) -> Result<bool, BackupError> {
        let (folder, name) = (path.parent(), path.file_name());
        let (folder, name) = folder.zip(name).expect("it lies below the root");
        match self.folder(folder)? {
            Some(folder) => self.any(&folder, name, kind),
            None => Ok(false),
        }
    }

    fn each(
        &mut self,
        folder: &Folder,
        names: &[OsString],
        kind: Kind,
    ) -> Result<bool, BackupError> {
        let mut whole = true;
        for name in names {
            let of_database = name.to_str().and_then(database::owner);
            if of_database.is_some_and(|it| self.databases.contains(&folder.path.join(it))) {
                continue;
            }
            whole &= self.any(folder, name, kind)?;
        }
        Ok(whole)
    }

    /// Whether it was there to the end, or can never be in an archive, which is told.
    fn any(&mut self, folder: &Folder, name: &OsStr, kind: Kind) -> Result<bool, BackupError> {
        let path = folder.path.join(name);
        let added = match folder.find(name) {
            Ok(Found::Folder(inner)) => self.tree(&inner, kind),
            Ok(Found::File(file)) => self.file(folder, name, file, kind),
            Ok(Found::Other(kind)) => {
                self.leave_out_by_type(&path, kind);
                Ok(true)
            }
            Err(error) if error.kind() == NotFound => Ok(false),
            Err(source) => Err(BackupError::Read { path, source }),
        };
        match added {
            // Nothing of it is in the archive yet: what changes is held whole before it is added.
            Err(BackupError::Read { path, source })
                if kind == Kind::Changing && path.starts_with(self.layout.root()) =>
            {
                self.leave_out(&path, &format!("it cannot be read: {source}"));
                Ok(true)
            }
            added => added,
        }
    }

    fn tree(&mut self, folder: &Folder, kind: Kind) -> Result<bool, BackupError> {
        let Some(mut names) = self.enter(folder)? else { return Ok(true) };
        // A database before the folders beside it, so that it speaks of no file that came later.
        names.sort_by_key(|name| !folder.is_file_or_absent(name));
        Ok(self.each(folder, &names, kind)? && folder.path.is_dir())
    }

    fn file(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        file: File,
        kind: Kind,
    ) -> Result<bool, BackupError> {
        let from = folder.path.join(name);
        // What cannot be named in an archive was told; it is not missing.
        let Some(path) = self.path_in_archive(&from) else { return Ok(true) };
        match kind {
            Kind::Steady => self.archive.steady_file(&path, &from, file)?,
            Kind::Changing => {
                let is_database = database::is_one(&file).map_err(read_failed(&from))?;
                if !is_database || !self.through_sqlite(folder, name, &file, &path)? {
                    self.archive.changing_file(&path, &from, file)?;
                }
            }
        }
        Ok(true)
    }

    /// Copies a database of a formation as it is at one moment; false if it only looks like one.
    fn through_sqlite(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        file: &File,
        path: &str,
    ) -> Result<bool, BackupError> {
        let from = folder.path.join(name);
        // Those SQLite would open by their names, too, and wait where they are pipes.
        let mut companions = name.to_str().into_iter().flat_map(database::companions);
        if !companions.all(|it| folder.is_file_or_absent(OsStr::new(&it))) {
            return Ok(false);
        }
        let mode = file.metadata().map_err(read_failed(&from))?.permissions().mode() & 0o777;
        let real = folder.real_path().map_err(read_failed(&from))?.join(name);
        let (copy, begun) = (self.scratch_file(), Instant::now());
        match database::copy(&real, &copy, self.patience.min(BUSY_MAX)) {
            Ok(()) => {
                fs::set_permissions(&copy, Permissions::from_mode(mode | 0o400))
                    .map_err(write_failed(&copy))?;
                self.archive.own_file(path, &copy)?;
                fs::remove_file(&copy).map_err(write_failed(&copy))?;
            }
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => return Ok(false),
                Some(ErrorCode::DiskFull) => {
                    return Err(BackupError::Database { path: from, source: error });
                }
                // It is gone, and with it what there was to copy.
                _ if matches!(folder.find(name), Err(error) if error.kind() == NotFound) => {}
                code => {
                    if code == Some(ErrorCode::DatabaseBusy) {
                        self.patience = self.patience.saturating_sub(begun.elapsed());
                    }
                    self.leave_out(&from, &format!("the database cannot be copied: {error}"));
                }
            },
        }
        self.databases.insert(from);
        Ok(true)
    }

    /// The path within the archive; what a restore would not take is left out and told.
    fn path_in_archive(&mut self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        let text = below.to_str().filter(|it| !it.contains(|c: char| c.is_control() || c == '\\'));
        let reason = match text {
            None => "its name has a character that archives cannot carry",
            Some(text) if text.len() + DATA.len() >= PATH_BYTES_MAX => "its path is too long",
            Some(text) if text.split('/').count() >= DEPTH_MAX => "it lies too deep",
            Some(text) => return Some(format!("{DATA}/{text}")),
        };
        self.leave_out(path, reason);
        None
    }

    fn leave_out_by_type(&mut self, path: &Path, kind: FileType) {
        if kind == FileType::Symlink {
            self.leave_out(path, "it is a symbolic link");
        } else if !matches!(kind, FileType::Socket | FileType::Fifo) {
            self.leave_out(path, "it is a device");
        }
        // Sockets and pipes mean nothing without the processes at their ends.
    }

    fn leave_out(&mut self, path: &Path, reason: &str) {
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        let path = below.display().to_string();
        self.left_out.push(LeftOut { path, reason: reason.to_owned() });
    }
}

fn unless_gone<T>(done: io::Result<T>, path: &Path) -> Result<Option<T>, BackupError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(source) => Err(BackupError::Read { path: path.to_owned(), source }),
    }
}
