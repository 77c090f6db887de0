//! Reads a log from its end without holding more of it than is answered. All of it blocks.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use muxi_contract::logs::{LogCursor, LogEntry, LogStream};

use super::line::{LINE_BYTES_MAX, Line, stamp};
use super::segments::{numbers, path};

/// Which lines are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `None` for both.
    pub stream: Option<LogStream>,
    pub instance: Option<u64>,
    /// As [`stamp`] gives them, both ends included.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Only lines that end after this place.
    pub after: LogCursor,
}

/// The last lines, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    pub entries: Vec<LogEntry>,
    /// The bound on bytes cut off older lines.
    pub truncated: bool,
    /// Whether anything was ever logged.
    pub exists: bool,
}

/// How many lines segments have. What was counted once is not read again.
#[derive(Debug, Default)]
pub struct CountCache {
    counted: Mutex<HashMap<PathBuf, Counted>>,
}

/// Lines of each stream up to an offset of one file.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    inode: u64,
    offset: u64,
    lines: [u64; 2],
}

/// Where a line lies: its first byte, and the place after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

const BLOCK_BYTES: usize = 64 << 10;
const CACHED_SEGMENTS_MAX: usize = 10_000;

/// The last `lines_each` selected lines of each stream, as many as fit into `bytes_max`.
pub fn tail(
    folder: &Path,
    selection: &Selection,
    lines_each: usize,
    bytes_max: usize,
) -> io::Result<Tail> {
    let mut tail = Tail { exists: !numbers(folder)?.is_empty(), ..Tail::default() };
    let mut left = LogStream::ALL.map(|it| if selection.has(it) { lines_each } else { 0 });
    let mut bytes = 0;
    backwards(folder, selection, |segment, span, line| {
        let left_here = &mut left[line.stream as usize];
        if *left_here > 0 {
            bytes += line.text.len();
            if bytes > bytes_max {
                tail.truncated = true;
                return ControlFlow::Break(());
            }
            *left_here -= 1;
            tail.entries.push(line.entry(LogCursor { segment, offset: span.end }));
        }
        if left == [0, 0] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    tail.entries.reverse();
    Ok(tail)
}

/// The place from which the last `lines` selected lines follow.
pub fn start_of_last(folder: &Path, selection: &Selection, lines: usize) -> io::Result<LogCursor> {
    let mut start = end(folder)?;
    let mut left = lines;
    if left == 0 {
        return Ok(start);
    }
    backwards(folder, selection, |segment, span, _| {
        start = LogCursor { segment, offset: span.start };
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(start)
}

/// A place before every line since the wanted time, in the oldest segment that may hold one: it takes
/// no look at what is in there, however much that is.
pub fn start_since(folder: &Path, selection: &Selection) -> io::Result<LogCursor> {
    let mut start = None;
    for segment in numbers(folder)?.into_iter().rev() {
        match std::fs::metadata(path(folder, segment)) {
            Ok(metadata) if selection.begins_after(&metadata) => break,
            Ok(_) => start = Some(LogCursor { segment, offset: 0 }),
            // Rotation was faster, and what is older is gone, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    start.map_or_else(|| end(folder), Ok)
}

/// The place after everything that is there.
pub fn end(folder: &Path) -> io::Result<LogCursor> {
    let Some(segment) = numbers(folder)?.last().copied() else { return Ok(LogCursor::START) };
    let offset = std::fs::metadata(path(folder, segment))?.len();
    Ok(LogCursor { segment, offset })
}

/// Visits selected lines, the newest first, each with its segment and its place there.
fn backwards(
    folder: &Path,
    selection: &Selection,
    mut visit: impl FnMut(u64, Span, &Line<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    for segment in numbers(folder)?.into_iter().rev() {
        if segment < selection.after.segment {
            break;
        }
        let file = match File::open(path(folder, segment)) {
            Ok(file) => file,
            // Rotation was faster, and what is older is gone, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if selection.begins_after(&metadata) {
            break;
        }
        let ended = lines_backwards(&file, metadata.len(), |span, bytes| {
            if (LogCursor { segment, offset: span.end }) <= selection.after {
                return ControlFlow::Break(());
            }
            match Line::parse(bytes).filter(|line| selection.fits(line)) {
                Some(line) => visit(segment, span, &line),
                None => ControlFlow::Continue(()),
            }
        })?;
        if ended.is_break() {
            break;
        }
    }
    Ok(())
}

/// Visits the whole lines of a file from its end.
fn lines_backwards(
    file: &File,
    length: u64,
    mut visit: impl FnMut(Span, &[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    // What was read and not visited: the beginning of it lies at `from`.
    let (mut from, mut held) = (length, Vec::new());
    let mut after_last_newline = false;
    loop {
        while let Some(newline) = memchr::memrchr(b'\n', &held) {
            if after_last_newline {
                let start = from + newline as u64 + 1;
                let span = Span { start, end: from + held.len() as u64 + 1 };
                if visit(span, &held[newline + 1..]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            // What comes after the last newline is a line that is being written.
            after_last_newline = true;
            held.truncate(newline);
        }
        if from == 0 {
            break;
        }
        if held.len() > LINE_BYTES_MAX {
            // No writer of ours wrote this.
            held.clear();
            after_last_newline = false;
        }
        let block = usize::try_from(from).map_or(BLOCK_BYTES, |it| it.min(BLOCK_BYTES));
        from -= block as u64;
        let mut read = vec![0; block];
        file.read_exact_at(&mut read, from)?;
        read.append(&mut held);
        held = read;
    }
    if after_last_newline {
        return Ok(visit(Span { start: 0, end: held.len() as u64 + 1 }, &held));
    }
    Ok(ControlFlow::Continue(()))
}

/// File times may be behind the times of the lines by a tick of the kernel.
const FILE_TIME_SLACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

// === impl Selection ===

impl Selection {
    pub(super) fn fits(&self, line: &Line<'_>) -> bool {
        self.has(line.stream)
            && self.instance.is_none_or(|wanted| wanted == line.instance)
            && self.since.as_deref().is_none_or(|since| line.at >= since)
            && self.until.as_deref().is_none_or(|until| line.at <= until)
    }

    fn has(&self, stream: LogStream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
    }

    /// Whether a segment ends before the wanted time. File times come from a coarser clock than lines,
    /// so they get some slack.
    fn begins_after(&self, segment: &Metadata) -> bool {
        let written = segment.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let (Some(since), Some(at)) = (self.since.as_deref(), written) else { return false };
        stamp(at.saturating_add(FILE_TIME_SLACK).unwrap_or(at)).as_str() < since
    }
}

// === impl Line ===

impl Line<'_> {
    pub(super) fn entry(&self, cursor: LogCursor) -> LogEntry {
        LogEntry {
            at: self.at.to_owned(),
            stream: self.stream,
            instance: self.instance,
            line: self.text.to_owned(),
            cursor,
        }
    }
}

// === impl CountCache ===

impl CountCache {
    /// Lines of each stream that are kept, in the order of [`LogStream::ALL`].
    pub fn count(&self, folder: &Path) -> io::Result<[u64; 2]> {
        let mut total = [0; 2];
        for segment in numbers(folder)? {
            let path = path(folder, segment);
            let counts = match self.count_segment(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                counts => counts?,
            };
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
        }
        Ok(total)
    }

    fn count_segment(&self, path: PathBuf) -> io::Result<[u64; 2]> {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let (inode, length) = (metadata.ino(), metadata.len());
        // A segment only grows, so what was counted stays true.
        let known = self.lock().get(&path).copied();
        let known = known.filter(|it| it.inode == inode && it.offset <= length);
        let mut counted = known.unwrap_or(Counted { inode, ..Counted::default() });
        counted.add(&file)?;
        let mut cache = self.lock();
        if cache.len() >= CACHED_SEGMENTS_MAX {
            cache.clear();
        }
        cache.insert(path, counted);
        Ok(counted.lines)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Counts on to the last whole line.
    fn add(&mut self, file: &File) -> io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES.max(LINE_BYTES_MAX)];
        loop {
            let bytes = file.read_at(&mut block, self.offset)?;
            let whole = memchr::memrchr(b'\n', &block[..bytes]).map_or(0, |end| end + 1);
            for line in block[..whole].split(|byte| *byte == b'\n') {
                if let Some(line) = Line::parse(line) {
                    self.lines[line.stream as usize] += 1;
                }
            }
            // Without an end within the bound it is no line of ours.
            self.offset += if whole == 0 && bytes == block.len() { bytes } else { whole } as u64;
            if bytes < block.len() {
                return Ok(());
            }
        }
    }
}
