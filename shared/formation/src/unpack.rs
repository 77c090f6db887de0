//! The only extractor: from an untrusted tar.gz to a folder, under caps that hold while inflating.
//!
//! Invariants: only regular files and folders are made, below the target (the kernel enforces it,
//! through `cap-std`), each once, with mode 0644 or 0755; whatever else an archive holds is refused
//! by name, never skipped; a failed unpacking leaves nothing behind.

mod headers;
mod names;
mod stream;

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _};

use crate::MANIFEST_NAMES;
use headers::{Entry, Headers};
use names::{Names, Placed};
use stream::Stream;

/// What an archive may cost. The caller bounds the compressed bytes that it feeds in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Inflated bytes of the whole archive, headers included.
    pub unpacked_bytes: u64,
    pub file_bytes: u64,
    pub entries: usize,
    /// Folders around a file.
    pub depth: usize,
    pub path_bytes: usize,
    /// Inflated bytes per compressed byte, beyond the first [`UnpackLimits::ratio_free_bytes`].
    pub ratio: u64,
    pub ratio_free_bytes: u64,
}

/// A bundle on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The folder that holds the manifest: the target, or its single folder.
    pub root: PathBuf,
    pub files: usize,
    /// Of the files alone.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    #[error("failed to write `{entry}`")]
    Write {
        entry: String,
        #[source]
        source: io::Error,
    },
    #[error("the target folder `{}` is not empty", path.display())]
    NotEmpty { path: PathBuf },

    #[error("the archive is not gzip; pack it with `tar -czf`")]
    NotGzip,
    #[error("the archive is damaged ({0}); pack and upload it again")]
    Corrupt(String),
    #[error("the archive ends too early; upload it again")]
    Truncated,
    #[error("something follows the end of the archive; pack it again as one tar in one gzip")]
    TrailingBytes,
    #[error("the header of entry {number} is broken ({reason}); pack it again with a common tar")]
    Header { number: usize, reason: &'static str },

    #[error("the archive inflates to more than {bytes_max} bytes; leave out what is not needed")]
    TooLarge { bytes_max: u64 },
    #[error("the archive inflates more than {ratio}-fold, as bombs do; leave out filler files")]
    Ratio { ratio: u64 },
    #[error("`{entry}` is larger than {bytes_max} bytes; leave it out or fetch it at run time")]
    FileTooLarge { entry: String, bytes_max: u64 },
    #[error(
        "the archive has more than {entries_max} entries, `{entry}` is the first too many; \
             leave out what is not needed"
    )]
    TooManyEntries { entry: String, entries_max: usize },

    #[error("`{entry}` is {kind}; bundles hold only files and folders: pack a copy instead")]
    Kind { entry: String, kind: &'static str },
    #[error("`{entry}` gives two sizes; pack it again with a common tar")]
    SizeLie { entry: String },
    #[error("`{entry}` leads out of the bundle; remove the `..`")]
    Traversal { entry: String },
    #[error("`{entry}` is an absolute path; pack with relative paths")]
    Absolute { entry: String },
    #[error("entry {number} has no name; pack it again with a common tar")]
    EmptyName { number: usize },
    #[error("`{entry}…` is longer than {bytes_max} bytes; shorten its path")]
    LongName { entry: String, bytes_max: usize },
    #[error("`{entry}` lies deeper than {depth_max} folders; make the tree flatter")]
    Depth { entry: String, depth_max: usize },
    #[error("`{entry}` is not named in UTF-8; rename it")]
    NotUtf8 { entry: String },
    #[error("`{entry}` has a control character or a backslash in its name; rename it")]
    Characters { entry: String },
    #[error("`{entry}` and `{first}` have the same name (letter case does not count); keep one")]
    Duplicate { entry: String, first: String },
    #[error("`{entry}` needs `{file}` to be a folder, and it is a file; rename one")]
    FileAsFolder { entry: String, file: String },

    #[error("the archive holds no manifest; add one of {}", MANIFEST_NAMES.join(", "))]
    NoManifest,
    #[error("the archive has {} at its top; put everything below one folder", top.join(", "))]
    SeveralRoots { top: Vec<String> },
    #[error("the archive has more than one manifest ({}); keep one", manifests.join(", "))]
    SeveralManifests { manifests: Vec<String> },
}

/// Unpacks `archive` into `target`, a folder that is empty or not there yet. It blocks.
///
/// What it made is on the disk when it returns. When it fails, `target` is removed with everything
/// in it.
pub fn unpack(
    archive: impl Read,
    target: &Path,
    limits: &UnpackLimits,
) -> Result<Unpacked, UnpackError> {
    into_empty(target, || {
        let mut names = Names::new(limits);
        let (files, bytes) = extract(archive, target, limits, &mut names)?;
        let root = names.root()?.map_or_else(|| target.to_owned(), |top| target.join(top));
        Ok(Unpacked { root, files, bytes })
    })
}

/// The same for an archive that is no bundle: it needs no manifest, and names may differ in the case
/// of their letters alone. Answers how many files there are.
pub fn unpack_tree(
    archive: impl Read,
    target: &Path,
    limits: &UnpackLimits,
) -> Result<usize, UnpackError> {
    into_empty(target, || {
        let mut names = Names::with_case(limits);
        extract(archive, target, limits, &mut names).map(|(files, _)| files)
    })
}

// === impl UnpackLimits ===

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 256 * 1024 * 1024,
            file_bytes: 64 * 1024 * 1024,
            entries: 10_000,
            depth: 16,
            path_bytes: 512,
            ratio: 200,
            ratio_free_bytes: 1024 * 1024,
        }
    }
}

// === private helpers ===

fn into_empty<T>(
    target: &Path,
    unpack: impl FnOnce() -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let failed = |source| UnpackError::Write { entry: target.display().to_string(), source };
    fs::create_dir_all(target).map_err(failed)?;
    if fs::read_dir(target).map_err(failed)?.next().is_some() {
        return Err(UnpackError::NotEmpty { path: target.to_owned() });
    }
    let unpacked = unpack();
    if unpacked.is_err() {
        // The fault of the archive is the one worth telling.
        drop(fs::remove_dir_all(target));
    }
    unpacked
}

/// Answers the number of files and their bytes.
fn extract(
    archive: impl Read,
    target: &Path,
    limits: &UnpackLimits,
    names: &mut Names<'_>,
) -> Result<(usize, u64), UnpackError> {
    let failed = |source| UnpackError::Write { entry: target.display().to_string(), source };
    let dir = Dir::open_ambient_dir(target, ambient_authority()).map_err(failed)?;
    let mut headers = Headers::new(Stream::new(archive, limits), limits);
    let (mut files, mut bytes) = (0, 0);
    while let Some(entry) = headers.next()? {
        match names.place(&entry)? {
            Placed::Top => {}
            Placed::Folder(path) => create_folder(&dir, &path)?,
            Placed::File(path) => {
                if let Some((parent, _)) = path.rsplit_once('/') {
                    create_folder(&dir, parent)?;
                }
                write_file(&dir, &path, &entry, &mut headers)?;
                files += 1;
                bytes += entry.bytes;
            }
        }
    }
    headers.finish()?;
    // Once for all: thousands of files, each synced by itself, take a hundred times as long.
    let synced = dir.open(".").and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    synced.map_err(failed)?;
    Ok((files, bytes))
}

fn create_folder(dir: &Dir, path: &str) -> Result<(), UnpackError> {
    dir.create_dir_all(path).map_err(|source| UnpackError::Write { entry: path.to_owned(), source })
}

fn write_file<R: Read>(
    dir: &Dir,
    path: &str,
    entry: &Entry,
    headers: &mut Headers<R>,
) -> Result<(), UnpackError> {
    let failed = |source| UnpackError::Write { entry: path.to_owned(), source };
    // The key opens every secret of the bundle, so only the owner may read it.
    let is_key = path.rsplit('/').next() == Some(".key");
    let mode = if is_key {
        0o600
    } else if entry.is_executable {
        0o755
    } else {
        0o644
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = dir.open_with(path, &options).map_err(failed)?;
    headers.content(entry, |chunk| file.write_all(chunk).map_err(failed))?;
    // Said again because the process's umask had a say in the first one.
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed)
}
