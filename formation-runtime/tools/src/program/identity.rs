//! Which process it was, told so that another process can find it later.

use std::fs;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Process id, start time and boot: together they never name two processes of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pid: i32,
    start: u64,
    boot: String,
}

// === impl Identity ===

impl Identity {
    pub(super) fn of(pid: i32) -> Self {
        // A process that has ended by now is found by nobody, as it should be.
        Self { pid, start: start_time(pid).unwrap_or_default(), boot: boot() }
    }

    pub const fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_alive(&self) -> bool {
        self.boot == boot() && start_time(self.pid) == Some(self.start)
    }

    /// Ends its group if the process is still there; whether it was.
    pub fn kill(&self) -> bool {
        let is_alive = self.is_alive();
        if is_alive {
            self.signal(Signal::SIGKILL);
        }
        is_alive
    }
}

// === private helpers ===

fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// Field 22 of the kernel's line; the command name before it may hold blanks and brackets.
fn start_time(pid: i32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    // Nobody is left in a zombie.
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18)?.parse().ok())?
}
