//! What passed through the proxy, counted by formation: the one place to measure it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::REQUEST_SECONDS;

/// One formation's traffic since the manager started.
#[derive(Debug)]
pub struct Traffic {
    /// Answers of the formation by the first digit of their status.
    answered: [AtomicU64; 6],
    /// Answers whose end was not reached, because a side left.
    cut: AtomicU64,
    upgraded: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    duration_us: AtomicU64,
    /// The proxy's own answers by the name of their reason.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    head_seconds: Histogram,
}

/// One request that the formation answered, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub status: u16,
    /// Of the bodies, or of both directions of an upgraded connection.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the request to the last byte of its answer.
    pub duration: Duration,
    /// False when a side left before the end.
    pub whole: bool,
}

/// [`Traffic`] as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficTotals {
    pub answered: [u64; 6],
    pub cut: u64,
    pub upgraded: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
    pub refused: BTreeMap<&'static str, u64>,
}

// === impl Traffic ===

impl Default for Traffic {
    fn default() -> Self {
        Self {
            answered: Default::default(),
            cut: AtomicU64::default(),
            upgraded: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            duration_us: AtomicU64::default(),
            refused: Mutex::default(),
            head_seconds: Histogram::new(REQUEST_SECONDS),
        }
    }
}

impl Traffic {
    /// Called when the head of a formation's answer came.
    pub fn on_head(&self, since_request: Duration) {
        self.head_seconds.observe(since_request.as_secs_f64());
    }

    pub fn head_seconds(&self) -> &Histogram {
        &self.head_seconds
    }

    /// Called once for every request that a formation answered, when its answer has ended.
    pub fn on_end(&self, passed: Passed) {
        let Passed { status, bytes_in, bytes_out, duration, whole } = passed;
        if let Some(count) = self.answered.get(usize::from(status / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if status == 101 {
            self.upgraded.fetch_add(1, Ordering::Relaxed);
        } else if !whole {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Called once for every request to a known formation that the proxy answered itself.
    pub fn on_refused(&self, reason: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }

    pub fn totals(&self) -> TrafficTotals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TrafficTotals {
            answered: std::array::from_fn(|class| read(&self.answered[class])),
            cut: read(&self.cut),
            upgraded: read(&self.upgraded),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            duration_us: read(&self.duration_us),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_added_up() {
        let traffic = Traffic::default();
        let passed = Passed {
            status: 200,
            bytes_in: 1,
            bytes_out: 10,
            duration: Duration::from_micros(5),
            whole: true,
        };
        traffic.on_end(passed);
        traffic.on_end(Passed { status: 502, whole: false, ..passed });
        traffic.on_end(Passed { status: 101, whole: false, ..passed });
        traffic.on_refused("busy");
        let totals = traffic.totals();
        assert_eq!(totals.answered, [0, 1, 1, 0, 0, 1]);
        assert_eq!((totals.cut, totals.upgraded), (1, 1));
        assert_eq!((totals.bytes_in, totals.bytes_out, totals.duration_us), (3, 30, 15));
        assert_eq!(totals.refused, [("busy", 1)].into());
    }
}
