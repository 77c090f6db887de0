//! What the proxy keeps of one formation for as long as the manager knows it, whichever instance
//! serves it: news of its route, what is open, what passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::observe::Traffic;
use crate::metrics::Supervised;

#[derive(Debug, Default)]
pub struct Gate {
    pub traffic: Traffic,
    /// What its actor saw of it.
    pub supervised: Supervised,
    news: watch::Sender<()>,
    pub(super) active: Counted,
    pub(super) held: Counted,
}

/// A number of things that are going on.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted(Arc<AtomicUsize>);

/// One of them; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Counted);

// === impl Gate ===

impl Gate {
    /// Tells everyone who waits that the route is another now.
    pub(super) fn announce(&self) {
        self.news.send_replace(());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Requests that the formation works on now, open streams included.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// Requests that wait for the formation now.
    pub fn held(&self) -> usize {
        self.held.get()
    }
}

// === impl Counted ===

impl Counted {
    /// None when `max` are going on already.
    pub(super) fn take(&self, max: usize) -> Option<Slot> {
        let more = |count: usize| (count < max).then_some(count + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(self.clone()))
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

// === impl Slot ===

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let counted = Counted::default();
        let first = counted.take(2).unwrap();
        let _second = counted.take(2).unwrap();
        assert!(counted.take(2).is_none());
        drop(first);
        assert!(counted.take(2).is_some());
        assert_eq!(counted.get(), 1);
    }
}
