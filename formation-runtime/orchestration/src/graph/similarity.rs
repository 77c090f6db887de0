//! How much two plans are the same plan.

use std::collections::BTreeSet;

use super::{Plan, Task};
use crate::text::{overlap, stems};

/// What the words of an instruction weigh against who is to follow it: the same work by somebody else is
/// another plan where seven tenths count as the same.
const WORDS: f64 = 0.6;

/// 1 for the same work by the same agents, 0 for nothing in common. Ids, order and titles do not count:
/// a plan that was only renamed fails again.
pub fn similarity(one: &Plan, other: &Plan) -> f64 {
    likeness(one.tasks(), other.tasks())
}

/// The same of tasks that are no whole plan; two times nothing is the same.
#[expect(clippy::cast_precision_loss, reason = "plans have few tasks")]
pub(crate) fn likeness(one: &[Task], other: &[Task]) -> f64 {
    let (one, other) = (sketch(one), sketch(other));
    let tasks = one.len() + other.len();
    if tasks == 0 {
        return 1.0;
    }
    (best_matches(&one, &other) + best_matches(&other, &one)) / tasks as f64
}

fn sketch(tasks: &[Task]) -> Vec<(&str, BTreeSet<String>)> {
    tasks.iter().map(|task| (task.agent.as_str(), stems(&task.instruction))).collect()
}

fn best_matches(from: &[(&str, BTreeSet<String>)], to: &[(&str, BTreeSet<String>)]) -> f64 {
    let best = |(agent, words): &(&str, BTreeSet<String>)| {
        let scores = to.iter().map(|(other_agent, other_words)| {
            let same_agent = if agent == other_agent { 1.0 } else { 0.0 };
            WORDS * overlap(words, other_words) + (1.0 - WORDS) * same_agent
        });
        scores.fold(0.0, f64::max)
    };
    from.iter().map(best).sum()
}
