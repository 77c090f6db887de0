//! Programs that nobody vouches for, such as the scripts of skills, run here and nowhere else.
//!
//! A program starts through the launcher: this binary again, which narrows its own rights and
//! becomes the program ([`confine`]). What holds for it and all that it starts:
//! - It reads the system and what the job names, writes in a folder of its own, and nothing else. Modes,
//!   owners and times of files stay as they are wherever they lie.
//! - Other processes keep their limits and priorities.
//! - It ends with the process that wanted it, even one that is killed outright.
//! - It has no network: no socket can be made.
//! - It has a short environment of its own, and no descriptor but the three standard ones.
//! - Its processes, memory, time, files and output are bounded, and none of it outlives the job.
//!
//! A program that works on its own for longer, such as a coding agent, is given more by [`Walls`]: a
//! network, a home, and a session instead of a group; and since building needs that, it may change modes
//! and times of files that belong to its user, which the kernel cannot bind to a folder.
//!
//! Where the kernel cannot enforce that, nothing is run.

mod agent;
mod confine;
mod files;
mod filter;
mod paths;
mod watch;
mod watcher;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::program::Identity;

pub use agent::Walls;
pub(crate) use agent::find;
pub use confine::{ConfineError, confine};

/// The hidden command that makes this program the launcher.
pub const ARGUMENT: &str = "__confine";

/// How the launcher is started: a program and its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub at_once: usize,
    /// For jobs that name none.
    pub timeout: Duration,
    pub timeout_max: Duration,
    /// Of a job's processes together; none of them can have more of its own either.
    pub memory_bytes: u64,
    pub processes: usize,
    pub open_files: u64,
    pub stdin_bytes: usize,
    /// Kept of each of the two outputs.
    pub output_bytes: usize,
    /// Of each file that it writes.
    pub file_bytes: u64,
    /// Of all that lies in its folder.
    pub folder_bytes: u64,
    pub folder_entries: usize,
    /// Handed back at the end.
    pub files: usize,
    pub files_bytes: u64,
}

/// What to run.
#[derive(Debug)]
pub struct Job {
    /// Looked for where systems keep programs, unless it is a path.
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// Beside the variables that every job has; these win.
    pub environment: BTreeMap<String, SecretString>,
    /// May be read and executed beside the system.
    pub read: Vec<PathBuf>,
    pub stdin: Bytes,
    pub timeout: Option<Duration>,
    pub cancelled: CancellationToken,
}

/// How a job ended and what it left.
#[derive(Debug)]
pub struct Finished {
    pub end: End,
    pub stdout: Output,
    pub stderr: Output,
    pub files: Vec<OutputFile>,
    /// Names of files that were not taken along, with the reason.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// By somebody else, such as the kernel at one of the limits.
    Killed(i32),
    TimedOut(Duration),
    Cancelled,
    TooManyProcesses(usize),
    TooMuchMemory(u64),
    TooMuchOnDisk(u64),
}

/// What a program wrote, up to the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    pub bytes: Vec<u8>,
    pub is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Without folders.
    pub name: String,
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the input has {found} bytes, and at most {most} are possible")]
    Stdin { found: usize, most: usize },
    #[error("failed to prepare a folder to run in, below {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("failed to start the launcher {path}: {source}")]
    Launcher { path: PathBuf, source: std::io::Error },
    #[error("the program could not be confined, so it was not run: {0}")]
    NotConfined(String),
    #[error("the program could not be started: {0}")]
    Start(String),
    #[error("failed to follow the program: {0}")]
    Follow(std::io::Error),
    #[error("a task of the sandbox failed: {0}")]
    Task(JoinError),
    #[error("the sandbox takes no more jobs")]
    Closed,
}

/// Runs jobs, a few at once.
#[derive(Debug)]
pub struct Sandbox {
    launcher: Launcher,
    /// Each job gets a folder in it, which goes with the job.
    root: PathBuf,
    /// What no job may read, even where a folder of the system holds it.
    hidden: Vec<PathBuf>,
    limits: Limits,
    permits: Semaphore,
}

/// A job's processes. Dropped, they are killed; once, since their number may be another's later.
struct Group {
    id: Pid,
    is_over: AtomicBool,
}

// === impl Launcher ===

impl Launcher {
    /// This very program, even if its file was replaced meanwhile.
    pub fn this_program() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: vec![ARGUMENT.into()] }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 4,
            timeout: Duration::from_secs(30),
            timeout_max: Duration::from_mins(5),
            memory_bytes: 512 << 20,
            processes: 64,
            open_files: 256,
            stdin_bytes: 1 << 20,
            output_bytes: 100_000,
            file_bytes: 32 << 20,
            folder_bytes: 128 << 20,
            folder_entries: 5_000,
            files: 20,
            files_bytes: 10 << 20,
        }
    }
}

// === impl Sandbox ===

impl Sandbox {
    /// Also tidies up what a process that was killed has left in `root`.
    pub fn new(launcher: Launcher, root: PathBuf, hidden: Vec<PathBuf>, limits: Limits) -> Self {
        files::sweep(&root);
        Self { launcher, root, hidden, limits, permits: Semaphore::new(limits.at_once) }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Resolves when the job and all its processes are gone. Dropping the future ends them, too.
    pub async fn run(&self, job: Job) -> Result<Finished, SandboxError> {
        let (found, most) = (job.stdin.len(), self.limits.stdin_bytes);
        if found > most {
            return Err(SandboxError::Stdin { found, most });
        }
        let waiting = job.cancelled.run_until_cancelled(self.permits.acquire());
        let Some(permit) = waiting.await else { return Ok(Finished::before_it_began()) };
        let _permit = permit.map_err(|_| SandboxError::Closed)?;
        let no_folder = |source| SandboxError::Folder { path: self.root.clone(), source };
        let place = files::Place::new(&self.root).map_err(no_folder)?;
        let timeout = job.timeout.unwrap_or(self.limits.timeout).min(self.limits.timeout_max);
        let mut child = self.command(&job, &place, timeout)?.spawn().map_err(|source| {
            SandboxError::Launcher { path: self.launcher.program.clone(), source }
        })?;
        let group = Group::of(&child)?;
        place.note(&Identity::of(group.id.as_raw())).map_err(no_folder)?;
        let (end, stdout, stderr) = self.follow(&mut child, &job, &group, &place, timeout).await?;
        let report = place.report().map_err(SandboxError::Follow)?;
        confine::read_report(&report)?;
        let limits = self.limits;
        let collect = move || files::collect(&place, &limits);
        let collected = tokio::task::spawn_blocking(collect).await.map_err(SandboxError::Task)?;
        let (files, left_out) = collected.map_err(SandboxError::Follow)?;
        Ok(Finished { end, stdout, stderr, files, left_out })
    }

    fn command(
        &self,
        job: &Job,
        place: &files::Place,
        timeout: Duration,
    ) -> Result<Command, SandboxError> {
        let mut fence = paths::fence(&self.hidden);
        fence.read_and_execute.extend(job.read.iter().cloned());
        fence.write.push(place.work());
        let spec = confine::Spec {
            report: place.report_path(),
            fence,
            memory_bytes: self.limits.memory_bytes,
            open_files: self.limits.open_files,
            file_bytes: self.limits.file_bytes,
            // Sleeping takes none, so this is only reached by what computes all the time.
            processor_s: timeout.as_secs() + 1,
            kind: confine::Kind::Script,
            owner: Some(Identity::own()),
        };
        let spec = serde_json::to_string(&spec)
            .map_err(|error| SandboxError::NotConfined(error.to_string()))?;
        let mut command = Command::new(&self.launcher.program);
        command
            .args(&self.launcher.arguments)
            .arg(spec)
            .arg(&job.program)
            .args(&job.arguments)
            .current_dir(place.output())
            .env_clear()
            .envs(place.environment())
            .envs(job.environment.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    async fn follow(
        &self,
        child: &mut Child,
        job: &Job,
        group: &Group,
        place: &files::Place,
        timeout: Duration,
    ) -> Result<(End, Output, Output), SandboxError> {
        let limit = self.limits.output_bytes;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut stdin = child.stdin.take();
        let feed = async {
            if let Some(mut pipe) = stdin.take()
                && let Err(error) = pipe.write_all(&job.stdin).await
            {
                // A program need not read what it is given.
                tracing::debug!(%error, "a script did not read its input");
            }
        };
        let ended = async {
            let end = tokio::select! {
                biased;
                // A program that has ended is not timed out. Cancel-safe: waits only.
                status = child.wait() => end_of(status.map_err(SandboxError::Follow)?),
                // Cancel-safe: waits only.
                () = job.cancelled.cancelled() => End::Cancelled,
                // Cancel-safe: looks, and keeps nothing.
                beyond = watch::until_beyond(group.id, place.work(), &self.limits) => beyond,
                // Cancel-safe: waits only.
                () = tokio::time::sleep(timeout) => End::TimedOut(timeout),
            };
            // What it started goes with it, and closes the outputs.
            group.kill();
            Ok::<_, SandboxError>(end)
        };
        let (end, (), stdout, stderr) =
            tokio::join!(ended, feed, read(stdout, limit), read(stderr, limit));
        child.wait().await.map_err(SandboxError::Follow)?;
        Ok((end?, stdout.map_err(SandboxError::Follow)?, stderr.map_err(SandboxError::Follow)?))
    }
}

// === impl Finished ===

impl Finished {
    fn before_it_began() -> Self {
        Self {
            end: End::Cancelled,
            stdout: Output::default(),
            stderr: Output::default(),
            files: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

// === impl Output ===

impl Output {
    /// As text, with a line about what is missing.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.is_cut {
            text.push_str("\n[the rest was cut off]");
        }
        text
    }
}

// === impl Group ===

impl Group {
    fn of(child: &Child) -> Result<Self, SandboxError> {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let gone = || SandboxError::Follow(std::io::Error::other("the launcher has no process id"));
        Ok(Self { id: Pid::from_raw(id.ok_or_else(gone)?), is_over: AtomicBool::new(false) })
    }

    fn kill(&self) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        match killpg(self.id, Signal::SIGKILL) {
            // One that is gone already is what is wanted.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => tracing::warn!(%error, group = %self.id, "a script could not be ended"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All of it is read, so that the program does not wait for a reader; the first part is kept.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> std::io::Result<Output> {
    let mut output = Output::default();
    let Some(mut pipe) = pipe else { return Ok(output) };
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            return Ok(output);
        }
        let room = limit - output.bytes.len();
        output.bytes.extend_from_slice(&chunk[..count.min(room)]);
        output.is_cut |= count > room;
    }
}

fn end_of(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}
