//! Events on their way to webhooks. A lane is one webhook and one formation: only the oldest
//! pending delivery of a lane is due, so that a receiver sees a formation's events in order.

use muxi_contract::FormationId;
use muxi_contract::events::{Delivery, DeliveryCounts, DeliveryState, EventKind};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;
use super::events::rfc3339;

/// Who wants which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    pub webhook: String,
    /// Empty means all.
    pub kinds: Vec<EventKind>,
    /// Empty means all.
    pub formations: Vec<FormationId>,
    pub attempts_max: u32,
}

/// A delivery whose time has come.
#[derive(Debug, Clone)]
pub struct Due {
    pub id: String,
    pub webhook: String,
    pub event_id: String,
    pub kind: String,
    pub body: String,
    /// Attempts so far.
    pub attempts: u32,
    pub attempts_max: u32,
}

/// What an attempt came to.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub at_ms: i64,
    pub duration_ms: u64,
    pub status: Option<u16>,
    /// Absent when it was delivered.
    pub error: Option<String>,
    /// When to try again; absent when it is over.
    pub next_at_ms: Option<i64>,
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub webhook: Option<String>,
    pub formation: Option<FormationId>,
    pub state: Option<DeliveryState>,
}

/// Deliveries that are over and kept.
const KEPT_MAX: u64 = 10_000;
/// Events that are handed out in one transaction.
const BATCH_MAX: usize = 200;

/// Lets a webhook begin with the next event, and forgets those that are no longer configured.
pub fn subscribe(connection: &Connection, subscribers: &[Subscriber]) -> Result<(), StoreError> {
    let names: Vec<&str> = subscribers.iter().map(|it| it.webhook.as_str()).collect();
    let names = serde_json::to_string(&names).expect("strings always serialise");
    connection.execute(
        "INSERT INTO webhook_cursors (webhook, seq)
         SELECT value, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)
         FROM json_each(?1) WHERE true ON CONFLICT (webhook) DO NOTHING",
        [&names],
    )?;
    connection.execute(
        "DELETE FROM webhook_cursors WHERE webhook NOT IN (SELECT value FROM json_each(?1))",
        [&names],
    )?;
    connection.execute(
        "UPDATE deliveries SET state = 'failed', last_error = 'the webhook is no longer configured'
         WHERE state = 'pending' AND webhook NOT IN (SELECT value FROM json_each(?1))",
        [&names],
    )?;
    Ok(())
}

/// Makes deliveries of the next events that a subscriber has not been given yet.
pub fn hand_out(
    connection: &Connection,
    subscribers: &[Subscriber],
    now_ms: i64,
) -> Result<(), StoreError> {
    let newest = super::events::newest(connection)?;
    for subscriber in subscribers {
        let cursor: u64 = connection.query_row(
            "SELECT seq FROM webhook_cursors WHERE webhook = ?1",
            [&subscriber.webhook],
            |row| row.get(0),
        )?;
        let mut statement = connection.prepare_cached(
            "SELECT seq, kind, formation FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![cursor, BATCH_MAX], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        let events = rows.collect::<Result<Vec<_>, _>>()?;
        let whole = events.len() < BATCH_MAX;
        let last = events.last().map(|(seq, ..)| *seq).filter(|_| !whole).unwrap_or(newest);
        for (event, kind, formation) in &events {
            if subscriber.wants(kind, formation) {
                insert(connection, subscriber, *event, formation, now_ms)?;
            }
        }
        connection.execute(
            "UPDATE webhook_cursors SET seq = ?2 WHERE webhook = ?1",
            // Some may be gone already, so the last of them need not be there.
            params![subscriber.webhook, last],
        )?;
    }
    Ok(())
}

/// Whether there are events that were not handed out to every webhook.
pub fn is_behind(connection: &Connection) -> Result<bool, StoreError> {
    let newest = super::events::newest(connection)?;
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM webhook_cursors WHERE seq < ?1")?;
    Ok(statement.exists([newest])?)
}

/// Makes one delivery. Answers its id.
pub fn insert(
    connection: &Connection,
    subscriber: &Subscriber,
    event: u64,
    formation: &str,
    now_ms: i64,
) -> Result<String, StoreError> {
    let id = format!("dlv_{}", uuid::Uuid::now_v7().simple());
    connection.execute(
        "INSERT INTO deliveries (id, event, webhook, formation, state, attempts_max, created_at_ms,
         next_attempt_at_ms) VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?6)",
        params![id, event, subscriber.webhook, formation, subscriber.attempts_max, now_ms],
    )?;
    Ok(id)
}

/// The first of each lane whose time has come, the most overdue first.
pub fn due(connection: &Connection, now_ms: i64, count_max: usize) -> Result<Vec<Due>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT d.id, d.webhook, e.id, e.kind, e.body, d.attempts, d.attempts_max
         FROM deliveries d JOIN events e ON e.seq = d.event
         WHERE {IS_FIRST} AND d.next_attempt_at_ms <= ?1
         ORDER BY d.next_attempt_at_ms, d.number LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![now_ms, count_max], |row| {
        Ok(Due {
            id: row.get(0)?,
            webhook: row.get(1)?,
            event_id: row.get(2)?,
            kind: row.get(3)?,
            body: row.get(4)?,
            attempts: row.get(5)?,
            attempts_max: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the next delivery is due that is not due at `now_ms`.
pub fn next_at(connection: &Connection, now_ms: i64) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT min(d.next_attempt_at_ms) FROM deliveries d
         WHERE {IS_FIRST} AND d.next_attempt_at_ms > ?1"
    ))?;
    Ok(statement.query_row([now_ms], |row| row.get(0))?)
}

const IS_FIRST: &str = "d.state = 'pending' AND NOT EXISTS (
    SELECT 1 FROM deliveries o WHERE o.state = 'pending' AND o.webhook = d.webhook
    AND o.formation = d.formation AND o.event < d.event)";

/// Notes what an attempt came to.
pub fn note(connection: &Connection, id: &str, attempt: &Attempt) -> Result<(), StoreError> {
    let state = match (&attempt.error, attempt.next_at_ms) {
        (None, _) => DeliveryState::Delivered,
        (Some(_), Some(_)) => DeliveryState::Pending,
        (Some(_), None) => DeliveryState::Failed,
    };
    let delivered_at_ms = (state == DeliveryState::Delivered).then_some(attempt.at_ms);
    connection.execute(
        "UPDATE deliveries SET state = ?2, attempts = attempts + 1, last_attempt_at_ms = ?3,
         last_duration_ms = ?4, last_status = ?5, last_error = ?6,
         next_attempt_at_ms = coalesce(?7, next_attempt_at_ms),
         delivered_at_ms = coalesce(?8, delivered_at_ms) WHERE id = ?1",
        params![
            id,
            state.as_str(),
            attempt.at_ms,
            attempt.duration_ms,
            attempt.status,
            attempt.error,
            attempt.next_at_ms,
            delivered_at_ms,
        ],
    )?;
    Ok(())
}

/// Makes a delivery due now, with its full number of attempts. Whether it is known.
pub fn retry(
    connection: &Connection,
    id: &str,
    attempts_max: u32,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let changed = connection.execute(
        "UPDATE deliveries SET state = 'pending', attempts_max = attempts + ?2,
         next_attempt_at_ms = ?3 WHERE id = ?1",
        params![id, attempts_max, now_ms],
    )?;
    Ok(changed > 0)
}

pub fn get(connection: &Connection, id: &str) -> Result<Option<Delivery>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE d.id = ?1"))?;
    let found = statement.query_row([id], from_row).optional()?.transpose()?;
    Ok(found.map(|(_, delivery)| delivery))
}

/// Up to `count_max` deliveries that fit with their numbers, newest first, older than `before`.
pub fn list(
    connection: &Connection,
    filter: &Filter,
    before: Option<u64>,
    count_max: usize,
) -> Result<Vec<(u64, Delivery)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} WHERE (?1 IS NULL OR d.webhook = ?1) AND (?2 IS NULL OR d.formation = ?2)
         AND (?3 IS NULL OR d.state = ?3) AND d.number < ?4 ORDER BY d.number DESC LIMIT ?5"
    ))?;
    let rows = statement.query_map(
        params![
            filter.webhook,
            filter.formation.as_ref().map(FormationId::as_str),
            filter.state.map(DeliveryState::as_str),
            before.unwrap_or(i64::MAX.unsigned_abs()),
            count_max,
        ],
        from_row,
    )?;
    rows.map(|row| row?).collect()
}

/// How many deliveries of a webhook are in which state.
pub fn counts(connection: &Connection, webhook: &str) -> Result<DeliveryCounts, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT state, count(*) FROM deliveries WHERE webhook = ?1 GROUP BY state",
    )?;
    let rows = statement
        .query_map([webhook], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?;
    let mut counts = DeliveryCounts::default();
    for row in rows {
        let (state, count) = row?;
        match known::<DeliveryState>(&state)? {
            DeliveryState::Pending => counts.pending = count,
            DeliveryState::Delivered => counts.delivered = count,
            DeliveryState::Failed => counts.failed = count,
        }
    }
    Ok(counts)
}

/// Removes what is over and too much; what is too old goes with its event.
pub fn prune(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM deliveries WHERE state <> 'pending' AND number <= (
             SELECT number FROM deliveries WHERE state <> 'pending'
             ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        [KEPT_MAX],
    )?;
    Ok(())
}

const SELECT: &str = "SELECT d.number, d.id, d.webhook, e.id, e.kind, d.formation, d.state,
    d.attempts, d.created_at_ms, d.next_attempt_at_ms, d.last_attempt_at_ms, d.last_duration_ms,
    d.last_status, d.last_error, d.delivered_at_ms
    FROM deliveries d JOIN events e ON e.seq = d.event";

// === impl Subscriber ===

impl Subscriber {
    fn wants(&self, kind: &str, formation: &str) -> bool {
        // A ping is meant for one webhook, which has it already.
        kind != EventKind::Ping.as_str()
            && (self.kinds.is_empty() || self.kinds.iter().any(|it| it.as_str() == kind))
            && (self.formations.is_empty()
                || self.formations.iter().any(|it| it.as_str() == formation))
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Result<(u64, Delivery), StoreError>> {
    let (event, formation, state): (String, String, String) =
        (row.get(4)?, row.get(5)?, row.get(6)?);
    let time =
        |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(rfc3339));
    let (event, state) = match (known(&event), known(&state)) {
        (Ok(event), Ok(state)) => (event, state),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    let delivery = Delivery {
        id: row.get(1)?,
        webhook: row.get(2)?,
        event_id: row.get(3)?,
        event,
        formation: formation.parse().ok(),
        state,
        attempts: row.get(7)?,
        created_at: rfc3339(row.get(8)?),
        next_attempt_at: time(9)?.filter(|_| state == DeliveryState::Pending),
        last_attempt_at: time(10)?,
        last_duration_ms: row.get(11)?,
        last_status: row.get(12)?,
        last_error: row.get(13)?,
        delivered_at: time(14)?,
    };
    Ok(Ok((row.get(0)?, delivery)))
}

fn known<T: std::str::FromStr<Err: std::fmt::Display>>(word: &str) -> Result<T, StoreError> {
    word.parse().map_err(|error: T::Err| StoreError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests;
