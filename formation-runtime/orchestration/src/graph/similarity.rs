//! How much two plans are the same plan.

use std::collections::BTreeSet;

use super::Plan;
use crate::text::{overlap, stems};

/// What the words of an instruction weigh against who is to follow it.
const WORDS: f64 = 0.7;

/// 1 for the same work by the same agents, 0 for nothing in common. Ids, order and titles do not count:
/// a plan that was only renamed fails again.
#[expect(clippy::cast_precision_loss, reason = "plans have few tasks")]
pub fn similarity(one: &Plan, other: &Plan) -> f64 {
    let (one, other) = (sketch(one), sketch(other));
    let total = best_matches(&one, &other) + best_matches(&other, &one);
    total / (one.len() + other.len()) as f64
}

fn sketch(plan: &Plan) -> Vec<(&str, BTreeSet<String>)> {
    plan.tasks().iter().map(|task| (task.agent.as_str(), stems(&task.instruction))).collect()
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
