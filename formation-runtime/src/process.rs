//! What this process uses, as the kernel counts it.

use std::fs;

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    resident_kb: u64,
    cpu_ticks: u64,
}

/// `None` where the kernel does not tell.
pub fn usage() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15 of the line: user and system time; the name before them may hold blanks.
    let mut times = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(Usage {
        resident_kb: resident.split_ascii_whitespace().next()?.parse().ok()?,
        cpu_ticks: times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?,
    })
}

// === impl Usage ===

impl Usage {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn resident_mb(self) -> f64 {
        round(self.resident_kb as f64 / 1024.0)
    }

    /// The mean since the start; of one core, so that two busy cores are 200.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn cpu_percent(self, uptime_seconds: i64) -> f64 {
        round(self.cpu_ticks as f64 / TICKS_PER_SECOND / (uptime_seconds.max(1) as f64) * 100.0)
    }
}

/// The kernel shows times to programs in this unit on every machine that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
