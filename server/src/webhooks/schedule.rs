//! When a delivery that failed is tried again. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const FACTOR: u32 = 3;
const LONGEST: Duration = Duration::from_hours(1);

/// The wait after so many attempts: three times as long each time, up to an hour, a tenth more or
/// less by chance (`jitter` of 0.0–1.0). A receiver that names a longer wait gets it.
pub(super) fn delay(attempts: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let grown = FACTOR.checked_pow(attempts.saturating_sub(1)).map(|times| FIRST * times);
    let own = grown.unwrap_or(LONGEST).min(LONGEST).mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0));
    own.max(retry_after.unwrap_or_default().min(LONGEST))
}

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_attempts_take_hours() {
        let delays: Vec<u64> = (1..12).map(|it| delay(it, None, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 3, 9, 27, 81, 243, 729, 2_187, 3_600, 3_600, 3_600]);
        assert_eq!(delay(u32::MAX, None, 1.0), LONGEST.mul_f64(1.1));
    }

    #[test]
    fn chance_moves_by_a_tenth_and_the_receiver_is_heard_within_bounds() {
        let seconds = |it: Duration| it.as_secs_f64();
        assert!((seconds(delay(3, None, 0.0)) - 8.1).abs() < 1e-9);
        assert!((seconds(delay(3, None, 1.0)) - 9.9).abs() < 1e-9);
        let asked = |wait| delay(1, Some(Duration::from_secs(wait)), 0.5).as_secs();
        assert_eq!((asked(0), asked(120), asked(999_999)), (1, 120, 3_600));
    }
}
