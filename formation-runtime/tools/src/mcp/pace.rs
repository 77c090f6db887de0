//! How much a server may say that nobody asked for.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(10);

/// Counts within windows of time: a call may take long and tell of its progress all the while.
#[derive(Debug)]
pub(super) struct Pace {
    max: u32,
    since: Instant,
    unasked: u32,
}

impl Pace {
    pub(super) fn new(max: u32, now: Instant) -> Self {
        Self { max, since: now, unasked: 0 }
    }

    /// Counts a message that answers nothing. What is wrong with it, if it is one too many.
    pub(super) fn unasked(&mut self, now: Instant) -> Result<(), String> {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.unasked) = (now, 0);
        }
        self.unasked += 1;
        if self.unasked <= self.max {
            return Ok(());
        }
        let (max, seconds) = (self.max, WINDOW.as_secs());
        Err(format!("sent more than {max} messages within {seconds} s that answer nothing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_too_much_and_the_same_over_time_is_not() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        for tenth in 0..100 {
            assert_eq!(pace.unasked(start + tenth * WINDOW / 10), Ok(()));
        }
        let mut pace = Pace::new(10, start);
        let told: Vec<bool> = (0..12).map(|_| pace.unasked(start).is_ok()).collect();
        assert_eq!(told.iter().filter(|it| **it).count(), 10);
        assert_eq!(pace.unasked(start + WINDOW), Ok(()));
    }
}
