//! Decisions of before, so that the same question is not asked of a model twice.

use std::collections::HashMap;

use super::{Candidate, Decision, Procedure, Route, fingerprint, is_follow_up};
use crate::text::normalised;

/// Longer messages are hardly ever sent again, and would fill the memory.
const MESSAGE_BYTES: usize = 2_000;

/// A bounded number of decisions, each for a time. Whoever may use other agents never meets a decision of
/// another, since the candidates are part of the key.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    capacity: usize,
    ttl_ms: u64,
}

/// All that a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    message: String,
    choices: u64,
    last_agent: Option<String>,
}

#[derive(Debug)]
struct Entry {
    decision: Decision,
    made_at_ms: u64,
}

// === impl Cache ===

impl Cache {
    pub fn new(capacity: usize, ttl_ms: u64) -> Self {
        Self { entries: HashMap::new(), capacity, ttl_ms }
    }

    pub fn get(&self, key: &Key, now_ms: u64) -> Option<&Decision> {
        let entry = self.entries.get(key)?;
        self.is_fresh(entry, now_ms).then_some(&entry.decision)
    }

    /// Keeps what depends on nothing but its key: a choice of an agent or of a procedure. An answer, a
    /// question and a plan depend on what was said before.
    pub fn put(&mut self, key: Key, decision: &Decision, now_ms: u64) {
        let is_choice = match decision.route {
            Route::Agent { .. } | Route::Procedure { .. } => true,
            Route::Direct { .. } | Route::Workflow { .. } | Route::Clarify { .. } => false,
        };
        if self.capacity == 0 || !is_choice {
            return;
        }
        if !self.entries.contains_key(&key) && self.entries.len() >= self.capacity {
            self.make_room(now_ms);
        }
        self.entries.insert(key, Entry { decision: decision.clone(), made_at_ms: now_ms });
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_fresh(&self, entry: &Entry, now_ms: u64) -> bool {
        now_ms.saturating_sub(entry.made_at_ms) < self.ttl_ms
    }

    /// What is over goes; if nothing is, the oldest.
    fn make_room(&mut self, now_ms: u64) {
        let ttl_ms = self.ttl_ms;
        self.entries.retain(|_, entry| now_ms.saturating_sub(entry.made_at_ms) < ttl_ms);
        if self.entries.len() < self.capacity {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.made_at_ms);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.entries.remove(&oldest);
        }
    }
}

// === impl Key ===

impl Key {
    /// Nothing when the message leans on what was said before it, or is too long to be sent again.
    pub fn of(
        message: &str,
        candidates: &[Candidate],
        procedures: &[Procedure],
        last_agent: Option<&str>,
    ) -> Option<Self> {
        if message.len() > MESSAGE_BYTES || is_follow_up(message) {
            return None;
        }
        let message = normalised(message);
        (!message.is_empty()).then(|| Self {
            message,
            choices: fingerprint(candidates, procedures),
            last_agent: last_agent.map(ToOwned::to_owned),
        })
    }
}
