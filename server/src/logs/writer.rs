//! The log writer: this binary again, one thread, which moves what an instance writes into the
//! segments of its formation and ends when both pipes have.
//!
//! It never makes the instance wait long for a disk: what cannot be written is kept up to a bound,
//! then dropped and counted, and the count becomes a line of its own once lines are taken again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use muxi_contract::logs::LogStream;
use muxi_service::Clock;
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::line::{self, Splitter};
use super::segments::{Appender, Rotation};

/// The hidden first argument that makes this binary the log writer.
pub const ARGUMENT: &str = "__log";

/// What a writer is told, on standard input. The pipes are its descriptors 3 and 4.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WriterSpec {
    pub(super) folder: PathBuf,
    pub(super) instance: u64,
    pub(super) rotation: Option<Rotation>,
}

/// Why no log is written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("failed to read the log writer's spec")]
    Spec(#[source] io::Error),
    #[error("the log writer's spec is not readable")]
    Json(#[source] serde_json::Error),
    #[error("failed to take the instance's pipes")]
    Pipe(#[source] io::Error),
}

/// The descriptors of the pipes, in the order of [`LogStream::ALL`].
pub(super) const PIPE_DESCRIPTORS: [i32; 2] = [3, 4];

const SPEC_BYTES_MAX: u64 = 64 << 10;
/// What a pipe holds at most.
const READ_BYTES: usize = 64 << 10;
/// Lines that wait for the disk.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// Lines that are written under one lock, and therefore by how much a segment can be too long.
const BATCH_BYTES: usize = 64 << 10;
/// Another writer holds the lock for the time of one batch.
const PAUSE_FOR_LOCK: Duration = Duration::from_millis(1);
const PAUSE_FOR_DISK: Duration = Duration::from_millis(100);
/// How long an instance may have to wait before its lines are dropped instead.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the writer tries after its instance has ended.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);

/// Serves one instance until both of its pipes have ended.
pub fn write() -> Result<(), WriteError> {
    // A service manager that stops everything asks the writer, too; it ends with its instance.
    let ignored = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    // Without it the last words may be missing, nothing else.
    let _best_effort = ignored.thread_block();
    let mut text = String::new();
    io::stdin().lock().take(SPEC_BYTES_MAX).read_to_string(&mut text).map_err(WriteError::Spec)?;
    let spec: WriterSpec = serde_json::from_str(&text).map_err(WriteError::Json)?;
    let [stdout, stderr] = PIPE_DESCRIPTORS.map(|fd| open_pipe("self", fd));
    let sources = [stdout.map_err(WriteError::Pipe)?, stderr.map_err(WriteError::Pipe)?];
    Writer::new(spec, sources, Clock::system()).run();
    Ok(())
}

/// A reading end of a pipe that a process has open, at whichever end.
pub(super) fn open_pipe(process: &str, descriptor: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(format!("/proc/{process}/fd/{descriptor}"))
}

struct Writer {
    appender: Appender,
    instance: u64,
    clock: Clock,
    sources: [Source; 2],
    pending: Pending,
    stuck: Option<Stuck>,
    dropped: u64,
    buffer: Vec<u8>,
    rendered: Vec<u8>,
}

struct Source {
    stream: LogStream,
    /// `None` once it has ended.
    pipe: Option<File>,
    splitter: Splitter,
}

/// Nothing could be written.
struct Stuck {
    since: Instant,
    fault: String,
}

/// Lines that wait for the disk: each its stream, its text, and its end.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
}

// === impl Writer ===

impl Writer {
    fn new(spec: WriterSpec, pipes: [File; 2], clock: Clock) -> Self {
        let [stdout, stderr] = pipes;
        let source =
            |stream, pipe| Source { stream, pipe: Some(pipe), splitter: Splitter::default() };
        Self {
            appender: Appender::new(spec.folder, spec.rotation),
            instance: spec.instance,
            clock,
            sources: [source(LogStream::Stdout, stdout), source(LogStream::Stderr, stderr)],
            pending: Pending::default(),
            stuck: None,
            dropped: 0,
            buffer: vec![0; READ_BYTES],
            rendered: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut ended_at = None;
        loop {
            let pause = self.flush();
            let ended = self.sources.iter().all(|source| source.pipe.is_none());
            if ended {
                let ended_at = *ended_at.get_or_insert_with(Instant::now);
                if pause.is_none() || ended_at.elapsed() > PATIENCE_AT_END {
                    return;
                }
            }
            self.wait(pause);
        }
    }

    /// Waits for something to read, or for the next try to write, and reads what is there.
    fn wait(&mut self, pause: Option<Duration>) {
        let full = self.pending.bytes.len() >= PENDING_BYTES_MAX;
        let out_of_patience =
            self.stuck.as_ref().is_some_and(|stuck| stuck.since.elapsed() >= PATIENCE);
        let reading = !full || out_of_patience;
        let ready: Vec<usize> = {
            let open: Vec<(usize, &File)> = self
                .sources
                .iter()
                .enumerate()
                .filter_map(|(at, source)| Some((at, source.pipe.as_ref()?)))
                .filter(|_| reading)
                .collect();
            let mut polled: Vec<PollFd<'_>> = open
                .iter()
                .map(|(_, pipe)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
                .collect();
            let pause = pause.map(|it| Timespec::try_from(it).expect("a pause is short"));
            // An interrupted wait is only an early look.
            let _ready = poll(&mut polled, pause.as_ref());
            let seen = polled.iter().map(|it| !it.revents().is_empty());
            open.iter().zip(seen).filter(|(_, seen)| *seen).map(|((at, _), _)| *at).collect()
        };
        for at in ready {
            self.read(at, full);
        }
    }

    /// Moves what one pipe holds to the lines that wait, or drops it.
    fn read(&mut self, at: usize, drops: bool) {
        let Source { stream, pipe, splitter } = &mut self.sources[at];
        let Some(open) = pipe else { return };
        let (pending, dropped) = (&mut self.pending, &mut self.dropped);
        let mut take = |text: &str| {
            if drops {
                *dropped += 1;
            } else {
                pending.push(*stream, text);
            }
        };
        match open.read(&mut self.buffer) {
            Ok(0) => {
                splitter.end(take);
                *pipe = None;
            }
            Ok(bytes) => splitter.feed(&self.buffer[..bytes], take),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                take(&format!("the log writer lost the instance: {error}"));
                *pipe = None;
            }
        }
    }

    /// Writes what waits; says how long to wait before the next try if something is left.
    fn flush(&mut self) -> Option<Duration> {
        if self.pending.bytes.is_empty() {
            return None;
        }
        let fault = match self.appender.lock() {
            Err(error) => Some(error),
            Ok(mut locked) => loop {
                if self.pending.bytes.is_empty() {
                    break None;
                }
                let now = self.clock.now();
                self.rendered.clear();
                self.pending.render(&mut self.rendered, &line::stamp(now), self.instance);
                let appended = locked.append(&self.rendered, now);
                self.pending.remove(appended.lines);
                if let Some(fault) = appended.fault {
                    break Some(fault);
                }
            },
        };
        if let Some(fault) = fault {
            let contended = fault.raw_os_error() == Some(Errno::WOULDBLOCK.raw_os_error());
            let since = self.stuck.take().map_or_else(Instant::now, |stuck| stuck.since);
            self.stuck = Some(Stuck { since, fault: fault.to_string() });
            return Some(if contended { PAUSE_FOR_LOCK } else { PAUSE_FOR_DISK });
        }
        self.pending.bytes.shrink_to(READ_BYTES);
        self.rendered.shrink_to(READ_BYTES);
        let fault = self.stuck.take()?.fault;
        let lost = std::mem::take(&mut self.dropped);
        if lost == 0 {
            return None;
        }
        // One line stands where they would have been.
        let text =
            format!("[log] {lost} lines are missing here, they could not be written: {fault}");
        self.pending.push(LogStream::Stderr, &text);
        self.flush()
    }
}

// === impl Pending ===

impl Pending {
    fn push(&mut self, stream: LogStream, text: &str) {
        self.bytes.push(match stream {
            LogStream::Stdout => b'o',
            LogStream::Stderr => b'e',
        });
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'\n');
    }

    /// Writes the first lines into `batch` as they lie in a segment.
    fn render(&self, batch: &mut Vec<u8>, stamp: &str, instance: u64) {
        let [stdout, stderr] = LogStream::ALL.map(|it| line::prefix(stamp, instance, it));
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            let prefix = if line[0] == b'o' { &stdout } else { &stderr };
            batch.extend_from_slice(prefix.as_bytes());
            batch.extend_from_slice(&line[1..]);
            if batch.len() >= BATCH_BYTES {
                return;
            }
        }
    }

    /// Removes the first lines.
    fn remove(&mut self, lines: usize) {
        if let Some(last) = lines.checked_sub(1) {
            let end = memchr::memchr_iter(b'\n', &self.bytes).nth(last);
            self.bytes.drain(..=end.expect("no more lines are removed than were rendered"));
        }
    }
}
