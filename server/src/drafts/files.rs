//! The files of one draft, by paths of clients. No link is made in a draft and none is followed.

use std::io::{self, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use muxi_contract::draft::{DraftEntry, DraftEntryKind};

use super::{DraftError, INCOMING, NOTE};

/// A file's bytes as they travel in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub text: String,
    pub encoding: &'static str,
}

/// As deep as a bundle may be.
const DEPTH_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 255;
/// It travels in one JSON text.
pub(super) const FILE_BYTES_MAX: u64 = 8 << 20;
/// As many as a bundle may have.
const ENTRIES_MAX: u64 = 10_000;
const TOTAL_BYTES_MAX: u64 = 256 << 20;
/// Files that nobody but the manager's user may read.
pub(super) const SECRET: [&str; 2] = ["secrets.enc", ".key"];

impl Content {
    /// Text where it is text.
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text, encoding: "utf-8" },
            Err(error) => Self { text: STANDARD.encode(error.as_bytes()), encoding: "base64" },
        }
    }

    /// The bytes that a client wrote in one of the two encodings.
    pub fn decode(text: String, encoding: &str) -> Result<Vec<u8>, DraftError> {
        match encoding {
            "" | "utf-8" | "utf8" => Ok(text.into_bytes()),
            "base64" => STANDARD.decode(text).map_err(|_| DraftError::Encoding("base64")),
            _ => Err(DraftError::Encoding("in a known encoding: utf-8 and base64 are known")),
        }
    }
}

pub(super) fn list(files: &Dir, path: &str) -> Result<(String, Vec<DraftEntry>), DraftError> {
    let names = names(path)?;
    let dir = descend(files, &names, path)?;
    let mut entries = Vec::new();
    for entry in dir.entries().map_err(DraftError::Read)? {
        let entry = entry.map_err(DraftError::Read)?;
        let metadata = entry.metadata().map_err(DraftError::Read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(if metadata.is_dir() {
            DraftEntry { name: format!("{name}/"), kind: DraftEntryKind::Dir, size: None }
        } else {
            DraftEntry { name, kind: DraftEntryKind::File, size: Some(metadata.len()) }
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let cleaned = if names.is_empty() { ".".to_owned() } else { names.join("/") };
    Ok((cleaned, entries))
}

pub(super) fn read(files: &Dir, path: &str) -> Result<(String, Content), DraftError> {
    let names = names(path)?;
    let (dir, name) = parent(files, &names, path)?;
    if !kind(&dir, name)?.ok_or_else(|| missing(path))?.is_file() {
        return Err(invalid(path, "is a folder; list it"));
    }
    let file = dir.open(name).map_err(DraftError::Read)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(DraftError::Read)?;
    check_size(path, bytes.len() as u64)?;
    Ok((names.join("/"), Content::of(bytes)))
}

/// Makes the folders around the file, and then the file in one rename.
pub(super) fn write(
    folder: &Dir,
    files: &Dir,
    path: &str,
    bytes: &[u8],
) -> Result<String, DraftError> {
    let names = names(path)?;
    let Some((name, around)) = names.split_last() else {
        return Err(invalid(path, "is the draft itself; name a file"));
    };
    check_size(path, bytes.len() as u64)?;
    let (entries, total) = measure(files, 0).map_err(DraftError::Read)?;
    if entries + names.len() as u64 > ENTRIES_MAX {
        let message = format!("a draft has at most {ENTRIES_MAX} files and folders");
        return Err(DraftError::TooLarge(message));
    }
    if total + bytes.len() as u64 > TOTAL_BYTES_MAX {
        let message = format!("a draft has at most {TOTAL_BYTES_MAX} bytes");
        return Err(DraftError::TooLarge(message));
    }
    let mut dir = files.try_clone().map_err(DraftError::Write)?;
    for name in around {
        match kind(&dir, name)? {
            Some(found) if !found.is_dir() => {
                return Err(invalid(path, "leads through a file"));
            }
            Some(_) => {}
            None => dir.create_dir(name).map_err(DraftError::Write)?,
        }
        dir = dir.open_dir(name).map_err(DraftError::Write)?;
    }
    if kind(&dir, name)?.is_some_and(|found| found.is_dir()) {
        return Err(invalid(path, "is a folder"));
    }
    let mode = if SECRET.contains(name) { 0o600 } else { 0o644 };
    let put = || -> io::Result<()> {
        match folder.remove_file(INCOMING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // What a manager left that was killed while it wrote.
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file =
            folder.open_with(INCOMING, options.write(true).create_new(true).mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        folder.rename(INCOMING, &dir, name)
    };
    put().map_err(DraftError::Write)?;
    Ok(names.join("/"))
}

/// A folder with all that is in it.
pub(super) fn delete(files: &Dir, path: &str) -> Result<String, DraftError> {
    let names = names(path)?;
    let (dir, name) = parent(files, &names, path)?;
    let found = kind(&dir, name)?.ok_or_else(|| missing(path))?;
    let deleted = if found.is_dir() { dir.remove_dir_all(name) } else { dir.remove_file(name) };
    deleted.map_err(DraftError::Delete)?;
    Ok(names.join("/"))
}

/// The names along a path; none for the draft itself.
fn names(path: &str) -> Result<Vec<&str>, DraftError> {
    if path.starts_with('/') {
        return Err(invalid(path, "is absolute; paths begin at the draft"));
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err(invalid(path, "leads out of the draft"));
    }
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX || name.contains(char::is_control)) {
        return Err(invalid(path, "has a name that is too long or has control characters"));
    }
    if names.len() > DEPTH_MAX {
        return Err(invalid(path, "is too deep; a bundle has at most 16 folders around a file"));
    }
    if names.first() == Some(&NOTE) {
        return Err(invalid(path, "is a name that the manager keeps for itself"));
    }
    Ok(names)
}

fn parent<'a>(files: &Dir, names: &[&'a str], path: &str) -> Result<(Dir, &'a str), DraftError> {
    let (name, around) =
        names.split_last().ok_or_else(|| invalid(path, "is the draft itself; name a file"))?;
    Ok((descend(files, around, path)?, name))
}

fn descend(files: &Dir, names: &[&str], path: &str) -> Result<Dir, DraftError> {
    let mut dir = files.try_clone().map_err(DraftError::Read)?;
    for name in names {
        if !kind(&dir, name)?.ok_or_else(|| missing(path))?.is_dir() {
            return Err(invalid(path, "leads through a file"));
        }
        dir = dir.open_dir(name).map_err(DraftError::Read)?;
    }
    Ok(dir)
}

/// What is there under a name; a link is neither file nor folder.
fn kind(dir: &Dir, name: &str) -> Result<Option<cap_std::fs::FileType>, DraftError> {
    match dir.symlink_metadata(name) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DraftError::Read(error)),
    }
}

/// Entries and bytes below a folder.
fn measure(dir: &Dir, depth: usize) -> io::Result<(u64, u64)> {
    let (mut entries, mut bytes) = (0, 0);
    for entry in dir.entries()? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        entries += 1;
        if metadata.is_dir() && depth <= DEPTH_MAX {
            let inner = measure(&entry.open_dir()?, depth + 1)?;
            entries += inner.0;
            bytes += inner.1;
        } else {
            bytes += metadata.len();
        }
    }
    Ok((entries, bytes))
}

fn check_size(path: &str, bytes: u64) -> Result<(), DraftError> {
    if bytes > FILE_BYTES_MAX {
        let message = format!("`{path}` is larger than {FILE_BYTES_MAX} bytes");
        return Err(DraftError::TooLarge(message));
    }
    Ok(())
}

fn missing(path: &str) -> DraftError {
    DraftError::FileNotFound(path.to_owned())
}

fn invalid(path: &str, fault: &'static str) -> DraftError {
    DraftError::InvalidPath { path: path.to_owned(), fault }
}
