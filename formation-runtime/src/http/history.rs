//! What was said and remembered, by time.

use axum::extract::State;
use axum::http::Uri;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use muxi_contract::UserId;
use muxi_contract::formation::history::{
    History, HistoryEntry, MemorySource, PastMemory, PastTurn,
};
use muxi_memory::Past;

use super::answer::Answer;
use super::auth::{Caller, NamedUser, RequiredUser};
use super::error::Problem;
use super::memories;
use super::query::Parameters;
use super::users::time;
use crate::app::{App, Parts};

const LIMIT: u32 = 20;
const LIMIT_MAX: u32 = 100;

pub(crate) async fn history(
    _: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    let (from, to) = (moment(&mut query, "date_from"), moment(&mut query, "date_to"));
    let with_sources = query.flag("include_sources");
    query.finish()?;
    let (from_ms, before_ms) = (from.map(|it| it.first_ms), to.map(|it| it.after_ms));
    let past = app.store.for_user(&user).past(limit, from_ms, before_ms).await?;
    let user = named.shown(&user);
    let entries: Vec<HistoryEntry> =
        past.into_iter().map(|entry| shown(&app, entry, user, with_sources)).collect();
    let data = History { user_id: user.clone(), count: entries.len(), entries };
    Ok(Answer::new("memory", "memory.retrieved", &data))
}

/// A day, or a point in time: its first millisecond, and the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    first_ms: i64,
    after_ms: i64,
}

// === private helpers ===

fn moment(query: &mut Parameters, name: &str) -> Option<Moment> {
    let text = query.text(name)?.to_owned();
    let read = read(&text);
    if read.is_none() {
        let message = "must be a day such as 2026-01-31 or an ISO 8601 time".to_owned();
        query.fault(name, message);
    }
    read
}

/// Days are those of UTC.
fn read(text: &str) -> Option<Moment> {
    if let Ok(time) = text.parse::<Timestamp>() {
        let first_ms = time.as_millisecond();
        return Some(Moment { first_ms, after_ms: first_ms.saturating_add(1) });
    }
    let day: Date = text.parse().ok()?;
    let start = |day: Date| {
        let start = day.to_zoned(TimeZone::UTC).ok()?;
        Some(start.timestamp().as_millisecond())
    };
    Some(Moment { first_ms: start(day)?, after_ms: start(day.checked_add(1.day()).ok()?)? })
}

fn shown(app: &Parts, entry: Past, user: &UserId, with_sources: bool) -> HistoryEntry {
    match entry {
        Past::Turn(turn) => HistoryEntry::Conversation(PastTurn {
            timestamp: time(turn.at_ms),
            session_id: turn.session,
            request_id: turn.request_id,
            agent_id: turn.agent,
            status: turn.status,
            question: turn.question,
            answer: turn.answer,
        }),
        Past::Memory(memory) => {
            let source = MemorySource {
                event_id: memory.event_id.clone(),
                source: memory.source.clone(),
                source_id: memory.source_id.clone(),
                subject: memory.subject.clone(),
            };
            HistoryEntry::Memory(PastMemory {
                timestamp: time(memory.created_ms),
                memory: memories::shown(app, memory, user),
                sources: with_sources.then(|| vec![source]),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_there_whole_and_a_time_is_a_point() {
        let day = Moment { first_ms: 86_400_000, after_ms: 172_800_000 };
        assert_eq!(read("1970-01-02"), Some(day));
        let point = Moment { first_ms: 1_500, after_ms: 1_501 };
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Some(point));
        assert_eq!(read("yesterday"), None);
    }
}
