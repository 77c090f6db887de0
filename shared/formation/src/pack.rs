//! From a folder to the archive that is deployed: the same folder always gives the same bytes.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};
use flate2::{Compression, GzBuilder};
use muxi_contract::FormationId;
use tar::{Builder, EntryType, Header};

const DEPTH_MAX: usize = 16;
const ENTRIES_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Names that are never part of a bundle. `secrets.enc` and `.key` are: a deploy needs both.
const LEFT_OUT: [&str; 9] = [
    ".git",
    ".muxi",
    "secrets",
    ".env",
    "node_modules",
    "__pycache__",
    ".DS_Store",
    ".vscode",
    ".idea",
];
const LEFT_OUT_PREFIXES: [&str; 1] = [".env."];
const LEFT_OUT_SUFFIXES: [&str; 3] = [".pyc", ".log", ".tmp"];
const DATABASE: &str = "memory.db";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// Whether `memory.db` travels.
    pub include_database: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    pub files: usize,
    /// Before compression.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("failed to read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to write the archive at entry `{entry}`")]
    Write {
        entry: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "`{entry}` is neither a file nor a folder; bundles hold nothing else: put a copy there"
    )]
    Kind { entry: String },
    #[error("`{entry}` is not named in UTF-8; rename it")]
    Name { entry: String },
    #[error("`{entry}` lies deeper than {DEPTH_MAX} folders; make the tree flatter")]
    Depth { entry: String },
    #[error("`{entry}` is larger than {} MiB; leave it out or fetch it at run time", FILE_BYTES_MAX >> 20)]
    FileSize { entry: String },
    #[error("the folder holds more than {ENTRIES_MAX} entries; remove what is not needed")]
    Entries,
}

/// Writes the bundle of `folder` as a tar.gz with one top folder, named by the formation's id.
pub fn pack(
    folder: &Path,
    id: &FormationId,
    options: PackOptions,
    into: impl Write,
) -> Result<Packed, PackError> {
    let dir = Dir::open_ambient_dir(folder, ambient_authority())
        .map_err(|source| PackError::Read { path: folder.to_owned(), source })?;
    let gzip = GzBuilder::new().mtime(0).write(into, Compression::default());
    let mut packing = Packing {
        tar: Builder::new(gzip),
        options,
        entries: 0,
        packed: Packed { files: 0, bytes: 0 },
    };
    packing.folder(&dir, id.as_str(), 0)?;
    let finish = |tar: Builder<flate2::write::GzEncoder<_>>| tar.into_inner()?.finish();
    finish(packing.tar)
        .map_err(|source| PackError::Write { entry: id.to_string(), source })?
        .flush()
        .map_err(|source| PackError::Write { entry: id.to_string(), source })?;
    Ok(packing.packed)
}

struct Packing<W: Write> {
    tar: Builder<W>,
    options: PackOptions,
    entries: usize,
    packed: Packed,
}

// === impl Packing ===

impl<W: Write> Packing<W> {
    fn folder(&mut self, dir: &Dir, path: &str, depth: usize) -> Result<(), PackError> {
        if depth > DEPTH_MAX {
            return Err(PackError::Depth { entry: path.to_owned() });
        }
        self.append(&format!("{path}/"), EntryType::Directory, 0o755, &[])?;
        for name in self.names(dir, path)? {
            let entry = format!("{path}/{name}");
            let unreadable = |source| PackError::Read { path: PathBuf::from(&entry), source };
            let metadata = dir.symlink_metadata(&name).map_err(unreadable)?;
            if metadata.is_dir() {
                let inner = dir.open_dir(&name).map_err(unreadable)?;
                self.folder(&inner, &entry, depth + 1)?;
            } else if metadata.is_file() {
                let file = dir.open(&name).map_err(unreadable)?;
                let mut content = Vec::new();
                file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
                if content.len() as u64 > FILE_BYTES_MAX {
                    return Err(PackError::FileSize { entry });
                }
                let mode = if metadata.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                self.append(&entry, EntryType::Regular, mode, &content)?;
                self.packed.files += 1;
                self.packed.bytes += content.len() as u64;
            } else {
                return Err(PackError::Kind { entry });
            }
        }
        Ok(())
    }

    /// In the order of their bytes, so that the archive does not depend on the file system.
    fn names(&self, dir: &Dir, path: &str) -> Result<Vec<String>, PackError> {
        let unreadable = |source| PackError::Read { path: PathBuf::from(path), source };
        let mut names = Vec::new();
        for entry in dir.entries().map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().into_string();
            let name = name.map_err(|name| PackError::Name {
                entry: format!("{path}/{}", name.to_string_lossy()),
            })?;
            if !self.is_left_out(&name) {
                names.push(name);
            }
            if names.len() > ENTRIES_MAX {
                return Err(PackError::Entries);
            }
        }
        names.sort();
        Ok(names)
    }

    fn is_left_out(&self, name: &str) -> bool {
        // The database comes with companions (`-wal`, `-shm`) that mean nothing without it.
        let is_database = name == DATABASE || name.starts_with("memory.db-");
        LEFT_OUT.contains(&name)
            || LEFT_OUT_PREFIXES.iter().any(|start| name.starts_with(start))
            || LEFT_OUT_SUFFIXES.iter().any(|end| name.ends_with(end))
            || (is_database && !self.options.include_database)
    }

    fn append(
        &mut self,
        entry: &str,
        kind: EntryType,
        mode: u32,
        content: &[u8],
    ) -> Result<(), PackError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(PackError::Entries);
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        self.tar
            .append_data(&mut header, entry, content)
            .map_err(|source| PackError::Write { entry: entry.to_owned(), source })
    }
}
