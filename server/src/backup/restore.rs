//! Brings a backup back. Everything is unpacked beside what is there and checked to the last byte;
//! only then are names changed, under the lock that keeps managers away. Where the folder is a mount
//! point, or its parent another user's, names within it are all that can be changed, so what was
//! there is moved into a folder within.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use muxi_formation::UnpackLimits;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{
    ASIDE, CONFIG, CONTENTS, Contents, DATA, DATABASE, DEPTH_MAX, FORMAT, PATH_BYTES_MAX,
    RestoreError, RestoreOptions, Restored, RestoredFormation, STAGING, database, entry_above,
};
use crate::disk;
use crate::layout::Layout;
use crate::owner;
use crate::running;
use crate::store;
use crate::supervisor::process;

/// Never more than this many entries, whatever an archive says.
const ENTRIES_MAX: usize = 4_000_000;
const CONTENTS_BYTES_MAX: u64 = 1 << 30;
/// At the top of a data folder: not part of what a manager has stored.
const NOT_DATA: [&str; 5] =
    ["manager.lock", "reserve", "restore-unfinished", "config.yaml", "manager.key"];

/// Replaces what is in the data folder. It blocks, and root becomes the data's owner by it.
pub fn restore(layout: &Layout, options: &RestoreOptions) -> Result<Restored, RestoreError> {
    let root = layout.root();
    let archive = File::open(&options.archive).map_err(read_failed(&options.archive))?;
    owner::become_owner(layout)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(write_failed(root))?;
    let lock = running::lock(layout).map_err(write_failed(&layout.lock()))?;
    let _lock = lock.ok_or_else(|| RestoreError::Held(root.to_owned()))?;
    let unfinished = layout.unfinished_restore();
    let config_dir = options.config_file.parent().unwrap_or(Path::new("/"));
    let apart = entry_above(root, config_dir);
    let there = entries(root, apart.as_deref())?;
    if !there.is_empty() && !options.force {
        return Err(RestoreError::NotEmpty(root.to_owned()));
    }
    let pids = process::instances_below(&layout.run());
    if !pids.is_empty() {
        return Err(RestoreError::StillRunning { folder: root.to_owned(), pids });
    }

    let staging =
        tempfile::Builder::new().prefix(STAGING).tempdir_in(root).map_err(write_failed(root))?;
    let contents = unpack(archive, &options.archive, &staging)?;
    let formations = prepare(&staging, &contents)?;
    set_modes(&staging, &contents)?;

    // From here on names are changed; a manager does not start while the mark is there.
    File::create(&unfinished).and_then(|it| it.sync_all()).map_err(write_failed(&unfinished))?;
    let moved_aside = move_aside(root, &there)?;
    for name in entries(&staging.path().join(DATA), apart.as_deref())? {
        rename(&staging.path().join(DATA).join(&name), &root.join(&name))?;
    }
    sync(root)?;
    fs::remove_file(&unfinished).map_err(write_failed(&unfinished))?;
    sync(root)?;
    let config = put_config(&staging.path().join(CONFIG), &options.config_file)?;
    Ok(Restored {
        data_dir: root.to_owned(),
        created_at: contents.created_at,
        version: contents.version,
        files: contents.files.len(),
        bytes: contents.files.iter().map(|it| it.bytes).sum(),
        formations,
        moved_aside,
        config,
    })
}

/// Unpacks the archive and compares it with its own list.
fn unpack(archive: File, path: &Path, staging: &TempDir) -> Result<Contents, RestoreError> {
    let target = staging.path();
    let free_bytes = disk::free(target).map_err(write_failed(target))?.free_bytes;
    let limits = UnpackLimits {
        unpacked_bytes: free_bytes,
        file_bytes: free_bytes,
        entries: ENTRIES_MAX,
        depth: DEPTH_MAX,
        path_bytes: PATH_BYTES_MAX,
        // Empty pages of databases shrink to nothing; the disk is the bound.
        ratio: u64::MAX,
        ..UnpackLimits::default()
    };
    let files =
        muxi_formation::unpack_tree(archive, target, &limits).map_err(RestoreError::Unpack)?;
    let not_one = |reason: &str| RestoreError::NotABackup {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let list = match File::open(target.join(CONTENTS)) {
        Ok(list) => list.take(CONTENTS_BYTES_MAX),
        Err(_) => return Err(not_one("it has no list of its contents")),
    };
    let contents: Contents = serde_json::from_reader(io::BufReader::new(list))
        .map_err(|_| not_one("the list of its contents is not readable"))?;
    if contents.format != FORMAT {
        return Err(RestoreError::Newer(contents.version));
    }
    // The list itself is a file, too.
    if files != contents.files.len() + 1 {
        let told = contents.files.len() + 1;
        return Err(RestoreError::Damaged(format!("it has {files} files instead of {told}")));
    }
    let distinct: BTreeSet<&str> = contents.files.iter().map(|it| it.path.as_str()).collect();
    if distinct.len() != contents.files.len() {
        return Err(RestoreError::Damaged("its list names a file twice".to_owned()));
    }
    for file in &contents.files {
        let here = inside(target, &file.path)?;
        if digest(&here).ok() != Some((file.bytes, file.sha256.clone())) {
            return Err(RestoreError::Damaged(format!("`{}` is not what it was", file.path)));
        }
    }
    Ok(contents)
}

/// Makes the database fit for this machine and this moment; answers what it will do.
fn prepare(staging: &TempDir, contents: &Contents) -> Result<Vec<RestoredFormation>, RestoreError> {
    let path = staging.path().join(DATA).join(DATABASE);
    if !path.is_file() {
        return Err(RestoreError::Damaged("it has no database".to_owned()));
    }
    let prepare = || -> rusqlite::Result<Option<Vec<RestoredFormation>>> {
        if database::version(&path)? > store::VERSION {
            return Ok(None);
        }
        database::forget_processes(&path)?;
        let db = Connection::open(&path)?;
        let mut statement = db.prepare(
            "SELECT f.id, f.generation, f.desired_state, p.port, g.version FROM formations f
             JOIN ports p ON p.formation = f.id
             JOIN generations g ON g.formation = f.id AND g.generation = f.generation
             WHERE f.desired_state <> 'removed' ORDER BY f.id",
        )?;
        let rows = statement.query_map([], |row| {
            let (id, state, port): (String, String, u16) = (row.get(0)?, row.get(2)?, row.get(3)?);
            Ok((id, row.get(1)?, state, port, row.get(4)?))
        })?;
        let mut formations = Vec::new();
        for row in rows {
            let (id, generation, state, port, version) = row?;
            let Ok(id) = id.parse() else { continue };
            let port_taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
            let starts = state == "running";
            formations.push(RestoredFormation {
                id,
                version,
                generation,
                port,
                starts,
                port_taken,
            });
        }
        Ok(Some(formations))
    };
    let prepared = prepare().map_err(RestoreError::Database)?;
    prepared.ok_or_else(|| RestoreError::Newer(contents.version.clone()))
}

fn set_modes(staging: &TempDir, contents: &Contents) -> Result<(), RestoreError> {
    let files = contents.files.iter().map(|it| (&it.path, it.mode));
    let folders = contents.folders.iter().map(|it| (&it.path, it.mode));
    for (path, mode) in files.chain(folders) {
        let here = inside(staging.path(), path)?;
        // Nothing but reading, writing and entering was ever taken; the owner always may.
        let owner = if here.is_dir() { 0o700 } else { 0o400 };
        let mode = Permissions::from_mode(mode & 0o777 | owner);
        fs::set_permissions(&here, mode).map_err(write_failed(&here))?;
    }
    Ok(())
}

fn move_aside(root: &Path, there: &[String]) -> Result<Option<PathBuf>, RestoreError> {
    if there.is_empty() {
        return Ok(None);
    }
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = tempfile::Builder::new()
        .prefix(&format!("{ASIDE}{now}-"))
        .tempdir_in(root)
        .map_err(write_failed(root))?
        .keep();
    // The database first: what follows is nobody's without it.
    let (database, others): (Vec<_>, Vec<_>) =
        there.iter().partition(|name| name.starts_with(DATABASE));
    for name in database.into_iter().chain(others) {
        rename(&root.join(name), &aside.join(name))?;
    }
    Ok(Some(aside))
}

/// Beside one that is there, so that nobody loses keys that are in use.
fn put_config(from: &Path, to: &Path) -> Result<Option<PathBuf>, RestoreError> {
    if !from.is_file() {
        return Ok(None);
    }
    let to = if to.exists() { to.with_file_name("config.yaml.restored") } else { to.to_owned() };
    if let Some(folder) = to.parent() {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(folder).map_err(write_failed(folder))?;
    }
    fs::copy(from, &to).map_err(write_failed(&to))?;
    fs::set_permissions(&to, Permissions::from_mode(0o600)).map_err(write_failed(&to))?;
    Ok(Some(to))
}

/// What a manager has stored in a folder, or an earlier restore has left half done; never the entry
/// below which the configuration lies.
fn entries(folder: &Path, apart: Option<&OsStr>) -> Result<Vec<String>, RestoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_failed(folder))? {
        let name = entry.map_err(read_failed(folder))?.file_name();
        let is_apart = apart == Some(&name);
        let name = name.to_string_lossy().into_owned();
        if !is_apart
            && !NOT_DATA.contains(&name.as_str())
            && !name.starts_with("config.yaml.")
            && !name.starts_with(ASIDE)
            && !name.starts_with(STAGING)
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A path of the list, which must lead to something that was unpacked.
fn inside(target: &Path, path: &str) -> Result<PathBuf, RestoreError> {
    let plain =
        Path::new(path).components().all(|it| matches!(it, std::path::Component::Normal(_)));
    if plain && !path.is_empty() {
        Ok(target.join(path))
    } else {
        Err(RestoreError::Damaged(format!("its list names `{}`", path.escape_debug())))
    }
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    fs::rename(from, to).map_err(write_failed(to))
}

fn sync(folder: &Path) -> Result<(), RestoreError> {
    File::open(folder).and_then(|it| it.sync_all()).map_err(write_failed(folder))
}

fn read_failed(path: &Path) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Read { path, source }
}

fn write_failed(path: &Path) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Write { path, source }
}
