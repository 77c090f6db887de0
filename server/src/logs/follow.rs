//! Reads a log onwards from a place, over rotations, without gap and without doubles.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use muxi_contract::logs::{LogCursor, LogEntry};

use super::line::{LINE_BYTES_MAX, Line};
use super::reader::Selection;
use super::segments::{numbers, path};

/// A reader that remembers its place.
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    selection: Selection,
    at: LogCursor,
    open: Option<(u64, File)>,
}

/// What one look gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Followed {
    pub entries: Vec<LogEntry>,
    /// Rotation deleted lines before they were read.
    pub gap: bool,
    /// Nothing more is there for now.
    pub at_end: bool,
}

/// What one look reads at most, and therefore what a slow reader keeps in memory.
const LOOK_BYTES: usize = LINE_BYTES_MAX;

// === impl Follow ===

impl Follow {
    pub fn new(folder: PathBuf, selection: Selection, from: LogCursor) -> Self {
        Self { folder, selection, at: from, open: None }
    }

    /// The place after everything that was given.
    pub fn cursor(&self) -> LogCursor {
        self.at
    }

    /// Reads on. It blocks for as long as the disk takes.
    pub fn look(&mut self) -> io::Result<Followed> {
        let mut followed = Followed::default();
        if self.open.is_none() && !self.open_segment(&mut followed)? {
            followed.at_end = true;
            return Ok(followed);
        }
        let Some((segment, file)) = &self.open else { return Ok(followed) };
        // Asked before the length: the length of a segment that has a successor is final.
        let is_followed = numbers(&self.folder)?.last().is_some_and(|newest| newest > segment);
        let length = file.metadata()?.len();
        if length < self.at.offset {
            // Somebody else emptied it.
            self.at.offset = 0;
        }
        let room = usize::try_from(length - self.at.offset).unwrap_or(usize::MAX).min(LOOK_BYTES);
        let mut bytes = vec![0; room];
        let read = file.read_at(&mut bytes, self.at.offset)?;
        let bytes = &bytes[..read];
        let is_last = self.at.offset + read as u64 >= length;
        let whole = memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1);
        let mut offset = self.at.offset;
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            offset += line.len() as u64;
            let cursor = LogCursor { segment: *segment, offset };
            let line = Line::parse(&line[..line.len() - 1]);
            if let Some(line) = line.filter(|line| self.selection.fits(line)) {
                followed.entries.push(line.entry(cursor));
            }
        }
        if whole == 0 && read == LOOK_BYTES {
            // No writer of ours wrote this.
            offset += read as u64;
        }
        let segment = *segment;
        self.at.offset = offset;
        if is_last {
            if is_followed {
                (self.at, self.open) = (LogCursor { segment: segment + 1, offset: 0 }, None);
            } else {
                followed.at_end = true;
            }
        }
        Ok(followed)
    }

    /// Opens the segment of the place or, if it is gone, the next; false if there is none yet.
    fn open_segment(&mut self, followed: &mut Followed) -> io::Result<bool> {
        let numbers = numbers(&self.folder)?;
        let Some(segment) = numbers.iter().copied().find(|it| *it >= self.at.segment) else {
            // A place of a log that was deleted since; what comes now is all new.
            if let Some(newest) = numbers.last() {
                self.at = LogCursor { segment: *newest, offset: 0 };
            }
            return Ok(false);
        };
        let file = match File::open(path(&self.folder, segment)) {
            Ok(file) => file,
            // Deleted in between: the next look finds the next.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if segment != self.at.segment {
            followed.gap = self.at.segment != LogCursor::START.segment;
            self.at = LogCursor { segment, offset: 0 };
        }
        self.at.offset = line_start(&file, self.at.offset)?;
        self.open = Some((segment, file));
        Ok(true)
    }
}

/// The offset, or the next one at which a line begins.
fn line_start(file: &File, offset: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if offset == 0 || offset > length {
        return Ok(0);
    }
    let mut bytes = vec![0; LINE_BYTES_MAX];
    let read = file.read_at(&mut bytes, offset - 1)?;
    Ok(memchr::memchr(b'\n', &bytes[..read]).map_or(length, |end| offset + end as u64))
}
