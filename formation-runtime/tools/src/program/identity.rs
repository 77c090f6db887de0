//! Which process it was, told so that another process can find it later, with all that it started.

use std::collections::HashSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Process id, start time and boot: together they never name two processes of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pid: i32,
    start: u64,
    boot: String,
}

/// What the kernel says of a process.
struct Stat {
    group: i32,
    session: i32,
    start: u64,
}

/// Looks at the session while it is being ended. Who was killed starts nobody any more, so that only a
/// storm of processes takes more than two.
const LOOKS_MAX: usize = 64;

// === impl Identity ===

impl Identity {
    pub(crate) fn of(pid: i32) -> Self {
        // A process that has ended by now is found by nobody, as it should be.
        let start = stat(pid).map(|it| it.start).unwrap_or_default();
        Self { pid, start, boot: boot() }
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    /// This process.
    pub fn own() -> Self {
        Self::of(Pid::this().as_raw())
    }

    pub fn is_alive(&self) -> bool {
        self.boot == boot() && stat(self.pid).is_some_and(|it| it.start == self.start)
    }

    /// Ends what is left of its session, or of its group if it leads only that; whether anything was.
    pub fn kill(&self) -> bool {
        self.boot == boot() && self.signal(Signal::SIGKILL)
    }

    /// To every process of its session or group, until there is none that has not got it; whether there was one.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let mut told = HashSet::new();
        for _ in 0..LOOKS_MAX {
            let new: Vec<i32> = self.members().into_iter().filter(|it| told.insert(*it)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                // One that has ended meanwhile is what is wanted.
                let _gone = kill(Pid::from_raw(pid), signal);
            }
        }
        !told.is_empty()
    }

    /// The process, which leads nothing in its first moments, and all that it leads.
    fn members(&self) -> Vec<i32> {
        // The number is nobody else's while a process of the session is left.
        if stat(self.pid).is_some_and(|it| it.start != self.start) {
            return Vec::new();
        }
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_member = |pid: &i32| {
            let of = |it: Stat| {
                it.start >= self.start && (it.session == self.pid || it.group == self.pid)
            };
            stat(*pid).is_some_and(|it| *pid == self.pid || of(it))
        };
        pids.filter(is_member).collect()
    }
}

// === private helpers ===

fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// The fields 5, 6 and 22 of the kernel's line; the name before them may hold blanks and brackets.
fn stat(pid: i32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // Nobody is left in a zombie.
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let number = |at: usize| fields.get(at)?.parse().ok();
    Some(Stat { group: number(2)?, session: number(3)?, start: fields.get(19)?.parse().ok()? })
}
