//! When to ask the same model again: a pure decision from attempt, error and one random number.

use std::time::Duration;

use crate::LlmErrorKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further tries after the first, for each model.
    pub retries_max: u32,
    pub first_delay: Duration,
    pub delay_max: Duration,
    /// A provider that asks for a longer pause than this is given up instead of waited for.
    pub retry_after_max: Duration,
}

// === impl RetryPolicy ===

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries_max: 3,
            first_delay: Duration::from_millis(500),
            delay_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The pause before the next try, or `None` when this model is given up.
    ///
    /// `failures` counts the failed tries so far, at least one. `chance` is from 0 to 1: the upper half
    /// of each pause is random, so that many callers do not come back at the same moment.
    pub(crate) fn pause(&self, failures: u32, kind: LlmErrorKind, chance: f64) -> Option<Duration> {
        if failures > self.retries_max || !kind.is_retryable() {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let pause = self.first_delay.saturating_mul(1 << doublings).min(self.delay_max);
        let pause = pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        match kind.retry_after() {
            Some(asked) if asked > self.retry_after_max => None,
            Some(asked) => Some(asked.max(pause)),
            None => Some(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: LlmErrorKind = LlmErrorKind::ServerError { status: 503, retry_after: None };

    fn limited(seconds: u64) -> LlmErrorKind {
        LlmErrorKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_end_with_the_budget() {
        let policy = RetryPolicy { retries_max: 6, ..RetryPolicy::default() };
        let pauses: Vec<_> = (1..=7)
            .map(|failures| policy.pause(failures, BUSY, 1.0).map(|pause| pause.as_millis()))
            .collect();
        let expected = [500, 1_000, 2_000, 4_000, 8_000, 8_000].map(Some);
        assert_eq!(pauses[..6], expected);
        assert_eq!(pauses[6], None);
    }

    #[test]
    fn chance_moves_a_pause_within_its_upper_half() {
        let policy = RetryPolicy::default();
        for (chance, pause_ms) in [(0.0, 250), (0.5, 375), (1.0, 500), (7.0, 500)] {
            let pause = policy.pause(1, BUSY, chance);
            assert_eq!(pause, Some(Duration::from_millis(pause_ms)), "chance {chance}");
        }
    }

    #[test]
    fn a_provider_that_names_a_pause_is_obeyed_or_given_up() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(1, limited(7), 0.3), Some(Duration::from_secs(7)));
        assert_eq!(policy.pause(1, limited(30), 0.3), Some(Duration::from_secs(30)));
        assert_eq!(policy.pause(1, limited(31), 0.3), None);
        // A pause of nothing must not turn into a busy loop.
        assert_eq!(policy.pause(1, limited(0), 1.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_waiting_cannot_mend_is_not_tried_again() {
        let policy = RetryPolicy::default();
        for kind in [
            LlmErrorKind::Auth,
            LlmErrorKind::QuotaExceeded,
            LlmErrorKind::BadRequest,
            LlmErrorKind::ModelNotFound,
            LlmErrorKind::Refused,
            LlmErrorKind::Protocol,
        ] {
            assert_eq!(policy.pause(1, kind, 1.0), None, "{kind:?}");
        }
    }
}
