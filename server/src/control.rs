//! What the commands of an operator do to a manager that runs on the same data folder: find it by
//! its lock, signal it, and wait until it has done what it was told.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::layout::Layout;
use crate::running::{self, Holder, LastReload, Running};

/// Why a manager did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no manager runs on {0}; start it with `muxi-server start`")]
    NotRunning(String),
    #[error("the manager (process {0}) is still starting; try again in a moment")]
    Starting(u32),
    #[error("failed to look at the data folder {folder}")]
    Look { folder: String, source: io::Error },
    #[error("failed to signal process {pid}; are you its user?")]
    Signal { pid: u32, source: io::Error },
    #[error("the manager (process {pid}) has not {act} within {}s; its log says why", .waited.as_secs())]
    Slow { pid: u32, act: &'static str, waited: Duration },
    #[error("the reload was refused and changed nothing: {0}")]
    Refused(String),
}

const PAUSE: Duration = Duration::from_millis(20);
/// Reading a file takes far less.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

/// The manager that works on this data folder.
pub fn find(layout: &Layout) -> Result<Running, ControlError> {
    match look(layout)? {
        Holder::Manager(running) => Ok(*running),
        Holder::Starting { pid } => Err(ControlError::Starting(pid)),
        Holder::Nobody => Err(ControlError::NotRunning(layout.root().display().to_string())),
    }
}

/// Makes the manager read its configuration again, and waits for the outcome.
pub fn reload(layout: &Layout) -> Result<LastReload, ControlError> {
    let before = find(layout)?;
    signal(before.pid, Signal::HUP)?;
    let reloaded = wait(RELOAD_PATIENCE, || match look(layout)? {
        Holder::Manager(it) if it.pid == before.pid => {
            Ok((it.last_reload.number > before.last_reload.number).then_some(it.last_reload))
        }
        Holder::Manager(_) | Holder::Starting { .. } | Holder::Nobody => {
            Err(ControlError::NotRunning(layout.root().display().to_string()))
        }
    })?;
    let slow = || ControlError::Slow { pid: before.pid, act: "reloaded", waited: RELOAD_PATIENCE };
    let reloaded = reloaded.ok_or_else(slow)?;
    match reloaded.fault {
        Some(fault) => Err(ControlError::Refused(fault)),
        None => Ok(reloaded),
    }
}

/// Asks the manager to end, and waits until it has let go of the data folder. Its process id.
pub fn stop(layout: &Layout, patience: Duration) -> Result<u32, ControlError> {
    let pid = match look(layout)? {
        Holder::Manager(running) => running.pid,
        Holder::Starting { pid } => pid,
        Holder::Nobody => {
            return Err(ControlError::NotRunning(layout.root().display().to_string()));
        }
    };
    signal(pid, Signal::TERM)?;
    let ended = wait(patience, || Ok((look(layout)? == Holder::Nobody).then_some(())))?;
    ended.ok_or(ControlError::Slow { pid, act: "ended", waited: patience })?;
    Ok(pid)
}

fn look(layout: &Layout) -> Result<Holder, ControlError> {
    running::holder(layout).map_err(|source| ControlError::Look {
        folder: layout.root().display().to_string(),
        source,
    })
}

fn signal(pid: u32, signal: Signal) -> Result<(), ControlError> {
    let failed = |source| ControlError::Signal { pid, source };
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let id = id.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    kill_process(id, signal).map_err(|error| failed(error.into()))
}

fn wait<T>(
    patience: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, ControlError>,
) -> Result<Option<T>, ControlError> {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(Some(value));
        }
        if begun.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}
