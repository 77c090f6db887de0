//! One destination as those see it who tell: what it takes, its queue, and what became of it all.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::events::{Event, EventKind, Level};

/// Where events wait for a worker.
pub struct Destination {
    pub shown: Shown,
    takes: Takes,
    queue: mpsc::Sender<Arc<Event>>,
    queued: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    /// From the first event that had no room until something gets through again.
    is_overflowing: AtomicBool,
    last_error: Mutex<Option<(Timestamp, String)>>,
}

/// What an operator sees of it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its place in the manifest's section.
    pub name: String,
    pub transport: &'static str,
    pub target: String,
    pub format: &'static str,
    pub auth: Option<&'static str>,
}

/// Which events it wants.
#[derive(Debug, Clone)]
pub struct Takes {
    pub level: Level,
    pub events: Vec<String>,
    is_system: bool,
}

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is queued, or not wanted.
    Fine,
    Dropped,
    /// The first of those that have no room.
    FirstDropped,
}

/// What became of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub queued: u64,
    pub sent: u64,
    pub dropped: u64,
    pub last_error: Option<(Timestamp, String)>,
}

// === impl Takes ===

impl Takes {
    pub fn system(level: Level) -> Self {
        Self { level, events: Vec::new(), is_system: true }
    }

    /// Without patterns, everything that happens in conversations; with them, what they say.
    pub fn conversations(level: Level, events: Vec<String>) -> Self {
        Self { level, events, is_system: false }
    }

    pub fn takes(&self, kind: EventKind) -> bool {
        kind.level() >= self.level
            && if self.events.is_empty() {
                kind.is_system() == self.is_system
            } else {
                self.events.iter().any(|pattern| fits(pattern, kind.name()))
            }
    }

    /// Those of its patterns that no kind of event has.
    pub fn pointless(&self) -> impl Iterator<Item = &str> {
        let is_pointless =
            |pattern: &&String| !EventKind::ALL.iter().any(|kind| fits(pattern, kind.name()));
        self.events.iter().filter(is_pointless).map(String::as_str)
    }
}

// === impl Destination ===

impl Destination {
    pub(super) fn new(shown: Shown, takes: Takes, queue: mpsc::Sender<Arc<Event>>) -> Self {
        Self {
            shown,
            takes,
            queue,
            queued: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            is_overflowing: AtomicBool::new(false),
            last_error: Mutex::new(None),
        }
    }

    pub fn takes(&self) -> &Takes {
        &self.takes
    }

    /// Never waits.
    pub fn offer(&self, event: &Arc<Event>) -> Offered {
        if !self.takes.takes(event.kind) {
            return Offered::Fine;
        }
        // First, so that a fast worker cannot count below nothing.
        self.queued.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Arc::clone(event)).is_ok() {
            return Offered::Fine;
        }
        self.drop_queued(1);
        let is_first = !self.is_overflowing.swap(true, Ordering::Relaxed);
        if is_first { Offered::FirstDropped } else { Offered::Dropped }
    }

    pub fn state(&self) -> State {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        State {
            queued: self.queued.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            last_error,
        }
    }

    pub(super) fn note_sent(&self, count: u64) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
        self.sent.fetch_add(count, Ordering::Relaxed);
        self.is_overflowing.store(false, Ordering::Relaxed);
    }

    pub(super) fn drop_queued(&self, count: u64) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn note_error(&self, at: Timestamp, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, error));
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Destination").field(&self.shown.name).finish()
    }
}

// === private helpers ===

/// Whether a text is what the pattern says, where `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fitting) in [
            ("chat.*", "chat.started", true),
            ("*", "chat.started", true),
            ("*.started", "chat.started", true),
            ("c*.s*d", "chat.started", true),
            ("chat.started", "chat.started", true),
            ("chat", "chat.started", false),
            ("*.failed", "chat.started", false),
            ("chat.started*x", "chat.started", false),
            ("", "chat.started", false),
        ] {
            assert_eq!(fits(pattern, text), fitting, "{pattern}");
        }
    }

    #[test]
    fn a_destination_takes_what_it_is_for() {
        let system = Takes::system(Level::Info);
        let errors = Takes::conversations(Level::Error, Vec::new());
        let named = Takes::conversations(Level::Debug, vec!["*.failed".into(), "nothing.*".into()]);
        let taken = |takes: &Takes| -> Vec<&str> {
            let kinds = [
                EventKind::FormationStarted,
                EventKind::ChatStarted,
                EventKind::ChatFailed,
                EventKind::WebhookFailed,
            ];
            kinds.into_iter().filter(|kind| takes.takes(*kind)).map(EventKind::name).collect()
        };
        assert_eq!(taken(&system), ["formation.started", "webhook.failed"]);
        assert_eq!(taken(&errors), ["chat.failed"]);
        assert_eq!(taken(&named), ["chat.failed", "webhook.failed"]);
        assert_eq!(named.pointless().collect::<Vec<_>>(), ["nothing.*"]);
    }
}
