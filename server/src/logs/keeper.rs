//! The manager's side of a log: it makes the pipes, starts the writer, and starts another on the
//! same pipes should the writer die before its instance.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use futures_util::future::BoxFuture;
use muxi_service::{TaskGroup, TaskKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::segments::Rotation;
use super::writer::{ARGUMENT, PIPE_DESCRIPTORS, WriterSpec, open_pipe};
use crate::supervisor::process::{self, Process, Reaper};

/// Where the lines of one instance go.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    pub(crate) folder: PathBuf,
    pub(crate) instance: u64,
    pub(crate) rotation: Option<Rotation>,
}

/// The ends of the pipes that the instance gets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

/// Holds the reading ends, so that no line is lost and no write fails while a writer is replaced.
pub(crate) struct Keeper {
    outlet: Outlet,
    pipes: [OwnedFd; 2],
    /// Resolves when the current writer is gone.
    writer: BoxFuture<'static, ()>,
}

/// The environment variable by which a writer is found; its value names the folder and instance.
const WRITER_VAR: &str = "MUXI_LOG_WRITER";
/// After its instance the writer needs only as long as the disk takes.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between the death of a writer and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the pipes and starts their writer.
pub(crate) fn open(outlet: Outlet) -> io::Result<(Ends, Keeper)> {
    let (stdout_read, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr_read, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let pipes = [stdout_read, stderr_read];
    let writer = outlet.start_writer(&pipes)?;
    let ends = Ends { stdout: stdout.into(), stderr: stderr.into() };
    Ok((ends, Keeper { outlet, pipes, writer }))
}

/// Takes up the log of an instance that another manager started: its pipes are reached through the
/// instance, its writer is found or, if it died, replaced.
pub(crate) fn adopt(outlet: Outlet, instance_pid: u32, reaper: &Reaper) -> io::Result<Keeper> {
    let pid = instance_pid.to_string();
    let pipe = |descriptor| {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        if !fs::metadata(path)?.file_type().is_fifo() {
            return Err(io::Error::other("the instance does not write to a pipe"));
        }
        open_pipe(&pid, descriptor).map(OwnedFd::from)
    };
    let pipes = [pipe(1)?, pipe(2)?];
    let (name, reaper) = (outlet.name(), reaper.clone());
    let writer = Box::pin(async move {
        // Looks at every process of the machine.
        let find = move || process::find_by(WRITER_VAR, &name);
        let found = tokio::task::spawn_blocking(find).await.ok().flatten();
        let living = found.and_then(|identity| process::adopt(identity, &reaper).ok()?);
        if let Some(living) = living {
            living.wait.await;
        }
    });
    Ok(Keeper { outlet, pipes, writer })
}

// === impl Keeper ===

impl Keeper {
    /// Keeps the log until the instance has ended and `process.wait` resolves only when its last
    /// words are on the disk, or could not get there in time.
    pub(crate) fn attend(
        self,
        process: Process,
        tasks: &TaskGroup,
        stop: CancellationToken,
    ) -> Process {
        let written = CancellationToken::new();
        let (done, name) = (written.clone().drop_guard(), format!("log of {}", self.outlet.name()));
        tasks.spawn(TaskKind::PerFormation, name, async move {
            stop.run_until_cancelled(self.keep(done)).await;
        });
        let Process { handle, wait } = process;
        let wait = Box::pin(async move {
            let exit = wait.await;
            if tokio::time::timeout(LAST_WORDS, written.cancelled()).await.is_err() {
                tracing::warn!("the end of an instance's log is not written yet");
            }
            exit
        });
        Process { handle, wait }
    }

    async fn keep(mut self, _done: DropGuard) {
        loop {
            (&mut self.writer).await;
            if self.pipes.iter().all(has_ended) {
                return;
            }
            tracing::warn!(log = self.outlet.name(), "the log writer died; starting another");
            tokio::time::sleep(PAUSE).await;
            match self.outlet.start_writer(&self.pipes) {
                Ok(writer) => self.writer = writer,
                Err(error) => {
                    tracing::error!(%error, "the log writer could not be started");
                    self.writer = Box::pin(tokio::time::sleep(LAST_WORDS));
                }
            }
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("outlet", &self.outlet).finish_non_exhaustive()
    }
}

/// Whether everything was read and nobody can write any more.
fn has_ended(pipe: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pipe, PollFlags::IN)];
    let looked = poll(&mut polled, Some(&Timespec::default()));
    looked.is_ok() && polled[0].revents() == PollFlags::HUP
}

// === impl Outlet ===

impl Outlet {
    fn name(&self) -> String {
        format!("{}#{}", self.folder.display(), self.instance)
    }

    /// In a process group of its own: it ends with the instance, not with the manager.
    fn start_writer(&self, pipes: &[OwnedFd; 2]) -> io::Result<BoxFuture<'static, ()>> {
        let spec = WriterSpec {
            folder: self.folder.clone(),
            instance: self.instance,
            rotation: self.rotation,
        };
        // Unlinked, like a launch spec.
        let mut spec_file = tempfile::tempfile()?;
        serde_json::to_writer(&mut spec_file, &spec)?;
        spec_file.flush()?;
        spec_file.rewind()?;
        let mut mappings = Vec::new();
        for (pipe, child_fd) in pipes.iter().zip(PIPE_DESCRIPTORS) {
            mappings.push(FdMapping { parent_fd: pipe.try_clone()?, child_fd });
        }
        // The link survives the replacement of the file on disk by an upgrade.
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command
            .arg(ARGUMENT)
            .env_clear()
            .env(WRITER_VAR, self.name())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(spec_file))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.fd_mappings(mappings).map_err(|_| io::Error::other("two pipes on one number"))?;
        let mut writer = command.spawn()?;
        Ok(Box::pin(async move {
            // How it ended is seen from the pipes.
            drop(writer.wait().await);
        }))
    }
}
