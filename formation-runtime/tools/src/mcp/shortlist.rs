//! Which of many tools a model is shown: those whose words are the message's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::danger::words_of;
use crate::{Origin, Tool};

/// A word twice in a description says little more than once (BM25's k1), and long ones are no better (b).
const SATURATION: f64 = 1.2;
const LENGTH_WEIGHT: f64 = 0.6;
/// A word of the name weighs as much as this many in the description.
const NAME_WEIGHT: u32 = 3;
/// Endings that are cut so that `files` finds `file`; the rest of the word keeps at least three letters.
const ENDINGS: &[&str] = &["ations", "ation", "ings", "ing", "ies", "es", "ed", "s", "e", "y"];
const STEM_CHARS_MIN: usize = 3;
/// Words that every message has.
const COMMON: &[&str] = &[
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do",
    "does", "for", "from", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my",
    "of", "on", "or", "our", "please", "so", "some", "that", "the", "their", "them", "then",
    "there", "these", "this", "to", "use", "want", "was", "we", "what", "when", "where", "which",
    "who", "will", "with", "would", "you", "your",
];

/// At most `max` of the tools, the most relevant for `message`, in the order in which they came. Tools
/// that the message names are always among them, even when they alone are more than `max`.
pub fn shortlist(tools: &[Arc<dyn Tool>], message: &str, max: usize) -> Vec<Arc<dyn Tool>> {
    if tools.len() <= max {
        return tools.to_vec();
    }
    let wanted: BTreeSet<String> = stems(message).collect();
    let documents: Vec<Document> = tools.iter().map(|tool| Document::of(tool.as_ref())).collect();
    let scores = scores(&documents, &wanted);
    let lowered = message.to_lowercase();
    let mut ranked: Vec<(usize, bool, f64)> = tools
        .iter()
        .zip(scores)
        .enumerate()
        .map(|(place, (tool, score))| (place, is_named(tool.as_ref(), &lowered), score))
        .collect();
    // The place breaks ties, so the same catalogue gives the same list.
    ranked.sort_by(|left, right| {
        right.1.cmp(&left.1).then(right.2.total_cmp(&left.2)).then(left.0.cmp(&right.0))
    });
    let named = ranked.iter().filter(|(_, is_named, _)| *is_named).count();
    let mut chosen: Vec<usize> =
        ranked.into_iter().take(max.max(named)).map(|(place, ..)| place).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|place| Arc::clone(&tools[place])).collect()
}

/// The words of one tool, counted.
struct Document {
    counts: BTreeMap<String, u32>,
    length: u32,
}

impl Document {
    fn of(tool: &dyn Tool) -> Self {
        let mut counts = BTreeMap::new();
        let spec = tool.spec();
        for stem in stems(&spec.name) {
            *counts.entry(stem).or_default() += NAME_WEIGHT;
        }
        for stem in stems(&spec.description) {
            *counts.entry(stem).or_default() += 1;
        }
        let length = counts.values().sum();
        Self { counts, length }
    }
}

fn scores(documents: &[Document], wanted: &BTreeSet<String>) -> Vec<f64> {
    let total = f64::from(u32::try_from(documents.len()).unwrap_or(u32::MAX));
    let length_mean = documents.iter().map(|it| f64::from(it.length)).sum::<f64>() / total.max(1.0);
    let rarity: BTreeMap<&str, f64> = wanted
        .iter()
        .map(|stem| {
            let holders = documents.iter().filter(|it| it.counts.contains_key(stem)).count();
            let holders = f64::from(u32::try_from(holders).unwrap_or(u32::MAX));
            (stem.as_str(), ((total - holders + 0.5) / (holders + 0.5)).ln_1p())
        })
        .collect();
    let score = |document: &Document| {
        let length = f64::from(document.length) / length_mean.max(1.0);
        let damping = SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * length);
        let of_stem = |(stem, rarity): (&&str, &f64)| {
            let count = f64::from(document.counts.get(*stem).copied().unwrap_or_default());
            rarity * count * (SATURATION + 1.0) / (count + damping)
        };
        rarity.iter().map(of_stem).sum()
    };
    documents.iter().map(score).collect()
}

/// By the name that models see, or by the server's own when that is more than one everyday word.
fn is_named(tool: &dyn Tool, message: &str) -> bool {
    let exposed = tool.spec().name.to_lowercase();
    if contains_word(message, &exposed) {
        return true;
    }
    let Origin::Mcp { tool, .. } = tool.origin() else { return false };
    words_of(tool).len() > 1 && contains_word(message, &tool.to_lowercase())
}

/// `needle` with nothing of a name on either side of it.
fn contains_word(text: &str, needle: &str) -> bool {
    let is_of_name = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
    !needle.is_empty()
        && text.match_indices(needle).any(|(at, _)| {
            !text[..at].chars().next_back().is_some_and(is_of_name)
                && !text[at + needle.len()..].chars().next().is_some_and(is_of_name)
        })
}

fn stems(text: &str) -> impl Iterator<Item = String> {
    words_of(text).into_iter().filter(|word| !COMMON.contains(&word.as_str())).map(stem)
}

fn stem(word: String) -> String {
    let cut = ENDINGS.iter().find_map(|ending| {
        word.strip_suffix(ending).filter(|rest| rest.chars().count() >= STEM_CHARS_MIN)
    });
    cut.map(str::to_owned).unwrap_or(word)
}

#[cfg(test)]
mod tests;
