//! Processes: the only file that touches process ids.
//!
//! A process is known by id, start time and boot, so that a reused id is never taken for it.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use command_fds::CommandFdExt as _;
use command_fds::FdMapping;
use futures_util::future::BoxFuture;
use muxi_contract::launch::LaunchSpec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::sync::{mpsc, oneshot};

use crate::jail;

/// The environment variable by which an instance is found whose id was not noted in time.
pub const INSTANCE_VAR: &str = "MUXI_INSTANCE_ID";

/// One process of one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    pub boot_id: String,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit(pub String);

/// A living process. `wait` resolves once it is gone.
pub struct Process {
    pub handle: Handle,
    pub wait: BoxFuture<'static, Exit>,
}

/// Reaches one process and never another that got its id.
#[derive(Debug)]
pub struct Handle {
    pub identity: Identity,
    pidfd: OwnedFd,
}

/// What a new process is given besides its spec.
#[derive(Debug)]
pub struct Descriptors {
    pub stdout: fs::File,
    pub stderr: fs::File,
    /// Become descriptors 3, 4, … of the program.
    pub sockets: Vec<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("failed to write the launch spec")]
    Spec(#[source] std::io::Error),
    #[error("failed to start the launcher")]
    Spawn(#[source] std::io::Error),
    #[error("the new process could not be watched, so it was ended")]
    Watch,
    #[error("failed to look at process {pid}")]
    Look { pid: u32, source: std::io::Error },
}

/// A failing wait is tried again after this.
const POLL_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits for descriptors that tokio cannot wait for, mostly processes that are not our children,
/// on one thread.
#[derive(Debug, Clone)]
pub struct Reaper {
    new: mpsc::Sender<(OwnedFd, oneshot::Sender<()>)>,
    wake: std::sync::Arc<OwnedFd>,
}

/// Starts the launcher in a process group of its own. Its descriptor table and environment hold
/// only what is named here.
pub fn spawn(
    spec: &LaunchSpec,
    instance: &str,
    descriptors: Descriptors,
) -> Result<Process, ProcessError> {
    let spec_file = jail::spec_file(spec).map_err(ProcessError::Spec)?;
    let mut mappings = Vec::new();
    for (child_fd, parent_fd) in (3..).zip(descriptors.sockets) {
        mappings.push(FdMapping { parent_fd, child_fd });
    }
    // The link survives the replacement of the file on disk by an upgrade.
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command
        .arg(jail::ARGUMENT)
        .arg(instance)
        .env_clear()
        .env(INSTANCE_VAR, instance)
        .process_group(0)
        .stdin(Stdio::from(spec_file))
        .stdout(Stdio::from(descriptors.stdout))
        .stderr(Stdio::from(descriptors.stderr));
    command.fd_mappings(mappings).map_err(|_| {
        ProcessError::Spawn(std::io::Error::other("two sockets claim the same descriptor"))
    })?;
    let mut child = command.spawn().map_err(ProcessError::Spawn)?;
    let Some(handle) = child.id().and_then(|pid| Handle::open(Identity::of(pid).ok()??).ok()?)
    else {
        // Nobody else knows of it.
        let _ended_already = child.start_kill();
        return Err(ProcessError::Watch);
    };
    let wait = Box::pin(async move {
        match child.wait().await {
            Ok(status) => Exit(status.to_string()),
            Err(error) => Exit(error.to_string()),
        }
    });
    Ok(Process { handle, wait })
}

/// Takes over a process that another manager started; `None` if it is gone.
pub fn adopt(identity: Identity, reaper: &Reaper) -> Result<Option<Process>, ProcessError> {
    let pid = identity.pid;
    let look = |source| ProcessError::Look { pid, source };
    let Some(handle) = Handle::open(identity).map_err(look)? else { return Ok(None) };
    let watched = handle.pidfd.try_clone().map_err(look)?;
    let gone = reaper.readable(watched).ok_or(ProcessError::Watch)?;
    let wait = Box::pin(async move {
        // An error means that the reaper ended with this manager; nobody asks then.
        let _gone = gone.await;
        Exit("ended; its status went to another manager".to_owned())
    });
    Ok(Some(Process { handle, wait }))
}

/// Looks for a process by the instance id in its environment.
pub fn find(instance: &str) -> Option<Identity> {
    find_by(INSTANCE_VAR, instance)
}

/// Looks for a process by a variable of its environment.
pub fn find_by(variable: &str, value: &str) -> Option<Identity> {
    let wanted = format!("{variable}={value}");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let found = environment.split(|byte| *byte == 0).any(|it| it == wanted.as_bytes());
        if found { Identity::of(pid).ok()? } else { None }
    })
}

/// The ids of all instances that have their private socket below `folder`, those of a manager that
/// is gone included.
pub fn instances_below(folder: &std::path::Path) -> Vec<u32> {
    let wanted = format!("{INSTANCE_VAR}={}/", folder.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|it| it.starts_with(wanted.as_bytes()))
    };
    pids.filter(is_one).filter(|pid| matches!(Identity::of(*pid), Ok(Some(_)))).collect()
}

// === impl Handle ===

impl Handle {
    /// `None` if the process is gone.
    fn open(identity: Identity) -> std::io::Result<Option<Self>> {
        let Some(pid) = group(&identity) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Compared after the descriptor is held, so that it is certainly this process.
        let same = Identity::of(identity.pid)?.as_ref() == Some(&identity);
        Ok(same.then_some(Self { identity, pidfd }))
    }

    /// Asks the process and its descendants to end.
    pub fn terminate(&self) {
        self.signal_group(Signal::TERM);
    }

    /// Ends the process and its descendants.
    pub fn kill(&self) {
        self.signal_group(Signal::KILL);
    }

    /// Ends what a dead leader left behind in its group.
    pub fn sweep_group(&self) {
        // An id that somebody else got is the id of another group.
        if let Ok(None) = Identity::of(self.identity.pid)
            && let Some(pid) = group(&self.identity)
        {
            // No such group is the usual and wanted answer.
            let _none_left = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }

    fn signal_group(&self, signal: Signal) {
        // As long as the leader lives, its id cannot name another group.
        if self.has_ended() {
            return;
        }
        if let Some(pid) = group(&self.identity)
            && let Err(error) = rustix::process::kill_process_group(pid, signal)
        {
            tracing::debug!(pid = self.identity.pid, %error, "the process group is gone already");
        }
    }

    fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

fn group(identity: &Identity) -> Option<Pid> {
    i32::try_from(identity.pid).ok().and_then(Pid::from_raw)
}

// === impl Identity ===

impl Identity {
    /// The identity of a living process, `None` if there is none; a zombie is dead.
    pub fn of(pid: u32) -> std::io::Result<Option<Self>> {
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // The process went while it was read.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(parse_stat(&stat).map(|start_ticks| Self { pid, start_ticks, boot_id }))
    }
}

/// The start time of a process that lives.
fn parse_stat(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; the fields after it are plain.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let dead = matches!(*fields.first()?, "Z" | "X");
    if dead { None } else { fields.get(19)?.parse().ok() }
}

// === impl Reaper ===

impl Reaper {
    /// Starts the thread; it ends with the last handle.
    pub fn start() -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let (new, queue) = mpsc::channel(1_024);
        let wake = std::sync::Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let thread_wake = std::sync::Arc::clone(&wake);
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || reap(queue, &thread_wake))?;
        Ok(Self { new, wake })
    }

    /// Resolves once there is something to read, such as the end of a process or a connection.
    pub fn readable(&self, descriptor: OwnedFd) -> Option<oneshot::Receiver<()>> {
        let (gone, answer) = oneshot::channel();
        self.new.try_send((descriptor, gone)).ok()?;
        rustix::io::write(&*self.wake, &1u64.to_ne_bytes()).ok()?;
        Some(answer)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // Wakes the thread so that it sees whether this was the last handle.
        let _thread_gone = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("identity", &self.handle.identity).finish_non_exhaustive()
    }
}

fn reap(mut queue: mpsc::Receiver<(OwnedFd, oneshot::Sender<()>)>, wake: &OwnedFd) {
    let mut watched: Vec<(OwnedFd, Option<oneshot::Sender<()>>)> = Vec::new();
    loop {
        loop {
            match queue.try_recv() {
                Ok((pidfd, gone)) => watched.push((pidfd, Some(gone))),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        let mut descriptors = vec![PollFd::new(wake, PollFlags::IN)];
        descriptors.extend(watched.iter().map(|(pidfd, _)| PollFd::new(pidfd, PollFlags::IN)));
        match poll(&mut descriptors, None) {
            Ok(_) => {}
            // An interrupted wait is only an early look.
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "processes cannot be watched");
                std::thread::sleep(POLL_RETRY);
                continue;
            }
        }
        let ready: Vec<bool> = descriptors.iter().map(|it| !it.revents().is_empty()).collect();
        drop(descriptors);
        let mut count = [0u8; 8];
        let _nothing_to_read = rustix::io::read(wake, &mut count);
        for ((_, gone), ready) in watched.iter_mut().zip(&ready[1..]) {
            if *ready && let Some(gone) = gone.take() {
                // The asker may have ended meanwhile.
                let _asker_gone = gone.send(());
            }
        }
        watched.retain(|(_, gone)| gone.is_some());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[tokio::test]
    async fn an_adopted_process_is_seen_to_end() {
        let mut child =
            std::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap().unwrap();
        let process = adopt(identity.clone(), &Reaper::start().unwrap()).unwrap().unwrap();
        process.handle.kill();
        child.wait().unwrap();
        process.wait.await;
        assert_eq!(Identity::of(identity.pid).unwrap(), None);
        assert!(process.handle.has_ended());
    }

    #[test]
    fn a_reused_process_id_is_another_process() {
        let mut identity = Identity::of(std::process::id()).unwrap().unwrap();
        identity.start_ticks -= 1;
        assert!(adopt(identity, &Reaper::start().unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_process_is_found_by_its_instance() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .env(INSTANCE_VAR, "found-1.7")
            .spawn()
            .unwrap();
        // The environment shows once the child has become `sleep`.
        while find("found-1.7").is_none() {
            std::thread::yield_now();
        }
        assert_eq!(find("found-1.7").unwrap().pid, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
