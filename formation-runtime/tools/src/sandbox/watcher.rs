//! What ends a script when the process that wanted it is killed outright: a process beside it that waits
//! for both. It is started twice over, so that it is no child of the script, which may wait for its own.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::program::Identity;

/// Stands where the launcher's spec does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// As long as this process is there, the script is its affair.
    owner: Identity,
    /// Leads the group of the script.
    script: Identity,
    is_detached: bool,
}

/// A program must be named after the spec.
const NO_PROGRAM: &str = "watch";

impl Watch {
    /// Over this process, before it becomes the script. `spec` is the argument that it got.
    pub(super) fn begin(owner: Identity, spec: &str) -> io::Result<()> {
        let watch = Self { owner, script: Identity::own(), is_detached: false };
        let status = watch.start(spec)?.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended: {status}"))) }
    }

    /// Returns when there is nothing left to watch.
    pub(super) fn run(mut self, spec: &str) -> io::Result<()> {
        if !self.is_detached {
            self.is_detached = true;
            return self.start(spec).map(drop);
        }
        let (Some(owner), script) = (open(&self.owner)?, open(&self.script)?) else {
            return self.end();
        };
        let Some(script) = script else { return Ok(()) };
        let mut both = [PollFd::new(&owner, PollFlags::IN), PollFd::new(&script, PollFlags::IN)];
        while let Err(error) = poll(&mut both, None) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let is_over = |it: &PollFd<'_>| !it.revents().is_empty();
        if is_over(&both[0]) && !is_over(&both[1]) { self.end() } else { Ok(()) }
    }

    fn end(&self) -> io::Result<()> {
        if self.script.is_alive() {
            killpg(nix::unistd::Pid::from_raw(self.script.pid()), Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// This program once more, with nothing of the script's.
    fn start(&self, spec: &str) -> io::Result<std::process::Child> {
        let before = std::env::args_os().skip(1).take_while(|it| it != spec);
        Command::new("/proc/self/exe")
            .args(before)
            .arg(serde_json::to_string(self)?)
            .arg(NO_PROGRAM)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    }
}

/// `None` when it is gone.
fn open(process: &Identity) -> io::Result<Option<OwnedFd>> {
    let opened = Pid::from_raw(process.pid()).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match opened {
        // Its number may be another's by now.
        Some(Ok(opened)) => Ok(Some(opened).filter(|_| process.is_alive())),
        None | Some(Err(rustix::io::Errno::SRCH)) => Ok(None),
        Some(Err(error)) => Err(error.into()),
    }
}
