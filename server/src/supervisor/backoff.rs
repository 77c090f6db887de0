//! How long to wait before the next start of an instance that keeps dying.

use std::time::Duration;

/// When to restart, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Wait before the second try in a row; the first is immediate.
    pub first_delay: Duration,
    pub longest_delay: Duration,
    /// A run this long forgives all earlier deaths.
    pub stable_after: Duration,
    /// Deaths in a row, without a stable run between, after which an operator must act.
    pub deaths_max: u32,
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// The wait after the `deaths`-th death in a row; `None` means: give up.
    ///
    /// `jitter` is of 0.0–1.0 and adds at most a fifth, so that many formations that died together
    /// do not start together.
    pub fn delay(&self, deaths: u32, jitter: f64) -> Option<Duration> {
        if deaths > self.deaths_max {
            return None;
        }
        let Some(doublings) = deaths.checked_sub(2) else { return Some(Duration::ZERO) };
        let doubled = self.first_delay.saturating_mul(2u32.saturating_pow(doublings));
        Some(doubled.min(self.longest_delay).mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        first_delay: Duration::from_millis(500),
        longest_delay: Duration::from_secs(4),
        stable_after: Duration::from_mins(1),
        deaths_max: 7,
    };

    #[test]
    fn waits_double_up_to_the_longest_and_then_end() {
        let delays: Vec<_> =
            (1..=8).map(|deaths| POLICY.delay(deaths, 0.0).map(|d| d.as_millis())).collect();
        let ms = |ms| Some(ms);
        assert_eq!(
            delays,
            [ms(0), ms(500), ms(1_000), ms(2_000), ms(4_000), ms(4_000), ms(4_000), None]
        );
    }

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        assert_eq!(POLICY.delay(2, 1.0), Some(Duration::from_millis(600)));
        assert_eq!(POLICY.delay(2, 9.0), Some(Duration::from_millis(600)));
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let endless = RestartPolicy { deaths_max: u32::MAX, ..POLICY };
        assert_eq!(endless.delay(u32::MAX, 0.0), Some(Duration::from_secs(4)));
    }
}
