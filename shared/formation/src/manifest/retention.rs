//! `memory.retention`, typed.

use serde::Deserialize;

/// How long the memory keeps what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MemoryRetention {
    /// What was said; for ever if it is 0.
    pub sessions_days: u32,
    /// What became of requests, counted from their ends.
    pub requests_hours: u32,
}

// === impl MemoryRetention ===

impl Default for MemoryRetention {
    fn default() -> Self {
        Self { sessions_days: 0, requests_hours: 24 }
    }
}
