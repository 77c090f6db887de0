//! What was asked and how it ended, kept in memory, oldest forgotten first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// Times are microseconds of the wall clock, to be compared with those of other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub id: u64,
    pub at_us: u64,
    pub path: String,
    /// Values that carry a key read `[hidden]`.
    pub headers: BTreeMap<String, String>,
    /// The request's JSON; `null` if it was none.
    pub body: Value,
    pub chunks_at_us: Vec<u64>,
    /// `None` while the answer is under way.
    pub outcome: Option<Outcome>,
    pub ended_at_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Finished,
    /// The client left before the end.
    ClientGone,
    /// The script ended the answer early.
    Cut,
    /// Answered with an error status.
    Refused,
}

#[derive(Debug)]
pub(super) struct Journal {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    next_id: u64,
    entries: VecDeque<Entry>,
}

const ENTRIES_MAX: usize = 10_000;

// === impl Journal ===

impl Default for Journal {
    fn default() -> Self {
        Self { book: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Journal {
    pub(super) fn open(&self, path: String, headers: BTreeMap<String, String>, body: Value) -> u64 {
        let mut book = self.book();
        let id = book.next_id;
        book.next_id += 1;
        if book.entries.len() == ENTRIES_MAX {
            book.entries.pop_front();
        }
        book.entries.push_back(Entry {
            id,
            at_us: now_us(),
            path,
            headers,
            body,
            chunks_at_us: Vec::new(),
            outcome: None,
            ended_at_us: None,
        });
        drop(book);
        self.changed.send_replace(());
        id
    }

    pub(super) fn chunk_sent(&self, id: u64) {
        self.update(id, |entry| entry.chunks_at_us.push(now_us()));
    }

    pub(super) fn close(&self, id: u64, outcome: Outcome) {
        self.update(id, |entry| {
            entry.outcome = Some(outcome);
            entry.ended_at_us = Some(now_us());
        });
        self.changed.send_replace(());
    }

    pub(super) fn clear(&self) {
        self.book().entries.clear();
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.book().entries.iter().cloned().collect()
    }

    pub(super) async fn wait(&self, count: usize, outcome: Option<Outcome>) -> Vec<Entry> {
        // Subscribed before the first look, so that no change falls between the two.
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(entries) = self.reached(count, outcome) {
                return entries;
            }
            // The sender lives as long as `self`.
            changed.changed().await.ok();
        }
    }

    fn reached(&self, count: usize, outcome: Option<Outcome>) -> Option<Vec<Entry>> {
        let book = self.book();
        let fits = |entry: &&Entry| outcome.is_none() || entry.outcome == outcome;
        (book.entries.iter().filter(fits).count() >= count)
            .then(|| book.entries.iter().cloned().collect())
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        let mut book = self.book();
        // The latest entries are the likeliest.
        if let Some(entry) = book.entries.iter_mut().rev().find(|entry| entry.id == id) {
            change(entry);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_us() -> u64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
