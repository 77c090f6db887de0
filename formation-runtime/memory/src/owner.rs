//! Which process answers a turn, told so that it can be checked later whether it still lives.
//!
//! Two generations of a formation share one database while one replaces the other, so "running"
//! alone does not tell that a turn was cut off.

use std::fmt;
use std::fs;

/// Process id, start time and boot id: together they never name two processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    start: u64,
    boot: String,
}

// === impl Owner ===

impl Owner {
    pub(crate) fn this_process() -> Self {
        let pid = std::process::id();
        Self { pid, start: start_time(pid).unwrap_or(0), boot: boot_id() }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        Some(Self { pid, start, boot: parts.next()?.to_owned() })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.start)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.pid, self.start, self.boot)
    }
}

// === private helpers ===

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Field 22 of the kernel's line; the command name before it may hold blanks and brackets.
fn start_time(pid: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    // A zombie answers nobody any more.
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_recognised_by_more_than_its_pid() {
        let this = Owner::this_process();
        assert!(Owner::parse(&this.to_string()).unwrap().is_alive());
        assert!(!Owner { start: this.start + 1, ..this.clone() }.is_alive());
        assert!(!Owner { boot: "another boot".to_owned(), ..this }.is_alive());
        assert_eq!(Owner::parse("nonsense"), None);
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let state = |pid: u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            line.rsplit_once(')').unwrap().1.trim_start().chars().next().unwrap()
        };
        while state(child.id()) != 'Z' {
            std::thread::yield_now();
        }
        assert_eq!(start_time(child.id()), None);
        child.wait().unwrap();
    }
}
