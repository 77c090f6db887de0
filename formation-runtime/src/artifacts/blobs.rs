//! Bytes on the disk, each under an id that was made here: whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use muxi_contract::ids::nanoid;

/// The folder of all of them.
#[derive(Debug, Clone)]
pub(super) struct Blobs {
    root: PathBuf,
}

const ID_START: &str = "art_";
/// Of the id's random part, so that no folder has too many names.
const FOLDER_CHARS: usize = 2;
const WHOLE: &str = "bin";
const UNFINISHED: &str = "tmp";

pub(super) fn new_id() -> String {
    format!("{ID_START}{}", nanoid())
}

// === impl Blobs ===

impl Blobs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// On the disk when this returns.
    pub(super) fn write(&self, id: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(id);
        let folder = path.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            File::open(&self.root)?.sync_all()?;
        }
        let unfinished = path.with_extension(UNFINISHED);
        let write = || {
            let mut file =
                OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(folder)?.sync_all()
        };
        write().inspect_err(|_| {
            // The reason of a failure matters more than a left-over file, which is swept later.
            drop(fs::remove_file(&unfinished));
        })
    }

    pub(super) fn read(&self, id: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(id))
    }

    /// That there is none is as well.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        remove(&self.path(id))
    }

    /// Ids of what was written before the given time; what never became whole goes at once. Files of
    /// other names are not ours, and a folder that cannot be read does not keep others from it.
    pub(super) fn older_than(&self, before_ms: i64) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for folder in entries(&self.root)? {
            let folder = folder?;
            if let Err(error) = older_in(&folder, before_ms, &mut found) {
                let folder = folder.path();
                tracing::warn!(folder = %folder.display(), %error, "old artifacts are kept for now");
            }
        }
        Ok(found)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.root.join(folder_of(id)).join(format!("{id}.{WHOLE}"))
    }
}

// === private helpers ===

fn older_in(folder: &fs::DirEntry, before_ms: i64, found: &mut Vec<String>) -> io::Result<()> {
    if !folder.file_type()?.is_dir() {
        return Ok(());
    }
    for entry in entries(&folder.path())? {
        let path = entry?.path();
        let (Some(id), Some(extension)) = (id_of(&path), path.extension()) else { continue };
        if folder.file_name() != *folder_of(&id) || !is_older(&path, before_ms)? {
            continue;
        }
        if extension == UNFINISHED {
            remove(&path)?;
        } else if extension == WHOLE {
            found.push(id);
        }
    }
    Ok(())
}

/// Another process of the formation may have been first.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn folder_of(id: &str) -> &str {
    id.strip_prefix(ID_START).and_then(|it| it.get(..FOLDER_CHARS)).unwrap_or("other")
}

/// None of a file that was not made here.
fn id_of(path: &Path) -> Option<String> {
    let id = path.file_stem()?.to_str()?;
    let random = id.strip_prefix(ID_START)?;
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (random.len() == nanoid().len() && random.bytes().all(is_ours)).then(|| id.to_owned())
}

fn is_older(path: &Path, before_ms: i64) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(it) => Ok(it.is_file() && it.mtime().saturating_mul(1_000) < before_ms),
        // It went meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// None of a folder that is not there.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_was_made_here_is_found_by_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path().join("a/b"));
        assert!(blobs.older_than(i64::MAX).unwrap().is_empty());
        let (id, half) = (new_id(), new_id());
        blobs.write(&id, b"bytes").unwrap();
        assert_eq!(blobs.read(&id).unwrap(), b"bytes");
        assert!(blobs.write(&half, &[]).is_ok());
        let unfinished = blobs.path(&half).with_extension(UNFINISHED);
        fs::rename(blobs.path(&half), &unfinished).unwrap();
        let inner = blobs.path(&id).parent().unwrap().to_owned();
        for foreign in ["notes.bin", "art_short.bin", "art_0123456789012345678901.txt"] {
            fs::write(inner.join(foreign), "somebody's").unwrap();
        }
        assert!(blobs.older_than(0).unwrap().is_empty());
        assert!(unfinished.exists());
        assert_eq!(blobs.older_than(i64::MAX).unwrap(), [id.as_str()]);
        assert!(!unfinished.exists());
        blobs.remove(&id).unwrap();
        blobs.remove(&id).unwrap();
        assert!(blobs.read(&id).is_err());
        assert_eq!(fs::read_dir(inner).unwrap().count(), 3);
    }

    #[test]
    fn what_cannot_be_looked_into_keeps_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path().to_owned());
        let ids = ["art_aa0123456789012345678", "art_bb0123456789012345678"];
        for id in ids {
            blobs.write(id, b"bytes").unwrap();
        }
        for (closed, open) in [(0, 1), (1, 0)] {
            let inner = blobs.path(ids[closed]).parent().unwrap().to_owned();
            let permit = |mode| fs::set_permissions(&inner, fs::Permissions::from_mode(mode));
            permit(0).unwrap();
            // Whoever may do everything finds both.
            assert!(blobs.older_than(i64::MAX).unwrap().contains(&ids[open].to_owned()));
            permit(0o700).unwrap();
        }
    }
}
