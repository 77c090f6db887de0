//! Tar headers one after the other, with the names that extensions give them.
//!
//! Headers are read here and not through `tar::Archive`, which keeps extensions of any size in
//! memory and hides two of the lies that must be noticed: a second size, a second name.

use std::io::Read;

use tar::{EntryType, Header};

use super::stream::Stream;
use super::{UnpackError, UnpackLimits};

const BLOCK_BYTES: usize = 512;
/// Of one pax or long-name extension; real ones are a few hundred bytes.
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;
const COPY_BYTES: usize = 64 * 1024;

pub(super) struct Headers<'a, R: Read> {
    stream: Stream<'a, R>,
    limits: &'a UnpackLimits,
    /// From 1, extensions included.
    number: usize,
}

/// A file or a folder; its content comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: usize,
    /// As it stands in the archive.
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
    pub(super) is_executable: bool,
    pub(super) bytes: u64,
}

/// Key and value.
type Record<'r> = (&'r [u8], &'r [u8]);

/// What extensions say about the entry that follows them.
#[derive(Default)]
struct Extended {
    pax_path: Option<Vec<u8>>,
    gnu_path: Option<Vec<u8>>,
    bytes: Option<u64>,
    is_sparse: bool,
    is_any: bool,
}

// === impl Headers ===

impl<'a, R: Read> Headers<'a, R> {
    pub(super) fn new(stream: Stream<'a, R>, limits: &'a UnpackLimits) -> Self {
        Self { stream, limits, number: 0 }
    }

    /// The next file or folder; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else {
                return if extended.is_any { Err(UnpackError::Truncated) } else { Ok(None) };
            };
            let bytes = header.entry_size().map_err(|_| self.broken("its size is no number"))?;
            let kind = header.entry_type();
            #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
            match kind {
                EntryType::XGlobalHeader => self.global(bytes)?,
                EntryType::XHeader => self.pax(bytes, &mut extended)?,
                EntryType::GNULongName => {
                    let mut path = self.extension(bytes)?;
                    path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
                    self.set_once(&mut extended.gnu_path, path)?;
                }
                // The target of a link; the link itself is refused when it comes.
                EntryType::GNULongLink => drop(self.extension(bytes)?),
                _ => return self.entry(&header, kind, bytes, extended).map(Some),
            }
            extended.is_any |= kind != EntryType::XGlobalHeader;
        }
    }

    /// Hands over the content of the entry that was told last.
    pub(super) fn content(
        &mut self,
        entry: &Entry,
        mut write: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut left = entry.bytes;
        while left > 0 {
            let chunk = &mut buffer[..COPY_BYTES.min(usize::try_from(left).unwrap_or(COPY_BYTES))];
            self.stream.exact(chunk)?;
            write(chunk)?;
            left -= chunk.len() as u64;
        }
        self.padding(entry.bytes)
    }

    pub(super) fn finish(self) -> Result<(), UnpackError> {
        self.stream.finish()
    }

    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        self.number += 1;
        let mut header = Header::new_old();
        self.stream.exact(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // Extensions are bounded by the entries they belong to, except global ones: count all.
        if self.number > self.limits.entries.saturating_mul(4) {
            return Err(self.too_many(&header));
        }
        let told = header.cksum().map_err(|_| self.broken("its checksum is no number"))?;
        let mut summed = header.clone();
        summed.set_cksum();
        if summed.cksum().ok() == Some(told) {
            Ok(Some(header))
        } else {
            Err(self.broken("its checksum is wrong"))
        }
    }

    fn entry(
        &self,
        header: &Header,
        kind: EntryType,
        bytes: u64,
        extended: Extended,
    ) -> Result<Entry, UnpackError> {
        let own = || header.path_bytes().into_owned();
        let path = extended.pax_path.or(extended.gnu_path).unwrap_or_else(own);
        let shown = || shown(&path);
        if let Some(kind) = refused_kind(kind, extended.is_sparse) {
            return Err(UnpackError::Kind { entry: shown(), kind });
        }
        // Before POSIX, a folder was a file whose name ends with a slash.
        let is_old_folder = header.as_old().linkflag[0] == 0 && path.ends_with(b"/");
        let is_folder = kind.is_dir() || is_old_folder;
        if extended.bytes.is_some_and(|told| told != bytes) || (is_folder && bytes != 0) {
            return Err(UnpackError::SizeLie { entry: shown() });
        }
        let bytes_max = self.limits.file_bytes;
        if bytes > bytes_max {
            return Err(UnpackError::FileTooLarge { entry: shown(), bytes_max });
        }
        let mode = header.mode().map_err(|_| self.broken("its mode is no number"))?;
        let is_executable = mode & 0o111 != 0;
        Ok(Entry { number: self.number, path, is_folder, is_executable, bytes })
    }

    /// `git archive` puts the commit here. What would change every entry's name or size is refused.
    fn global(&mut self, bytes: u64) -> Result<(), UnpackError> {
        let records = self.extension(bytes)?;
        for (key, _) in self.records(&records)? {
            if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse") {
                return Err(self.broken("a global extension names or sizes every entry"));
            }
        }
        Ok(())
    }

    fn pax(&mut self, bytes: u64, extended: &mut Extended) -> Result<(), UnpackError> {
        let records = self.extension(bytes)?;
        for (key, value) in self.records(&records)? {
            match key {
                b"path" => self.set_once(&mut extended.pax_path, value.to_vec())?,
                b"size" => {
                    let told = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                    let told = told.ok_or_else(|| self.broken("its pax size is no number"))?;
                    self.set_once(&mut extended.bytes, told)?;
                }
                key if key.starts_with(b"GNU.sparse") => extended.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Lines of `length key=value`, where the length counts the whole line.
    fn records<'r>(&self, mut rest: &'r [u8]) -> Result<Vec<Record<'r>>, UnpackError> {
        let mut records = Vec::new();
        while !rest.is_empty() {
            let record = split_record(rest);
            let (key, value, after) =
                record.ok_or_else(|| self.broken("a pax record is broken"))?;
            records.push((key, value));
            rest = after;
        }
        Ok(records)
    }

    fn extension(&mut self, bytes: u64) -> Result<Vec<u8>, UnpackError> {
        if bytes > EXTENSION_BYTES_MAX {
            return Err(self.broken("an extension is larger than 64 KiB"));
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
        self.stream.exact(&mut content)?;
        self.padding(bytes)?;
        Ok(content)
    }

    fn padding(&mut self, bytes: u64) -> Result<(), UnpackError> {
        let over = usize::try_from(bytes % BLOCK_BYTES as u64).unwrap_or_default();
        let mut padding = [0; BLOCK_BYTES];
        let missing = (BLOCK_BYTES - over) % BLOCK_BYTES;
        self.stream.exact(&mut padding[..missing])
    }

    fn set_once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), UnpackError> {
        if slot.replace(value).is_some() {
            return Err(self.broken("an extension is given twice"));
        }
        Ok(())
    }

    fn broken(&self, reason: &'static str) -> UnpackError {
        UnpackError::Header { number: self.number, reason }
    }

    fn too_many(&self, header: &Header) -> UnpackError {
        let entry = shown(&header.path_bytes());
        UnpackError::TooManyEntries { entry, entries_max: self.limits.entries }
    }
}

/// A name from an archive, fit for a message.
pub(super) fn shown(path: &[u8]) -> String {
    const CHARS_MAX: usize = 120;
    String::from_utf8_lossy(path).chars().take(CHARS_MAX).flat_map(char::escape_debug).collect()
}

// === private helpers ===

fn refused_kind(kind: EntryType, is_sparse: bool) -> Option<&'static str> {
    if is_sparse {
        return Some("a sparse file");
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => None,
        EntryType::Symlink => Some("a symbolic link"),
        EntryType::Link => Some("a hard link"),
        EntryType::Char | EntryType::Block => Some("a device"),
        EntryType::Fifo => Some("a named pipe"),
        EntryType::GNUSparse => Some("a sparse file"),
        _ => Some("of an unknown kind"),
    }
}

fn split_record(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
    let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &rest[length..]))
}
