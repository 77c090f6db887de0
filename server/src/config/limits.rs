//! Every bound of the manager with its default and the values that make sense.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Every bound of the manager, in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Compressed size of an upload.
    pub bundle_bytes: u64,
    pub unpacked_bytes: u64,
    pub entries: u32,
    /// Size of one unpacked file.
    pub file_bytes: u64,
    /// Silence of an uploader before it is cut off.
    pub upload_idle_ms: u64,
    /// One whole upload.
    pub upload_ms: u64,
    /// Bundles that are received and unpacked at once; further ones wait.
    pub deploys_at_once: usize,
    /// Formations that come back with the manager and start at once; further ones wait until one of
    /// them is healthy or has failed.
    pub starts_at_once: usize,
    pub header_read_ms: u64,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_stall_ms: u64,
    pub connections: usize,
    /// From a stop signal to the end of the manager, formations included.
    pub shutdown_ms: u64,
    /// From a proxied request to the head of its answer. Model calls may take minutes.
    pub proxy_head_ms: u64,
    /// Between two looks at how much disk each formation uses, in seconds.
    pub disk_check_s: u32,
    /// Lines of an instance's log that a failed start reports.
    pub log_tail_lines: usize,
    /// Formations on this manager.
    pub formations: u32,
    /// With less room than this on the disk of the data folder, nothing new is taken.
    pub disk_free_min_bytes: u64,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            bundle_bytes: 256 << 20,
            unpacked_bytes: 1 << 30,
            entries: 20_000,
            file_bytes: 64 << 20,
            upload_idle_ms: 30_000,
            upload_ms: 600_000,
            deploys_at_once: 4,
            starts_at_once: 8,
            header_read_ms: 30_000,
            write_stall_ms: 60_000,
            connections: 4_096,
            shutdown_ms: 30_000,
            proxy_head_ms: 600_000,
            disk_check_s: 30,
            log_tail_lines: 20,
            formations: 1_000,
            disk_free_min_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// Each limit with the values that make sense.
    pub(super) fn ranges(&self) -> Vec<(&'static str, u64, RangeInclusive<u64>)> {
        const TIB: u64 = 1 << 40;
        const HOUR_MS: u64 = 3_600_000;
        let count = |value: usize| value as u64;
        vec![
            ("bundle_bytes", self.bundle_bytes, 1_024..=TIB),
            ("unpacked_bytes", self.unpacked_bytes, 1_024..=TIB),
            ("entries", self.entries.into(), 1..=1_000_000),
            ("file_bytes", self.file_bytes, 1_024..=TIB),
            ("upload_idle_ms", self.upload_idle_ms, 100..=HOUR_MS),
            ("upload_ms", self.upload_ms, 1_000..=24 * HOUR_MS),
            ("deploys_at_once", count(self.deploys_at_once), 1..=1_000),
            ("starts_at_once", count(self.starts_at_once), 1..=1_000),
            ("header_read_ms", self.header_read_ms, 100..=HOUR_MS),
            ("write_stall_ms", self.write_stall_ms, 100..=HOUR_MS),
            ("connections", count(self.connections), 1..=1_000_000),
            ("shutdown_ms", self.shutdown_ms, 100..=HOUR_MS),
            ("proxy_head_ms", self.proxy_head_ms, 100..=24 * HOUR_MS),
            ("disk_check_s", self.disk_check_s.into(), 1..=86_400),
            ("log_tail_lines", count(self.log_tail_lines), 1..=1_000),
            ("formations", self.formations.into(), 1..=65_535),
            ("disk_free_min_bytes", self.disk_free_min_bytes, 0..=TIB),
        ]
    }
}
