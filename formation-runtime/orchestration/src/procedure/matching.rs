//! Which procedure a message asks for: by name after a slash, by meaning where there are embeddings, and by
//! words where there are none. Each match carries its score and how it was found, so that a decision can be
//! explained and a threshold be judged.

use std::collections::BTreeSet;

use crate::text::stems;

/// Of cosines: below it, texts are about the same field at most.
pub const VECTOR_THRESHOLD: f64 = 0.7;
/// Of shares of words: reached by all words of the name or the tags and nothing more, or by half of them in a
/// message that says little else.
pub const LEXICAL_THRESHOLD: f64 = 0.6;

/// What the words that name a procedure count against how much of the message they explain.
const NAMING: f64 = 0.6;
/// One shared word is chance.
const SHARED_WORDS: usize = 2;

/// A procedure as it is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub id: String,
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub id: String,
    /// 0–1, by the scale of the method.
    pub score: f64,
    pub method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Lexical,
    Vector,
}

/// A message of the form `/name the rest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slash<'a> {
    pub name: &'a str,
    pub arguments: &'a str,
}

/// All entries by the words that they share with a message, the best first.
pub fn match_lexical(message: &str, entries: &[Entry]) -> Vec<Match> {
    let said = stems(message);
    let matches = entries.iter().map(|entry| Match {
        id: entry.id.clone(),
        score: entry.likeness(&said),
        method: Method::Lexical,
    });
    sorted(matches.collect())
}

/// All entries by the angle between their vectors and that of a message, the best first; vectors without a
/// length, or of another one, match nothing.
pub fn match_vectors(query: &[f32], entries: &[(&str, &[f32])]) -> Vec<Match> {
    let matches = entries.iter().map(|(id, vector)| Match {
        id: (*id).to_owned(),
        score: cosine(query, vector).unwrap_or(0.0),
        method: Method::Vector,
    });
    sorted(matches.collect())
}

/// Reads `/name arguments`; `/usr/bin` and the like are no names.
pub fn slash(message: &str) -> Option<Slash<'_>> {
    let rest = message.trim().strip_prefix('/')?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (name, arguments) = rest.split_at(end);
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'));
    is_name.then(|| Slash { name, arguments: arguments.trim() })
}

// === impl Match ===

impl Match {
    /// Whether the score is enough to follow the procedure.
    pub fn holds(&self) -> bool {
        self.score >= self.threshold()
    }

    pub fn threshold(&self) -> f64 {
        match self.method {
            Method::Lexical => LEXICAL_THRESHOLD,
            Method::Vector => VECTOR_THRESHOLD,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// What is embedded for it.
    pub fn to_embedding_text(&self) -> String {
        let about = if self.description.is_empty() { &self.name } else { &self.description };
        let parts: Vec<&str> =
            std::iter::once(about.as_str()).chain(self.tags.iter().map(String::as_str)).collect();
        parts.join(", ")
    }

    fn likeness(&self, said: &BTreeSet<String>) -> f64 {
        let name = stems(&self.name.replace(['_', '-'], " "));
        let tags = stems(&self.tags.join(" ").replace(['_', '-'], " "));
        let mut all = stems(&self.description);
        all.extend(name.iter().chain(&tags).cloned());
        if said.intersection(&all).count() < SHARED_WORDS {
            return 0.0;
        }
        NAMING * share(&name, said).max(share(&tags, said)) + (1.0 - NAMING) * share(said, &all)
    }
}

/// How much of the one is in the other.
#[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^52")]
fn share(of: &BTreeSet<String>, within: &BTreeSet<String>) -> f64 {
    if of.is_empty() {
        return 0.0;
    }
    of.intersection(within).count() as f64 / of.len() as f64
}

fn cosine(one: &[f32], other: &[f32]) -> Option<f64> {
    if one.len() != other.len() {
        return None;
    }
    let length =
        |vector: &[f32]| vector.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>().sqrt();
    let product: f64 =
        one.iter().zip(other).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum();
    let cosine = product / (length(one) * length(other));
    cosine.is_finite().then(|| cosine.clamp(0.0, 1.0))
}

/// Equals stay in their order.
fn sorted(mut matches: Vec<Match>) -> Vec<Match> {
    matches.sort_by(|one, other| other.score.total_cmp(&one.score));
    matches
}
