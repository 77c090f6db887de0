//! How long an answer may take, by those before it. Pure.

/// How many of the last answers count.
pub const SAMPLE: u32 = 25;
/// Fewer answers say nothing of the next one.
const SAMPLE_MIN: usize = 3;

/// The median, so that one answer that took very long or failed at once moves nothing.
pub fn seconds(mut durations_ms: Vec<i64>) -> Option<f64> {
    if durations_ms.len() < SAMPLE_MIN {
        return None;
    }
    durations_ms.sort_unstable();
    let middle = durations_ms[durations_ms.len() / 2].max(0);
    #[expect(clippy::cast_precision_loss, reason = "no answer takes 285,000 years")]
    Some(middle as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_enough_answers_counts() {
        for (durations, expected) in [
            (vec![], None),
            (vec![500, 600], None),
            (vec![90_000, 500, 1_500], Some(1.5)),
            (vec![4_000, 1_000, 3_000, 2_000], Some(3.0)),
            (vec![-5, -5, -5], Some(0.0)),
        ] {
            assert_eq!(seconds(durations.clone()), expected, "{durations:?}");
        }
    }
}
