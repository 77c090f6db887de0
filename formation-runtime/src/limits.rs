//! Every bound of this process in one place.

use std::time::Duration;

use muxi_contract::launch::PROXIED_REQUESTS_MAX;
use muxi_service::accept::AcceptLimits;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub accept: AcceptLimits,
    /// The same of the socket over which a manager proxies and asks.
    pub accept_private: AcceptLimits,
    pub body_bytes: usize,
    /// For what a body holds besides its message, where the bundle lets messages be longer than that.
    pub body_bytes_besides: usize,
    pub body_read: Duration,
    /// A body that takes longer than that must arrive at least so fast.
    pub body_bytes_per_second: u64,
    /// Bodies with files that are read at the same time.
    pub large_bodies: usize,
    /// Bytes of the files of all turns at work or in a queue.
    pub file_bytes_at_work: usize,
    /// Of one message.
    pub files: usize,
    /// How much of the text of a message's files later messages of the session see.
    pub file_text_kept_bytes: usize,
    /// How long the head of a stream waits for the model's first word, so that an early failure
    /// can still be an HTTP error.
    pub head_hold: Duration,
    pub keepalive: Duration,
    /// Turns at work or in a queue, of all sessions together.
    pub turns: usize,
    /// Turns of one session: the one at work and those behind it.
    pub turns_per_session: usize,
    /// From asking the model to the end of its answer, unless the bundle lets a model be silent for
    /// longer. Without it a provider that only sends comments would keep a session for ever.
    pub turn: Duration,
    pub answer_bytes: usize,
    /// Files that are kept of one answer.
    pub answer_files: usize,
    /// Pieces of an answer that wait for a slow reader before the model is held up.
    pub updates_queued: usize,
    /// Of earlier messages in a prompt.
    pub history_bytes: usize,
    /// The same for the embedded models. A token is at least a byte, so this much always leaves room
    /// in their window of 4096 tokens; otherwise one session could fill it and never be answered again.
    pub history_bytes_local: usize,
    /// Sessions that a memory without a disk keeps.
    pub sessions_in_process: u32,
    /// Memories of all users that it keeps besides.
    pub memories_in_process: u32,
    /// Versions of files that were made for one user.
    pub artifacts_per_user: u32,
    /// Events from which a reader that comes back can go on.
    pub events_kept: usize,
    /// Silence of a stream of events before a comment.
    pub events_keepalive: Duration,
    /// Events that wait for one destination of logs; what comes then is dropped and counted.
    pub log_events_queued: usize,
    /// Of one call to a receiver of logs, and of one write.
    pub log_batch_events: usize,
    /// How long an event waits for others that go with it in one call.
    pub log_linger: Duration,
    pub log_call: Duration,
    /// Waits between calls double from the first one to the longest; after `log_retry_for` the events
    /// are dropped.
    pub log_retry_first: Duration,
    pub log_retry_longest: Duration,
    pub log_retry_for: Duration,
    /// For what is queued when the process stops; shorter than `settle`.
    pub log_flush: Duration,
    /// Between two looks at what another process does.
    pub store_look: Duration,
    /// Acts of operators that are remembered; the oldest are forgotten first.
    pub audit_entries: u32,
    /// After closing: for turns to write their ends down.
    pub settle: Duration,
}

/// For a manager's idle connections, and for its questions.
const PRIVATE_RESERVE: usize = 128;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        let accept = AcceptLimits {
            connections: 1_600,
            header_read: Duration::from_secs(30),
            write_stall: Duration::from_mins(1),
        };
        Self {
            accept,
            accept_private: AcceptLimits {
                connections: PROXIED_REQUESTS_MAX + PRIVATE_RESERVE,
                ..accept
            },
            body_bytes: 1024 * 1024,
            body_bytes_besides: 64 * 1024,
            body_read: Duration::from_secs(30),
            body_bytes_per_second: 128 * 1024,
            large_bodies: 16,
            file_bytes_at_work: 512 * 1024 * 1024,
            files: 10,
            file_text_kept_bytes: 64 * 1024,
            head_hold: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            // Each has a connection to its caller and one to its model.
            turns: 1_536,
            turns_per_session: 8,
            turn: Duration::from_mins(10),
            answer_bytes: 8 * 1024 * 1024,
            answer_files: 16,
            updates_queued: 64,
            history_bytes: 400_000,
            history_bytes_local: 3_000,
            sessions_in_process: 10_000,
            memories_in_process: 10_000,
            artifacts_per_user: 10_000,
            events_kept: 10_000,
            events_keepalive: Duration::from_secs(15),
            log_events_queued: 4_096,
            log_batch_events: 256,
            log_linger: Duration::from_millis(500),
            log_call: Duration::from_secs(10),
            log_retry_first: Duration::from_secs(1),
            log_retry_longest: Duration::from_secs(30),
            log_retry_for: Duration::from_mins(5),
            log_flush: Duration::from_secs(2),
            store_look: Duration::from_secs(1),
            audit_entries: 100_000,
            settle: Duration::from_secs(3),
        }
    }
}
