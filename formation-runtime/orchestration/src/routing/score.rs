//! The scorer: words of the message that an agent is described by, the rarer among the agents the heavier
//! (inverse document frequency), so that a word which all of them share decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Candidate;
use crate::text::{Word, normalised, stems, words};

/// What a word is worth by where an agent has it.
const SPECIALTY: f64 = 4.0;
const KEYWORD: f64 = 4.0;
const NAME: f64 = 3.0;
const TOOL: f64 = 2.0;
const DESCRIPTION: f64 = 1.0;
/// Somebody who knows one thing goes before somebody who knows a little of everything.
const SPECIALIST: f64 = 1.25;
const GENERALIST: f64 = 0.8;
/// For the agent of the turn before: enough to decide where little else speaks, and to stay in the
/// conversation when the message leans on what was said.
const STICKY: f64 = 0.5;
const STICKY_FOLLOW_UP: f64 = 3.0;
/// Longer messages stand for themselves.
const FOLLOW_UP_WORDS: usize = 12;

/// Beginnings and words that point back at what was said.
const FOLLOW_UP_STARTS: &[&str] = &[
    "and",
    "also",
    "what about",
    "how about",
    "then",
    "but",
    "why",
    "again",
    "more",
    "continue",
    "go on",
    "yes",
    "no",
    "ok",
    "okay",
    "und",
    "auch",
    "warum",
    "et",
    "aussi",
    "y",
    "también",
    "e",
    "anche",
];
const FOLLOW_UP_WORDS_BACK: &[&str] = &[
    "it", "that", "this", "them", "those", "these", "one", "same", "previous", "instead", "das",
    "dies", "ça", "cela", "eso", "questo",
];

/// How much speaks for an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    pub id: String,
    pub score: f64,
    /// For people.
    pub because: String,
}

/// All candidates, the best first; where nothing speaks for one more than for another, the order is theirs.
pub fn score(message: &str, candidates: &[Candidate], last_agent: Option<&str>) -> Vec<Scored> {
    let said = words(message);
    let said_stems: BTreeSet<&str> = said.iter().map(|word| word.stem.as_str()).collect();
    let profiles: Vec<Profile> = candidates.iter().map(Profile::of).collect();
    let mut shared: BTreeMap<&str, u32> = BTreeMap::new();
    for profile in &profiles {
        for word in profile.worth.keys().filter(|word| said_stems.contains(word.as_str())) {
            *shared.entry(word).or_default() += 1;
        }
    }
    let leans_back = is_follow_up(message);
    let mut scored: Vec<Scored> = candidates
        .iter()
        .zip(&profiles)
        .map(|(candidate, profile)| {
            let is_last = last_agent == Some(candidate.id.as_str());
            let sticky = match (is_last, leans_back) {
                (false, _) => 0.0,
                (true, false) => STICKY,
                (true, true) => STICKY_FOLLOW_UP,
            };
            profile.scored(candidate, &said, &shared, sticky)
        })
        .collect();
    // The sort is stable, so equals stay in their order.
    scored.sort_by(|one, other| other.score.total_cmp(&one.score));
    scored
}

/// Whether a message leans on what was said before it.
pub fn is_follow_up(message: &str) -> bool {
    let plain = normalised(message);
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() > FOLLOW_UP_WORDS {
        return false;
    }
    let starts = |start: &&str| plain.strip_prefix(*start).is_some_and(|rest| !in_word(rest));
    FOLLOW_UP_STARTS.iter().any(starts)
        || words.iter().any(|word| FOLLOW_UP_WORDS_BACK.contains(word))
}

fn in_word(rest: &str) -> bool {
    !rest.is_empty() && !rest.starts_with(' ')
}

/// What an agent is described by.
struct Profile {
    /// What each word is worth, the best place counting.
    worth: BTreeMap<String, f64>,
    /// Specialties and keywords as they were written, with their words.
    phrases: Vec<(String, BTreeSet<String>)>,
    factor: f64,
}

// === impl Profile ===

impl Profile {
    fn of(candidate: &Candidate) -> Self {
        let mut profile = Self { worth: BTreeMap::new(), phrases: Vec::new(), factor: 1.0 };
        profile.add(&candidate.description, DESCRIPTION);
        for tool in &candidate.tools {
            profile.add(&tool.replace('_', " "), TOOL);
        }
        profile.add(&candidate.name, NAME);
        profile.add(&candidate.id.replace('_', " "), NAME);
        let phrases = [(&candidate.specialties, SPECIALTY), (&candidate.keywords, KEYWORD)];
        for (phrase, worth) in
            phrases.iter().flat_map(|(of, worth)| of.iter().map(|it| (it, *worth)))
        {
            let words = profile.add(&phrase.replace('_', " "), worth);
            profile.phrases.push((phrase.clone(), words));
        }
        profile.factor = match candidate.role.as_str() {
            "specialist" => SPECIALIST,
            "generalist" | "general" => GENERALIST,
            _ if !candidate.specialties.is_empty() => SPECIALIST,
            _ => 1.0,
        };
        profile
    }

    fn add(&mut self, text: &str, worth: f64) -> BTreeSet<String> {
        let words = stems(text);
        for word in &words {
            let best = self.worth.entry(word.clone()).or_default();
            *best = best.max(worth);
        }
        words
    }

    fn scored(
        &self,
        candidate: &Candidate,
        said: &[Word],
        shared: &BTreeMap<&str, u32>,
        sticky: f64,
    ) -> Scored {
        let mut counted = BTreeSet::new();
        let mut hits: Vec<&str> = Vec::new();
        let mut score = 0.0;
        for word in said {
            let Some(worth) = self.worth.get(&word.stem) else { continue };
            if counted.insert(word.stem.as_str()) {
                let agents = shared.get(word.stem.as_str()).copied().unwrap_or(1);
                score += worth / f64::from(agents);
                hits.push(&word.shown);
            }
        }
        // A phrase that was said as a whole is what the agent is for.
        let whole = self.phrases.iter().filter(|(_, words)| {
            words.len() > 1 && words.iter().all(|word| counted.contains(word.as_str()))
        });
        let whole: Vec<&str> = whole.map(|(phrase, _)| phrase.as_str()).collect();
        score = score * self.factor + sticky;
        for _ in &whole {
            score += SPECIALTY;
        }
        let mut because = Vec::new();
        if !whole.is_empty() {
            because.push(format!("is for {}", whole.join(", ")));
        }
        if !hits.is_empty() {
            hits.truncate(8);
            because.push(format!("words {}", hits.join(", ")));
        }
        if sticky > 0.0 {
            because.push("answered before".to_owned());
        }
        let because = if because.is_empty() {
            "nothing speaks for it".to_owned()
        } else {
            because.join("; ")
        };
        Scored { id: candidate.id.clone(), score, because }
    }
}
