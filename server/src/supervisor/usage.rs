//! What a process uses, as the kernel counts it. It only reads.

use std::fs;

/// A look at one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub cpu_seconds: f64,
    pub threads: u64,
    /// Seconds after the machine's start at which the process began.
    pub started_seconds: f64,
}

/// `None` if there is no such process any more.
pub fn of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat, rustix::param::page_size() as u64, rustix::param::clock_ticks_per_second())
}

/// Open descriptors of this process.
pub fn own_descriptors() -> Option<u64> {
    // One of them is the one that this looks with.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

/// Unix seconds at which the machine started.
pub fn boot_time_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn parse(stat: &str, page_bytes: u64, ticks_per_second: u64) -> Option<Usage> {
    // The name in parentheses may hold anything; the fields after it are plain, the first is the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    #[expect(clippy::cast_precision_loss, reason = "ticks of years fit a double exactly")]
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
    Some(Usage {
        resident_bytes: field(24)?.checked_mul(page_bytes)?,
        virtual_bytes: field(23)?,
        cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?),
        threads: field(20)?,
        started_seconds: seconds(field(22)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1200 8192 3 1";
        let expected = Usage {
            resident_bytes: 3 * 4096,
            virtual_bytes: 8192,
            cpu_seconds: 2.0,
            threads: 7,
            started_seconds: 12.0,
        };
        assert_eq!(parse(stat, 4096, 100), Some(expected));
        assert_eq!(parse("42 (a) S 1", 4096, 100), None);
    }

    #[test]
    fn this_process_is_seen() {
        let usage = of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0 && usage.threads > 0);
        assert!(own_descriptors().unwrap() > 0 && boot_time_seconds().unwrap() > 0);
    }
}
