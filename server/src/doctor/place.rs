//! The folders, what lies in them, and the room there is.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;

use super::{Check, Patient};
use crate::config::{Config, ConfigError, Source};
use crate::disk;
use crate::store::{self, Inspection, StoreError};

/// Less than this is a warning, where the configuration asks for less.
const COMFORTABLE_BYTES: u64 = 1 << 30;
const COMFORTABLE_INODES: u64 = 10_000;

pub(super) fn configuration(
    source: &Source,
    read: &Result<(Config, Vec<String>), ConfigError>,
) -> Check {
    const NAME: &str = "configuration";
    let path = source.path.display();
    match read {
        Ok((_, warnings)) if warnings.is_empty() => Check::ok(NAME, path.to_string()),
        Ok((_, warnings)) => Check::warn(NAME, warnings.join("\n"), format!("change it in {path}")),
        Err(error @ ConfigError::Missing(_)) => {
            let said = error.to_string();
            let (found, mend) = said.split_once('\n').unwrap_or((&said, "muxi-server init"));
            Check::fail(NAME, found, mend)
        }
        Err(error) => Check::fail(NAME, error.to_string(), format!("change it in {path}")),
    }
}

/// A folder that only its owner, who is the caller, can look into. Formations with users of their own
/// must pass through the data folder, which shows them nothing.
pub(super) fn private(name: &str, path: &Path) -> Check {
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::ok(name, format!("{shown} is made when it is needed"));
        }
        Err(error) => return Check::fail(name, error.to_string(), format!("look at {shown}")),
    };
    let user = rustix::process::geteuid();
    if !user.is_root() && found.uid() != user.as_raw() {
        return Check::fail(
            name,
            format!("{shown} belongs to user {}, and you are {}", found.uid(), user.as_raw()),
            "run this as the manager's user, or `chown -R` it to yourself",
        );
    }
    if let Err(error) = rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
        let mend = format!("give its owner the right to read and write: `chmod u+rwx {shown}`");
        return Check::fail(name, format!("{shown}: {error}"), mend);
    }
    if found.mode() & 0o066 != 0 {
        return Check::warn(
            name,
            format!("other users can look into {shown} (mode {:o})", found.mode() & 0o777),
            format!("chmod 700 {shown}"),
        );
    }
    Check::ok(name, shown.to_string())
}

pub(super) fn disk(patient: &Patient) -> Check {
    const NAME: &str = "disk";
    // Before the first start there is only a folder above it.
    let root = patient.layout.root();
    let Some(folder) = root.ancestors().find(|it| it.is_dir()) else {
        return Check::fail(NAME, "no folder on the way to the data folder exists", "make one");
    };
    let (space, inodes) = match (disk::free(folder), rustix::fs::statvfs(folder)) {
        (Ok(space), Ok(found)) => (space, found),
        (Err(error), _) => return Check::fail(NAME, error.to_string(), "look at the disk"),
        (_, Err(error)) => return Check::fail(NAME, error.to_string(), "look at the disk"),
    };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    // File systems that make inodes as they need them count none.
    let counted = inodes.f_files > 0;
    let found = format!("{} free of {}", mib(space.free_bytes), mib(space.total_bytes));
    let least = patient.config.limits.disk_free_min_bytes;
    let mend = format!("free space where {} lies", folder.display());
    if space.free_bytes < least {
        let found = format!("{found}; uploads are refused below {}", mib(least));
        return Check::fail(NAME, found, mend);
    }
    if counted && inodes.f_favail == 0 {
        return Check::fail(NAME, "no inode is free: no file can be made", mend);
    }
    if space.free_bytes < COMFORTABLE_BYTES || (counted && inodes.f_favail < COMFORTABLE_INODES) {
        return Check::warn(NAME, format!("{found}, {} inodes free", inodes.f_favail), mend);
    }
    Check::ok(NAME, found)
}

pub(super) fn store(patient: &Patient) -> Check {
    const NAME: &str = "store";
    let path = patient.layout.database();
    if !path.exists() {
        return Check::ok(NAME, "none yet; the first start makes it");
    }
    match store::inspect(&path) {
        Ok(Inspection { version, known, faults }) if faults.is_empty() => {
            let note = if version < known { "; the next start migrates it" } else { "" };
            Check::ok(NAME, format!("version {version} of {known}, sound{note}"))
        }
        Ok(Inspection { faults, .. }) => Check::fail(
            NAME,
            format!("the database is damaged:\n{}", faults.join("\n")),
            "stop the manager and restore a backup; keep the damaged file",
        ),
        Err(error @ StoreError::Newer { .. }) => {
            Check::fail(NAME, error.to_string(), "install the newer muxi-server again")
        }
        Err(error) => {
            let mend = format!("look at {}", path.display());
            Check::fail(NAME, crate::doctor::chain(&error), mend)
        }
    }
}
