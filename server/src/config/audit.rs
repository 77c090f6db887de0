//! How much of the audit log is kept.

use serde::{Deserialize, Serialize};

/// What is older or more is pruned; the chain of hashes goes on from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// 0 keeps entries for ever, up to `entries_max`.
    pub keep_days: u32,
    /// About 500 bytes of disk each.
    pub entries_max: u64,
}

// === impl AuditConfig ===

impl Default for AuditConfig {
    fn default() -> Self {
        Self { keep_days: 365, entries_max: 2_000_000 }
    }
}

impl AuditConfig {
    pub(super) fn faults(self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.keep_days > 36_500 {
            faults.push("audit.keep_days must be 0 to 36500".to_owned());
        }
        if !(1_000..=1_000_000_000).contains(&self.entries_max) {
            faults.push("audit.entries_max must be 1000 to 1000000000".to_owned());
        }
        faults
    }
}
