//! The file that a backup is written to: entries are hashed while they are compressed, and the file
//! has its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::SpooledTempFile;

use super::{BackupError, FileEntry, FolderEntry, Progress, read_failed, write_failed};

/// An archive that is being written.
pub(super) struct Archive<'a> {
    tar: Builder<GzEncoder<BufWriter<File>>>,
    output: PathBuf,
    unfinished: PathBuf,
    pub(super) folders: Vec<FolderEntry>,
    pub(super) files: Vec<FileEntry>,
    pub(super) done: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

/// Files that may change while they are read are held whole first: the larger ones on the disk.
const HELD_BYTES_MAX: usize = 1 << 20;

/// Counts and hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

// === impl Archive ===

impl<'a> Archive<'a> {
    pub(super) fn create(
        output: &Path,
        tell: &'a mut dyn FnMut(Progress),
    ) -> Result<Self, BackupError> {
        let mut unfinished = output.as_os_str().to_owned();
        unfinished.push(".partial");
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(write_failed(&unfinished))?;
        // Bundles are compressed already; databases shrink well enough.
        let gzip = GzEncoder::new(BufWriter::new(file), Compression::fast());
        Ok(Self {
            tar: Builder::new(gzip),
            output: output.to_owned(),
            unfinished,
            folders: Vec::new(),
            files: Vec::new(),
            done: Progress::default(),
            tell,
        })
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<(), BackupError> {
        let mut header = header(EntryType::Directory, mode, 0, 0);
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
            .map_err(write_failed(&self.unfinished))?;
        self.folders.push(FolderEntry { path: path.to_owned(), mode: mode & 0o777 });
        Ok(())
    }

    /// A file that nobody changes any more.
    pub(super) fn steady_file(
        &mut self,
        path: &str,
        from: &Path,
        file: File,
    ) -> Result<(), BackupError> {
        let metadata = file.metadata().map_err(read_failed(from))?;
        self.append(path, from, file, metadata.len(), &metadata)
    }

    /// A file that this process made.
    pub(super) fn own_file(&mut self, path: &str, from: &Path) -> Result<(), BackupError> {
        let file = File::open(from).map_err(read_failed(from))?;
        self.steady_file(path, from, file)
    }

    /// A file that may be written to at this moment: as much as it held when it was opened, or less.
    pub(super) fn changing_file(
        &mut self,
        path: &str,
        from: &Path,
        file: File,
    ) -> Result<(), BackupError> {
        let metadata = file.metadata().map_err(read_failed(from))?;
        let mut held = SpooledTempFile::new(HELD_BYTES_MAX);
        let bytes =
            io::copy(&mut file.take(metadata.len()), &mut held).map_err(read_failed(from))?;
        held.rewind().map_err(read_failed(from))?;
        self.append(path, from, held, bytes, &metadata)
    }

    pub(super) fn bytes(&mut self, path: &str, content: &[u8]) -> Result<(), BackupError> {
        let mut header = header(EntryType::Regular, 0o600, content.len() as u64, 0);
        let appended = self.tar.append_data(&mut header, path, content);
        appended.map_err(write_failed(&self.unfinished))
    }

    fn append(
        &mut self,
        path: &str,
        from: &Path,
        content: impl Read,
        bytes: u64,
        metadata: &fs::Metadata,
    ) -> Result<(), BackupError> {
        let mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
        let mut header = header(EntryType::Regular, metadata.mode(), bytes, mtime);
        let mut content = Hashing { inner: content.take(bytes), hash: Sha256::new(), bytes: 0 };
        let appended = self.tar.append_data(&mut header, path, &mut content);
        appended.map_err(write_failed(&self.unfinished))?;
        if content.bytes != bytes {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it got shorter meanwhile");
            return Err(BackupError::Read { path: from.to_owned(), source });
        }
        let sha256 = hex::encode(content.hash.finalize());
        let mode = metadata.mode() & 0o777;
        self.files.push(FileEntry { path: path.to_owned(), bytes, mode, sha256 });
        self.done = Progress { files: self.done.files + 1, bytes: self.done.bytes + bytes };
        (self.tell)(self.done);
        Ok(())
    }

    /// Puts everything on the disk and gives the file its name. Answers its size.
    pub(super) fn finish(self) -> Result<u64, BackupError> {
        let Self { tar, output, unfinished, .. } = self;
        let finish = || -> io::Result<u64> {
            let mut buffer = tar.into_inner()?.finish()?;
            buffer.flush()?;
            let file = buffer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            // A link, because a rename would replace what somebody else put there meanwhile.
            fs::hard_link(&unfinished, &output)?;
            fs::remove_file(&unfinished)?;
            if let Some(folder) = output.parent().filter(|it| !it.as_os_str().is_empty()) {
                File::open(folder)?.sync_all()?;
            }
            Ok(file.metadata()?.len())
        };
        finish().map_err(write_failed(&output))
    }
}

// === impl Hashing ===

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn header(kind: EntryType, mode: u32, bytes: u64, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o777);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes);
    header
}
