//! When an instance that does not answer is left alone, and when it is tried again. Pure: no clock.

use crate::config::BreakerConfig;

/// The state of one instance's circuit; it goes with the instance. Times are steady milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Requests pass; so many in a row found no answer.
    Closed { failures: u32 },
    /// Nothing passes until then.
    Open { until_ms: i64 },
    /// One request is on its way to find out.
    Trying,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Pass,
    /// As the one that finds out.
    Try,
    Refused {
        wait_ms: i64,
    },
}

/// How a request that was let through ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With any answer, an honest 5xx included.
    Answered,
    /// The instance gave none.
    Failed,
    /// The client left, which says nothing.
    Unknown,
}

// === impl Breaker ===

impl Breaker {
    pub(super) fn ask(&mut self, now_ms: i64, config: BreakerConfig) -> Leave {
        match *self {
            Self::Closed { .. } => Leave::Pass,
            Self::Open { until_ms } if now_ms < until_ms => {
                Leave::Refused { wait_ms: until_ms - now_ms }
            }
            Self::Open { .. } => {
                *self = Self::Trying;
                Leave::Try
            }
            Self::Trying => Leave::Refused { wait_ms: cool_down(config) },
        }
    }

    /// `tried` is whether it was the one that finds out.
    pub(super) fn note(
        &mut self,
        outcome: Outcome,
        tried: bool,
        now_ms: i64,
        config: BreakerConfig,
    ) {
        let open = Self::Open { until_ms: now_ms.saturating_add(cool_down(config)) };
        *self = match (*self, outcome) {
            (_, Outcome::Answered) => Self::Closed { failures: 0 },
            (Self::Closed { failures }, Outcome::Failed) => match failures + 1 {
                failures if failures >= config.failures => open,
                failures => Self::Closed { failures },
            },
            (Self::Trying, Outcome::Failed) if tried => open,
            // The next one finds out.
            (Self::Trying, Outcome::Unknown) if tried => Self::Open { until_ms: now_ms },
            (state, Outcome::Failed | Outcome::Unknown) => state,
        };
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

fn cool_down(config: BreakerConfig) -> i64 {
    i64::try_from(config.cool_down_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Answered, Failed, Unknown};
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig { failures: 3, cool_down_ms: 100 };

    enum Step {
        Ask(i64, Leave),
        Note(i64, Outcome),
        NoteTried(i64, Outcome),
    }
    use Step::{Ask, Note, NoteTried};

    #[track_caller]
    fn check(name: &str, steps: &[Step]) -> Breaker {
        let mut breaker = Breaker::default();
        for (at, step) in steps.iter().enumerate() {
            match *step {
                Ask(now_ms, leave) => {
                    assert_eq!(breaker.ask(now_ms, CONFIG), leave, "{name}: step {at}");
                }
                Note(now_ms, outcome) => breaker.note(outcome, false, now_ms, CONFIG),
                NoteTried(now_ms, outcome) => breaker.note(outcome, true, now_ms, CONFIG),
            }
        }
        breaker
    }

    const OPENED: [Step; 4] =
        [Note(0, Failed), Note(0, Failed), Note(0, Failed), Ask(40, refused(60))];

    const fn refused(wait_ms: i64) -> Leave {
        Leave::Refused { wait_ms }
    }

    fn after_opening(further: Vec<Step>) -> Vec<Step> {
        OPENED.into_iter().chain(further).collect()
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        check("in a row", &OPENED);
        let steps =
            [Note(0, Failed), Note(0, Failed), Note(0, Answered), Note(0, Failed), Note(0, Failed)];
        assert_eq!(check("between", &steps), Breaker::Closed { failures: 2 });
        let steps = [Note(0, Failed), Note(0, Failed), Note(0, Unknown), Ask(0, Leave::Pass)];
        assert_eq!(check("clients that leave", &steps), Breaker::Closed { failures: 2 });
    }

    #[test]
    fn one_request_finds_out() {
        for (outcome, now_ms, then) in
            [(Answered, 150, Leave::Pass), (Failed, 150, refused(100)), (Unknown, 150, Leave::Try)]
        {
            check(
                &format!("{outcome:?}"),
                &after_opening(vec![
                    Ask(100, Leave::Try),
                    Ask(120, refused(100)),
                    NoteTried(150, outcome),
                    Ask(now_ms, then),
                ]),
            );
        }
    }

    #[test]
    fn what_was_on_its_way_decides_only_by_an_answer() {
        check("late failure", &after_opening(vec![Note(90, Failed), Ask(99, refused(1))]));
        check(
            "late failure within the trial",
            &after_opening(vec![
                Ask(100, Leave::Try),
                Note(110, Failed),
                Note(110, Unknown),
                Ask(120, refused(100)),
            ]),
        );
        check("late answer", &after_opening(vec![Note(50, Answered), Ask(51, Leave::Pass)]));
    }
}
