//! What was said before, in all sessions of the user.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use muxi_llm::ToolSpec;
use muxi_memory::{Past, Store};
use muxi_orchestration::fence;
use muxi_tools::{Call, Content, Outcome};
use serde_json::json;

use super::{Reads, count, text, unavailable};

#[derive(Debug)]
pub(super) struct Recall {
    store: Store,
}

/// So many of the newest things are looked through.
const LOOKED_AT: u32 = 500;
const LIMIT_USUAL: u32 = 10;
const LIMIT_MAX: u32 = 50;
const TEXT_CHARS_MAX: usize = 700;

// === impl Recall ===

impl Recall {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Reads for Recall {
    fn spec() -> ToolSpec {
        ToolSpec {
            name: "recall_history".to_owned(),
            description: "Look up what was said with this user before, in any session: questions, \
                          answers and remembered facts, the newest first."
                .to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {
                    "date_from": {"type": "string", "description": "First day, as YYYY-MM-DD (UTC)."},
                    "date_to": {"type": "string", "description": "Last day, as YYYY-MM-DD (UTC)."},
                    "query": {"type": "string", "description": "Words that must occur."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
                },
                "additionalProperties": false,
            })),
        }
    }

    fn read<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome> {
        async move {
            let arguments = &call.arguments;
            let day = |name| match text(arguments, name) {
                None => Ok(None),
                Some(text) => text.parse::<Date>().map(Some).map_err(|_| {
                    Outcome::refused(format!("`{name}` must be a day such as 2026-01-31."))
                }),
            };
            let (from, to) = match (day("date_from"), day("date_to")) {
                (Ok(from), Ok(to)) => (from, to),
                (Err(refused), _) | (_, Err(refused)) => return refused,
            };
            let from_ms = from.and_then(begin_ms);
            let before_ms = to.and_then(|day| begin_ms(day.tomorrow().ok()?));
            let past = self.store.for_user(&call.user).past(LOOKED_AT, from_ms, before_ms).await;
            let past = match past {
                Ok(past) => past,
                Err(error) => return unavailable(&error),
            };
            let words: Vec<String> = text(arguments, "query")
                .map(|query| query.to_lowercase().split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default();
            let limit = count(arguments, "limit", LIMIT_USUAL, LIMIT_MAX) as usize;
            let found = past.iter().filter_map(|it| Some((line(it)?, it))).filter(|(line, _)| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(word))
            });
            let (lines, found): (Vec<String>, Vec<&Past>) = found.take(limit).unzip();
            let said =
                if lines.is_empty() { "Nothing was found.".to_owned() } else { lines.join("\n") };
            // What the user and models said is trusted, unless others had a word in it.
            let is_tainted = |it: &&Past| matches!(it, Past::Turn(turn) if turn.is_tainted);
            let is_trusted = !found.iter().any(is_tainted);
            Outcome { content: vec![Content::Text(said)], is_trusted, ..Outcome::default() }
        }
        .boxed()
    }
}

// === private helpers ===

fn begin_ms(day: Date) -> Option<i64> {
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn line(past: &Past) -> Option<String> {
    let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    let short = |text: &str| {
        let text = fence::outside(text);
        let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    match past {
        Past::Turn(turn) => {
            let question = short(turn.question.as_deref()?);
            let answer = turn.answer.as_deref().map(short).unwrap_or_default();
            Some(format!(
                "{} (session {}) user: {question} | assistant: {answer}",
                at(turn.at_ms),
                turn.session
            ))
        }
        Past::Memory(memory) => {
            Some(format!("{} remembered: {}", at(memory.created_ms), short(&memory.content)))
        }
    }
}
