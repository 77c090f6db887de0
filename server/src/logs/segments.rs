//! The folder of one log: numbered segments, and the lock under which they change.
//!
//! Several writers may append at once, such as those of an old and a new instance; each batch is
//! written under the lock, so that lines never mix and nobody writes into a segment that a higher
//! number has followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::line::{LINE_BYTES_MAX, Line};

/// When a segment ends, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub segment_bytes_max: u64,
    pub segment_age_max: Duration,
    pub segments_max: usize,
}

/// Appends batches of whole lines.
#[derive(Debug)]
pub(super) struct Appender {
    folder: PathBuf,
    /// `None`: one segment for ever, as the operator wished.
    rotation: Option<Rotation>,
    open: Option<Open>,
}

/// The lock is held, and the newest segment is open and ends with a whole line.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    folder: &'a Path,
    rotation: Option<Rotation>,
    open: &'a mut Open,
}

/// How much of a batch got to the disk.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) lines: usize,
    /// Why not all.
    pub(super) fault: Option<io::Error>,
}

#[derive(Debug)]
struct Open {
    lock: File,
    number: u64,
    segment: File,
    bytes: u64,
    /// When its first line was written; `None` while it has none.
    born: Option<Timestamp>,
}

/// The numbers of all segments, oldest first; none if there is no such folder.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u64>().ok());
        found.extend(number.filter(|number| *number > 0));
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}{SUFFIX}"))
}

const SUFFIX: &str = ".log";
const LOCK: &str = ".lock";

// === impl Rotation ===

impl Rotation {
    /// How long a line is kept at most.
    pub fn age_max(&self) -> Duration {
        self.segment_age_max.saturating_mul(u32::try_from(self.segments_max).unwrap_or(u32::MAX))
    }
}

// === impl Appender ===

impl Appender {
    pub(super) fn new(folder: PathBuf, rotation: Option<Rotation>) -> Self {
        Self { folder, rotation, open: None }
    }

    /// Takes the lock without waiting; `WouldBlock` when another holds it.
    pub(super) fn lock(&mut self) -> io::Result<Locked<'_>> {
        let Self { folder, rotation, open } = self;
        let mut held = match open.take() {
            Some(held) => held,
            None => Open::make(folder)?,
        };
        if let Err(error) = rustix::fs::flock(&held.lock, FlockOperation::NonBlockingLockExclusive)
        {
            *open = Some(held);
            return Err(error.into());
        }
        // A sweep may have removed the folder, and the lock with it.
        if !is_at(&held.lock, &folder.join(LOCK)) {
            held = Open::make(folder)?;
            rustix::fs::flock(&held.lock, FlockOperation::NonBlockingLockExclusive)?;
        }
        held.settle(folder)?;
        Ok(Locked { folder, rotation: *rotation, open: open.insert(held) })
    }
}

// === impl Locked ===

impl Locked<'_> {
    /// Appends whole lines, in a new segment if it is time for one.
    pub(super) fn append(&mut self, lines: &[u8], now: Timestamp) -> Appended {
        if let Err(error) = self.rotate_for(lines.len() as u64, now) {
            return Appended { lines: 0, fault: Some(error) };
        }
        let (mut written, mut fault) = (0, None);
        while written < lines.len() && fault.is_none() {
            match self.open.segment.write(&lines[written..]) {
                Ok(0) => fault = Some(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => fault = Some(error),
            }
        }
        let whole = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |end| end + 1);
        self.open.bytes += whole as u64;
        if whole < written {
            // Should that fail, too, then the next lock takes the torn line away.
            let _torn = self.open.segment.set_len(self.open.bytes);
        }
        if whole > 0 {
            self.open.born.get_or_insert(now);
        }
        Appended { lines: memchr::memchr_iter(b'\n', &lines[..whole]).count(), fault }
    }

    /// Starts a new segment whatever the old one holds.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let number = self.open.number + 1;
        self.open.segment = open_segment(self.folder, number)?;
        (self.open.number, self.open.bytes, self.open.born) = (number, 0, None);
        Ok(())
    }

    /// Deletes the oldest segments so that no more than `keep` are left, the newest among them.
    pub(super) fn delete_oldest(&self, keep: usize) -> io::Result<()> {
        let numbers = numbers(self.folder)?;
        let surplus = numbers.len().saturating_sub(keep.max(1));
        for number in &numbers[..surplus] {
            fs::remove_file(path(self.folder, *number))?;
        }
        Ok(())
    }

    pub(super) fn newest(&self) -> &File {
        &self.open.segment
    }

    pub(super) fn is_newest(&self, number: u64) -> bool {
        self.open.number == number
    }

    fn rotate_for(&mut self, bytes: u64, now: Timestamp) -> io::Result<()> {
        let Some(rotation) = self.rotation else { return Ok(()) };
        let Some(born) = self.open.born else { return Ok(()) };
        let too_large = self.open.bytes + bytes > rotation.segment_bytes_max;
        let too_old = Duration::try_from(now.duration_since(born))
            .is_ok_and(|age| age >= rotation.segment_age_max);
        if too_large || too_old {
            self.rotate()?;
            self.delete_oldest(rotation.segments_max)?;
        }
        Ok(())
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // The lock goes with the process at the latest.
        let _unlocked = rustix::fs::flock(&self.open.lock, FlockOperation::Unlock);
    }
}

// === impl Open ===

impl Open {
    fn make(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).append(true).mode(0o600).open(folder.join(LOCK))?;
        let (number, segment) = newest(folder)?;
        // Whatever it holds is looked at under the lock.
        Ok(Self { lock, number, segment, bytes: u64::MAX, born: None })
    }

    /// Brings what is known about the newest segment to what is true; the lock is held.
    fn settle(&mut self, folder: &Path) -> io::Result<()> {
        let mut found = self.segment.metadata()?;
        if found.nlink() == 0 || path(folder, self.number + 1).exists() {
            (self.number, self.segment) = newest(folder)?;
            (self.bytes, found) = (u64::MAX, self.segment.metadata()?);
        }
        if found.len() != self.bytes {
            self.bytes = whole_length(&self.segment, found.len())?;
            if self.bytes < found.len() {
                self.segment.set_len(self.bytes)?;
            }
            self.born = first_stamp(&self.segment)?;
        }
        Ok(())
    }
}

fn newest(folder: &Path) -> io::Result<(u64, File)> {
    let number = numbers(folder)?.last().copied().unwrap_or(1);
    Ok((number, open_segment(folder, number)?))
}

fn open_segment(folder: &Path, number: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600).open(path(folder, number))
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |it: fs::Metadata| (it.dev(), it.ino());
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    identity(held) == identity(named)
}

/// The length without a torn line at the end, which a writer leaves that was killed while writing.
fn whole_length(segment: &File, length: u64) -> io::Result<u64> {
    let mut tail =
        vec![0; usize::try_from(length).map_or(LINE_BYTES_MAX, |it| it.min(LINE_BYTES_MAX))];
    let from = length - tail.len() as u64;
    segment.read_exact_at(&mut tail, from)?;
    match memchr::memrchr(b'\n', &tail) {
        Some(end) => Ok(from + end as u64 + 1),
        // Nothing that a writer of ours wrote is so long.
        None => Ok(if from == 0 { 0 } else { length }),
    }
}

fn first_stamp(segment: &File) -> io::Result<Option<Timestamp>> {
    let mut head = [0; 64];
    let bytes = segment.read_at(&mut head, 0)?;
    let head = &head[..bytes];
    // Only the beginning matters; the rest of a long line may be cut within a character.
    let ascii = head.iter().position(|byte| !byte.is_ascii() || *byte == b'\n').unwrap_or(bytes);
    let at = Line::parse(&head[..ascii]).and_then(|line| line.at.parse().ok());
    Ok(at.or_else(|| {
        let modified = segment.metadata().ok().filter(|it| it.len() > 0)?.modified().ok()?;
        Timestamp::try_from(modified).ok()
    }))
}

#[cfg(test)]
mod tests;
