//! Every bound of this process in one place.

use std::time::Duration;

use muxi_service::accept::AcceptLimits;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub accept: AcceptLimits,
    pub body_bytes: usize,
    pub body_read: Duration,
    /// How long the head of a stream waits for the model's first word, so that an early failure
    /// can still be an HTTP error.
    pub head_hold: Duration,
    pub keepalive: Duration,
    /// Turns at work or in a queue, of all sessions together.
    pub turns: usize,
    /// Turns of one session: the one at work and those behind it.
    pub turns_per_session: usize,
    /// Pieces of an answer that wait for a slow reader before the model is held up.
    pub updates_queued: usize,
    /// Of one turn, to look up and write down.
    pub history_chars: usize,
    /// The same for the embedded models, whose window is small.
    pub history_chars_local: usize,
    /// Sessions that a memory without a disk keeps.
    pub sessions_in_process: u32,
    /// After closing: for turns to write their ends down.
    pub settle: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            accept: AcceptLimits { connections: 1024, header_read: Duration::from_secs(30) },
            body_bytes: 1024 * 1024,
            body_read: Duration::from_secs(30),
            head_hold: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            turns: 512,
            turns_per_session: 8,
            updates_queued: 64,
            history_chars: 200_000,
            history_chars_local: 6_000,
            sessions_in_process: 10_000,
            settle: Duration::from_secs(3),
        }
    }
}
