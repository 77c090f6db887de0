//! Which process answers a turn, told so that it can be checked later whether it still lives.
//!
//! Two generations of a formation share one database while one replaces the other, and processes on
//! several machines may share a server, so "running" alone does not tell that a turn was cut off.

use std::fmt;
use std::fs;

use crate::sql::{DatabaseError, Transaction, values};

/// Process id, start time and machine: together they never name two processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    start: u64,
    machine: String,
}

/// A process on another machine that said nothing for so long is dead.
const SILENCE_MS: i64 = 60_000;

/// Says that this process lives.
pub(crate) fn note_life(transaction: &mut Transaction<'_>, own: &str) -> Result<(), DatabaseError> {
    let now_ms = transaction.now_ms()?;
    transaction.execute(
        "INSERT INTO processes (owner, seen_ms) VALUES (?1, ?2)
         ON CONFLICT (owner) DO UPDATE SET seen_ms = excluded.seen_ms",
        values![own, now_ms],
    )?;
    transaction
        .execute("DELETE FROM processes WHERE seen_ms < ?1", values![now_ms - 60 * SILENCE_MS])?;
    Ok(())
}

/// Whether the process may still work on what is its.
pub(crate) fn lives(transaction: &mut Transaction<'_>, owner: &str) -> Result<bool, DatabaseError> {
    let Some(owner) = Owner::parse(owner) else { return Ok(false) };
    if owner.machine == machine() {
        return Ok(start_time(owner.pid) == Some(owner.start));
    }
    let since_ms = transaction.now_ms()? - SILENCE_MS;
    let seen = transaction.first(
        "SELECT 1 FROM processes WHERE owner = ?1 AND seen_ms > ?2",
        values![&owner.to_string(), since_ms],
        |_| Ok(()),
    )?;
    Ok(seen.is_some())
}

// === impl Owner ===

impl Owner {
    pub(crate) fn this_process() -> Self {
        let pid = std::process::id();
        Self { pid, start: start_time(pid).unwrap_or(0), machine: machine() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        Some(Self { pid, start, machine: parts.next()?.to_owned() })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.pid, self.start, self.machine)
    }
}

// === private helpers ===

/// One boot of one machine, as far as process ids mean the same there: containers have their own.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let inode: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("{}/{inode}", boot.trim())
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
    fn an_owner_is_read_as_it_was_written() {
        let this = Owner::this_process();
        assert_eq!(Owner::parse(&this.to_string()), Some(this));
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
