//! Takes a backup. The manager goes on: it may deploy and delete meanwhile.
//!
//! First everything is copied that the manager's database speaks of now; then the database is copied
//! again, and whatever it speaks of by then is copied, too, until nothing is missing. That last copy
//! goes into the archive, so it never speaks of what is not there. What an archive holds beyond that,
//! because it was deleted meanwhile, is swept away by the next start.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use muxi_contract::FormationId;
use tempfile::TempDir;

use super::archive::Archive;
use super::database::{self, Named};
use super::{
    ASIDE, BackedUp, BackupError, BackupOptions, CONFIG, CONTENTS, Contents, DATA, DATABASE,
    DEPTH_MAX, FORMAT, LeftOut, PATH_BYTES_MAX, Progress, STAGING, read_failed, write_failed,
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

/// How a file may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Written once, before anything spoke of it.
    Steady,
    /// Somebody may be writing to it.
    Changing,
}

struct Copying<'a> {
    layout: &'a Layout,
    archive: Archive<'a>,
    scratch: TempDir,
    scratch_files: usize,
    left_out: Vec<LeftOut>,
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
        archive: Archive::create(&output, tell)?,
        scratch,
        scratch_files: 0,
        left_out: Vec::new(),
        formations: BTreeSet::new(),
        generations: BTreeSet::new(),
        bundles: BTreeSet::new(),
    };
    let database = copying.everything(options)?;
    let named = database::named(&database)?;
    copying.archive.steady_file(&format!("{DATA}/{DATABASE}"), &database)?;
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
        let root = self.layout.root().to_owned();
        let metadata = root.metadata().map_err(read_failed(&root))?;
        self.archive.folder(DATA, metadata.mode())?;
        for folder in [self.layout.formations(), self.layout.bundles()] {
            self.enter(&folder)?;
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
        database::copy(&self.layout.database(), &whole)?;
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
            let from = self.layout.bundle(sha256);
            if self.file(&from, Kind::Steady)? {
                self.bundles.insert(sha256.clone());
            }
        }
        for (id, generations) in &missing.generations {
            if !self.formations.contains(id) {
                self.formation(id)?;
            }
            for generation in generations {
                let folder = self.layout.generation(id, *generation);
                if self.tree(&folder, Kind::Steady)? {
                    self.generations.insert((id.clone(), *generation));
                }
            }
        }
        Ok(())
    }

    /// Everything of a formation but its generations.
    fn formation(&mut self, id: &FormationId) -> Result<(), BackupError> {
        let folder = self.layout.formation(id);
        let Some(names) = self.enter(&folder)? else { return Ok(()) };
        for name in names {
            let path = folder.join(&name);
            if name == "generations" {
                self.enter(&path)?;
            } else {
                self.any(&path, Kind::Changing)?;
            }
        }
        self.formations.insert(id.clone());
        Ok(())
    }

    /// What lies beside bundles and formations.
    fn rest(&mut self, options: &BackupOptions) -> Result<(), BackupError> {
        if let Some(path) = &options.include_config
            && !self.archive_file(CONFIG, path, Kind::Changing)?
        {
            return Err(BackupError::Missing(path.clone()));
        }
        if options.formation.is_some() && !options.include_logs {
            return Ok(());
        }
        let root = self.layout.root().to_owned();
        for name in self.names(&root)?.unwrap_or_default() {
            let is_ours = !NOT_COPIED.contains(&name.as_str())
                && !name.starts_with(ASIDE)
                && !name.starts_with(STAGING)
                && !name.starts_with("config.yaml")
                && database::owner(&name) != Some(DATABASE);
            let wanted = match &options.formation {
                Some(_) => false,
                None => is_ours && (name != LOGS || options.include_logs),
            };
            if wanted {
                self.any(&root.join(name), Kind::Changing)?;
            }
        }
        if let Some(id) = options.formation.as_ref().filter(|_| options.include_logs) {
            self.logs_of(id)?;
        }
        Ok(())
    }

    fn logs_of(&mut self, id: &FormationId) -> Result<(), BackupError> {
        let logs = self.layout.root().join(LOGS);
        let starts = [format!("{id}-out.log"), format!("{id}-err.log")];
        for name in self.names(&logs)?.unwrap_or_default() {
            if name == id.as_str() || starts.iter().any(|start| name.starts_with(start)) {
                self.any(&logs.join(name), Kind::Changing)?;
            }
        }
        Ok(())
    }

    /// Adds a folder and answers the names in it, `None` if it is gone.
    fn enter(&mut self, folder: &Path) -> Result<Option<Vec<String>>, BackupError> {
        let metadata = match folder.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == NotFound => return Ok(None),
            Err(source) => return Err(BackupError::Read { path: folder.to_owned(), source }),
        };
        let Some(path) = self.path_in_archive(folder) else { return Ok(None) };
        self.archive.folder(&path, metadata.mode())?;
        self.names(folder)
    }

    /// In the order of their bytes; `None` if the folder is gone.
    fn names(&mut self, folder: &Path) -> Result<Option<Vec<String>>, BackupError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == NotFound => return Ok(None),
            Err(source) => return Err(BackupError::Read { path: folder.to_owned(), source }),
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry.map_err(read_failed(folder))?.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => drop(self.path_in_archive(&folder.join(name))),
            }
        }
        names.sort();
        Ok(Some(names))
    }

    /// A folder with everything in it. Whether it was there to the end.
    fn tree(&mut self, folder: &Path, kind: Kind) -> Result<bool, BackupError> {
        let Some(names) = self.enter(folder)? else { return Ok(false) };
        let mut whole = true;
        for name in &names {
            // Copied with its database, if that is one.
            let of_database = database::owner(name).filter(|_| kind == Kind::Changing);
            if of_database.is_some_and(|owner| is_database(&folder.join(owner))) {
                continue;
            }
            whole &= self.any(&folder.join(name), kind)?;
        }
        Ok(whole && folder.is_dir())
    }

    fn any(&mut self, path: &Path, kind: Kind) -> Result<bool, BackupError> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == NotFound => return Ok(false),
            Err(source) => return Err(BackupError::Read { path: path.to_owned(), source }),
        };
        if metadata.is_dir() {
            self.tree(path, kind)
        } else if metadata.is_file() {
            self.file(path, kind)
        } else {
            self.leave_out(path, &metadata);
            Ok(true)
        }
    }

    /// Whether it was there.
    fn file(&mut self, from: &Path, kind: Kind) -> Result<bool, BackupError> {
        // What cannot be named in an archive was told; it is not missing.
        let Some(path) = self.path_in_archive(from) else { return Ok(true) };
        self.archive_file(&path, from, kind)
    }

    fn archive_file(&mut self, path: &str, from: &Path, kind: Kind) -> Result<bool, BackupError> {
        let added = match kind {
            Kind::Steady => self.archive.steady_file(path, from),
            Kind::Changing if is_database(from) => {
                let copy = self.scratch_file();
                database::copy(from, &copy)?;
                let mode = from.metadata().map_err(read_failed(from))?.permissions();
                fs::set_permissions(&copy, mode).map_err(write_failed(&copy))?;
                self.archive.steady_file(path, &copy)?;
                fs::remove_file(&copy).map_err(write_failed(&copy))?;
                return Ok(true);
            }
            Kind::Changing => self.archive.changing_file(path, from),
        };
        match added {
            Err(BackupError::Read { source, .. }) if source.kind() == NotFound => Ok(false),
            added => added.map(|()| true),
        }
    }

    /// The path within the archive; what a restore would not take is left out and told.
    fn path_in_archive(&mut self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        let shown = below.display().to_string();
        let text = below.to_str().filter(|it| !it.contains(|c: char| c.is_control() || c == '\\'));
        let reason = match text {
            None => "its name has a character that archives cannot carry",
            Some(text) if text.len() + DATA.len() >= PATH_BYTES_MAX => "its path is too long",
            Some(text) if text.split('/').count() >= DEPTH_MAX => "it lies too deep",
            Some(text) => return Some(format!("{DATA}/{text}")),
        };
        self.left_out.push(LeftOut { path: shown, reason: reason.to_owned() });
        None
    }

    fn leave_out(&mut self, path: &Path, metadata: &Metadata) {
        let kind = metadata.file_type();
        // Sockets and pipes mean nothing without the processes at their ends.
        if kind.is_socket() || kind.is_fifo() {
            return;
        }
        let reason = if kind.is_symlink() { "it is a symbolic link" } else { "it is a device" };
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        let path = below.display().to_string();
        self.left_out.push(LeftOut { path, reason: reason.to_owned() });
    }
}

/// A file that cannot be read is found out when it is copied.
fn is_database(path: &Path) -> bool {
    database::is_one(path).unwrap_or(false)
}
