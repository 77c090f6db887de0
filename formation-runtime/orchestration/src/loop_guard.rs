//! When a model that calls tools has to stop: a loop that a machine drives needs an end of its own.
//!
//! Four caps, as agents in the field have them: rounds with the model, calls, time, and the same error from
//! the same tool again and again. The last one is about going in circles, so numbers and ids in the error do
//! not make it another error, and a success of the tool ends the count.

use std::collections::BTreeMap;

use crate::text::cut;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Answers of the model that ask for tools.
    pub iterations: u32,
    pub calls: u32,
    /// The same error of the same tool without a success in between.
    pub repeated_errors: u32,
    pub total_ms: u64,
}

/// Counts one turn's tool calls.
#[derive(Debug, Clone)]
pub struct Guard {
    caps: Caps,
    started_at_ms: u64,
    iterations: u32,
    calls: u32,
    /// By tool and normalised error; never more than there were calls.
    errors: BTreeMap<(String, String), u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Continue,
    /// No further call; the model is asked once more, for an answer with what it has.
    Stop(Reason),
}

/// In words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error(
        "the work was stopped after {0} rounds of tool calls, the most that are allowed for one answer"
    )]
    Iterations(u32),
    #[error("the work was stopped after {0} tool calls, the most that are allowed for one answer")]
    Calls(u32),
    #[error(
        "the work was stopped because the tool `{tool}` failed {times} times in the same way: {error}"
    )]
    RepeatedError { tool: String, error: String, times: u32 },
    #[error("the work was stopped because its tools took more than {} seconds", .0 / 1_000)]
    Time(u64),
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    Succeeded,
    Failed(&'a str),
}

impl Default for Caps {
    fn default() -> Self {
        Self { iterations: 10, calls: 50, repeated_errors: 3, total_ms: 300_000 }
    }
}

// === impl Guard ===

impl Guard {
    pub fn new(caps: Caps, now_ms: u64) -> Self {
        Self { caps, started_at_ms: now_ms, iterations: 0, calls: 0, errors: BTreeMap::new() }
    }

    /// To be asked when the model wants calls, once for each of its answers.
    pub fn iteration(&mut self, now_ms: u64) -> Step {
        if self.time_left_ms(now_ms) == 0 {
            return Step::Stop(Reason::Time(self.caps.total_ms));
        }
        if self.iterations >= self.caps.iterations {
            return Step::Stop(Reason::Iterations(self.caps.iterations));
        }
        self.iterations += 1;
        Step::Continue
    }

    /// To be asked before each call; one that may go on is counted.
    pub fn call(&mut self, now_ms: u64) -> Step {
        if self.time_left_ms(now_ms) == 0 {
            return Step::Stop(Reason::Time(self.caps.total_ms));
        }
        if self.calls >= self.caps.calls {
            return Step::Stop(Reason::Calls(self.caps.calls));
        }
        self.calls += 1;
        Step::Continue
    }

    /// To be told after each call.
    pub fn note(&mut self, tool: &str, outcome: Outcome<'_>) -> Step {
        let error = match outcome {
            Outcome::Succeeded => {
                self.errors.retain(|(failed, _), _| failed != tool);
                return Step::Continue;
            }
            Outcome::Failed(error) => error,
        };
        let times = self.errors.entry((tool.to_owned(), kind_of(error))).or_default();
        *times += 1;
        if *times < self.caps.repeated_errors {
            return Step::Continue;
        }
        Step::Stop(Reason::RepeatedError {
            tool: tool.to_owned(),
            error: crate::text::line(error, 300),
            times: *times,
        })
    }

    /// What calls may still take, all together.
    pub fn time_left_ms(&self, now_ms: u64) -> u64 {
        self.caps.total_ms.saturating_sub(now_ms.saturating_sub(self.started_at_ms))
    }

    pub fn calls(&self) -> u32 {
        self.calls
    }
}

/// The error without what differs from time to time: case, spaces, and everything with a digit in it.
fn kind_of(error: &str) -> String {
    let lower = cut(error, 2_000).0.to_lowercase();
    let words = lower.split(|it: char| !it.is_alphanumeric()).filter(|word| !word.is_empty());
    let words =
        words.map(|word| if word.contains(|it: char| it.is_numeric()) { "#" } else { word });
    words.take(60).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(Caps { iterations: 3, calls: 5, repeated_errors: 2, total_ms: 1_000 }, 10_000)
    }

    #[test]
    fn rounds_calls_and_time_end() {
        let mut guard = guard();
        for _ in 0..3 {
            assert_eq!(guard.iteration(10_999), Step::Continue);
        }
        assert_eq!(guard.iteration(10_999), Step::Stop(Reason::Iterations(3)));
        for _ in 0..5 {
            assert_eq!(guard.call(10_000), Step::Continue);
        }
        assert_eq!(guard.call(10_000), Step::Stop(Reason::Calls(5)));
        assert_eq!(guard.calls(), 5);
        assert_eq!(guard.time_left_ms(10_400), 600);
        assert_eq!(guard.call(11_000), Step::Stop(Reason::Time(1_000)));
        assert_eq!(guard.iteration(11_000), Step::Stop(Reason::Time(1_000)));
        // A clock that was set back gives no time away and takes none.
        assert_eq!(guard.time_left_ms(9_000), 1_000);
    }

    #[test]
    fn the_same_error_again_ends_and_another_does_not() {
        let mut guard = guard();
        let failed = |guard: &mut Guard, tool: &str, error: &str| {
            guard.note(tool, Outcome::Failed(error)) != Step::Continue
        };
        assert!(!failed(&mut guard, "write", "no folder /tmp/1"));
        assert!(!failed(&mut guard, "write", "disk full"));
        assert!(!failed(&mut guard, "read", "no folder /tmp/1"));
        assert_eq!(
            guard.note("write", Outcome::Failed("No folder  /tmp/22!")).clone(),
            Step::Stop(Reason::RepeatedError {
                tool: "write".into(),
                error: "No folder /tmp/22!".into(),
                times: 2
            })
        );
    }

    #[test]
    fn a_success_ends_the_count_of_its_tool_only() {
        let mut guard = guard();
        assert_eq!(guard.note("write", Outcome::Failed("x")), Step::Continue);
        assert_eq!(guard.note("read", Outcome::Failed("x")), Step::Continue);
        assert_eq!(guard.note("write", Outcome::Succeeded), Step::Continue);
        assert_eq!(guard.note("write", Outcome::Failed("x")), Step::Continue);
        assert_ne!(guard.note("read", Outcome::Failed("x")), Step::Continue);
    }

    #[test]
    fn the_reason_is_for_people() {
        assert_eq!(
            Reason::Time(300_000).to_string(),
            "the work was stopped because its tools took more than 300 seconds"
        );
        assert_eq!(
            Reason::RepeatedError { tool: "fs".into(), error: "no".into(), times: 3 }.to_string(),
            "the work was stopped because the tool `fs` failed 3 times in the same way: no"
        );
    }
}
