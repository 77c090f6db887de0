//! How big a request is, 0–10: up to 3 simple, up to 6 moderate, from 7 on work for several agents.
//!
//! A count of what makes work in the words of the request: separate steps (2–5), research (3), several
//! fields of the agents (2), tools (1–3) and a long result (2). It says nothing about danger; that is the
//! matter of [`crate::approval`].

use std::collections::{BTreeMap, BTreeSet};

use crate::routing::Candidate;
use crate::text::{cut, normalised, stems};

/// More of a message does not make it bigger.
const READ_BYTES: usize = 16 * 1024;

/// Words between one step and the next.
const NEXT_STEP: &[&str] = &[
    "then",
    "afterwards",
    "finally",
    "lastly",
    "after that",
    "and also",
    "once done",
    "danach",
    "anschließend",
    "schließlich",
    "dann",
    "zuletzt",
    "ensuite",
    "puis",
    "enfin",
    "après",
    "luego",
    "después",
    "finalmente",
    "poi",
    "infine",
    "depois",
];
/// Verbs that begin another step after an "and".
const VERBS: &str = "analyze analyse ask book build calculate call check compare create delete deploy design \
    draft email find fix generate implement list mail make order pay plan post prepare \
    publish remind report save schedule search send store summarise summarize test translate \
    update upload write schreibe sende schicke erstelle buche finde suche prüfe écris envoie \
    crée cherche réserve escribe envía crea busca reserva scrivi invia cerca";
const AND: &[&str] = &["and", "und", "et", "y", "e"];
const RESEARCH: &[&str] = &[
    "research",
    "investigate",
    "compare",
    "comparison",
    "analyze",
    "analyse",
    "analysis",
    "survey",
    "evaluate",
    "benchmark",
    "find out",
    "look into",
    "deep dive",
    "recherchiere",
    "vergleiche",
    "analysiere",
    "untersuche",
    "comparer",
    "analyser",
    "rechercher",
    "investiga",
    "compara",
    "analiza",
    "confronta",
    "analizza",
];
const LONG_RESULT: &[&str] = &[
    "report",
    "essay",
    "article",
    "whitepaper",
    "white paper",
    "documentation",
    "presentation",
    "slides",
    "comprehensive",
    "in detail",
    "detailed",
    "in depth",
    "thorough",
    "full plan",
    "business plan",
    "roadmap",
    "pages",
    "chapters",
    "bericht",
    "ausführlich",
    "präsentation",
    "rapport",
    "détaillé",
    "informe",
    "detallado",
    "relazione",
    "relatório",
];

#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    pub value: f64,
    /// For people.
    pub because: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Heuristic,
    /// What the routing call says.
    Llm,
    /// Both, weighed.
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub heuristic: f64,
    pub llm: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { heuristic: 0.4, llm: 0.4 }
    }
}

/// The count.
pub fn score(message: &str, candidates: &[Candidate]) -> Score {
    let message = cut(message, READ_BYTES).0;
    let plain = normalised(message);
    let mut value = 0;
    let mut because = Vec::new();
    let mut add = |points: usize, why: String| {
        if points > 0 {
            value += points;
            because.push(format!("{why} (+{points})"));
        }
    };
    let steps = steps(message, &plain);
    add(if steps < 2 { 0 } else { steps.min(5) }, format!("{steps} steps"));
    add(if says(&plain, RESEARCH) > 0 { 3 } else { 0 }, "research".to_owned());
    let said = stems(message);
    let fields = fields(&said, candidates);
    add(if fields.len() > 1 { 2 } else { 0 }, format!("fields of {}", fields.join(" and ")));
    let tools = tools(&said, candidates);
    add(tools.min(3), format!("{tools} tools"));
    add(if says(&plain, LONG_RESULT) > 0 { 2 } else { 0 }, "a long result".to_owned());
    let because =
        if because.is_empty() { "one simple step".to_owned() } else { because.join(", ") };
    // At most 15 points.
    let points = u8::try_from(value.min(10)).unwrap_or(10);
    Score { value: f64::from(points), because }
}

/// One number of what the count and the model say; the count alone when the model said nothing.
pub fn combine(method: Method, weights: Weights, heuristic: &Score, llm: Option<f64>) -> Score {
    let llm = llm.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 10.0));
    let sum = weights.heuristic + weights.llm;
    match (method, llm) {
        (Method::Llm, Some(value)) => Score { value, because: "the model's judgement".to_owned() },
        (Method::Hybrid, Some(value)) if sum > 0.0 => Score {
            value: (weights.heuristic * heuristic.value + weights.llm * value) / sum,
            because: format!("{}: {}, the model: {value}", heuristic.because, heuristic.value),
        },
        (Method::Heuristic | Method::Llm | Method::Hybrid, _) => heuristic.clone(),
    }
}

/// Entries of a list, or clauses that are put after each other.
fn steps(message: &str, plain: &str) -> usize {
    let is_entry = |line: &&str| {
        let line = line.trim_start();
        let number = line.trim_start_matches(|it: char| it.is_ascii_digit());
        let is_numbered = number.len() < line.len() && number.starts_with(['.', ')']);
        is_numbered || ["- ", "* ", "• "].iter().any(|bullet| line.starts_with(bullet))
    };
    let entries = message.lines().filter(is_entry).count();
    let words: Vec<&str> = plain.split(' ').collect();
    let is_verb = |word: &str| VERBS.split(' ').any(|verb| verb == word);
    let joined = words.windows(2).filter(|pair| AND.contains(&pair[0]) && is_verb(pair[1]));
    let clauses = says(plain, NEXT_STEP) + joined.count();
    entries.max(if clauses == 0 { 0 } else { clauses + 1 }).max(1)
}

/// How often the phrases are there as whole words.
fn says(plain: &str, phrases: &[&str]) -> usize {
    let padded = format!(" {plain} ");
    phrases.iter().map(|phrase| padded.matches(&format!(" {phrase} ")).count()).sum()
}

/// Agents with words of the message that no other agent has.
fn fields<'a>(said: &BTreeSet<String>, candidates: &'a [Candidate]) -> Vec<&'a str> {
    let words: Vec<BTreeSet<String>> = candidates
        .iter()
        .map(|candidate| {
            let lists = candidate.specialties.iter().chain(&candidate.keywords);
            let text: Vec<&str> = lists.map(String::as_str).collect();
            let all = stems(&format!("{} {}", candidate.description, text.join(" ")));
            all.intersection(said).cloned().collect()
        })
        .collect();
    let mut owners: BTreeMap<&String, usize> = BTreeMap::new();
    for word in words.iter().flatten() {
        *owners.entry(word).or_default() += 1;
    }
    let named = candidates.iter().zip(&words).filter(|(candidate, words)| {
        candidate.role != "generalist" && words.iter().any(|word| owners[word] == 1)
    });
    named.map(|(candidate, _)| candidate.id.as_str()).collect()
}

/// Tools that are named by all their words, or by those after the verb.
fn tools(said: &BTreeSet<String>, candidates: &[Candidate]) -> usize {
    let tools: BTreeSet<&String> =
        candidates.iter().flat_map(|candidate| &candidate.tools).collect();
    let is_named = |tool: &&&String| {
        let own = tool.rsplit("__").next().unwrap_or(tool);
        let words = stems(&own.replace('_', " "));
        !words.is_empty() && words.iter().all(|word| said.contains(word))
    };
    tools.iter().filter(is_named).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let candidate = |id: &str, description: &str, tools: &[&str]| Candidate {
            id: id.into(),
            description: description.into(),
            tools: tools.iter().map(ToString::to_string).collect(),
            ..Candidate::default()
        };
        vec![
            candidate("finance", "Budgets and taxes", &["bank__list_payments"]),
            candidate("travel", "Flights and hotels", &["search_flights", "book_hotel"]),
        ]
    }

    #[test]
    fn a_request_is_as_big_as_what_it_asks_for() {
        for (message, expected, because) in [
            ("", 0.0, "one simple step"),
            ("What time is it?", 0.0, "one simple step"),
            ("Sum this up, then mail it", 2.0, "2 steps (+2)"),
            ("Do:\n1. this\n2. that\n3) more", 3.0, "3 steps (+3)"),
            ("Find a room and book it for next week", 2.0, "2 steps (+2)"),
            ("int a; int b; int c;", 0.0, "one simple step"),
            ("Compare the two", 3.0, "research (+3)"),
            ("Write a report", 2.0, "a long result (+2)"),
            ("Search flights", 1.0, "1 tools (+1)"),
            ("A hotel within the budget", 2.0, "fields of finance and travel (+2)"),
            (
                "Research flights and taxes, then compare hotels, then write a report, finally search flights \
                 and book a hotel and list payments",
                10.0,
                "6 steps (+5), research (+3), fields of finance and travel (+2), 3 tools (+3), a long result (+2)",
            ),
        ] {
            let score = score(message, &candidates());
            assert_eq!((score.value, score.because.as_str()), (expected, because), "{message}");
        }
        assert!((score(&"then do it; ".repeat(100_000), &[]).value - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_count_and_the_model_are_weighed() {
        let heuristic = Score { value: 4.0, because: "x".into() };
        let value = |method, llm| combine(method, Weights::default(), &heuristic, llm).value;
        for (method, llm, expected) in [
            (Method::Heuristic, Some(8.0), 4.0),
            (Method::Llm, Some(8.0), 8.0),
            (Method::Llm, Some(80.0), 10.0),
            (Method::Llm, None, 4.0),
            (Method::Llm, Some(f64::NAN), 4.0),
            (Method::Hybrid, Some(8.0), 6.0),
            (Method::Hybrid, None, 4.0),
        ] {
            assert!((value(method, llm) - expected).abs() < 1e-9, "{method:?} {llm:?}");
        }
        let weights = Weights { heuristic: 0.0, llm: 0.0 };
        assert!((combine(Method::Hybrid, weights, &heuristic, Some(8.0)).value - 4.0).abs() < 1e-9);
    }
}
