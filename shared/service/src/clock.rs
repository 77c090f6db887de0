//! Time as an argument, so that tests turn it by hand.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Where a component takes the time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

// === impl Clock ===

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// The machine's clock as it was now, going on steadily whatever the machine's clock is set to.
    pub fn steady() -> Self {
        let (start, counted_from) = (Timestamp::now(), std::time::Instant::now());
        Self::from_fn(move || start.saturating_add(counted_from.elapsed()).unwrap_or(start))
    }

    /// A clock that a test turns.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
