//! What happened to formations, in order. An event is recorded in the transaction that changes the
//! state it is about, so that neither is ever there without the other.

use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::events::{Event, EventFormation, EventKind};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::operations::{self, OperationEvent, OperationKind};
use super::{StoreError, formations};

/// What is to be recorded; id, time, server and the formation's version are added.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub kind: EventKind,
    /// None for a ping.
    pub formation: Option<FormationId>,
    pub reason: Option<String>,
    /// The last lines of the formation's log.
    pub log: Vec<String>,
    pub operation_id: Option<String>,
    pub request_id: Option<String>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub formation: Option<FormationId>,
    pub kind: Option<EventKind>,
    /// Not older than this.
    pub since_ms: Option<i64>,
}

/// An event with its place in the order.
pub type Numbered = (u64, Event);

/// Events that are kept.
const KEPT_MAX: u64 = 10_000;
const KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Of one line of a log within an event.
const LINE_BYTES_MAX: usize = 1_024;
/// Of the reason.
const REASON_BYTES_MAX: usize = 4_096;

/// Writes an event down. The formation must still be stored. Answers its number.
pub fn record(connection: &Connection, new: NewEvent, now_ms: i64) -> Result<u64, StoreError> {
    // What a draft does is nobody's news but its developer's.
    if new.formation.as_ref().is_some_and(FormationId::is_draft) {
        return newest(connection);
    }
    let formation = match &new.formation {
        Some(id) => formations::get(connection, id)?.map(|it| EventFormation {
            generation: it.generation(),
            id: it.id,
            version: it.version,
            port: it.port,
        }),
        None => None,
    };
    let id = format!("evt_{}", uuid::Uuid::now_v7().simple());
    let name = new.formation.as_ref().map_or("", FormationId::as_str);
    let event = Event {
        id,
        kind: new.kind,
        at: rfc3339(now_ms),
        server_id: server_id(connection)?,
        formation,
        reason: new.reason.map(|text| cut(text, REASON_BYTES_MAX)),
        log: new.log.into_iter().map(|line| cut(line, LINE_BYTES_MAX)).collect(),
        operation_id: new.operation_id,
        request_id: new.request_id,
    };
    let body = serde_json::to_string(&event).expect("our own types always serialise");
    connection.execute(
        "INSERT INTO events (id, kind, formation, at_ms, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![event.id, event.kind.as_str(), name, now_ms, body],
    )?;
    let seq = u64::try_from(connection.last_insert_rowid()).expect("numbers count from 1");
    connection.execute("DELETE FROM events WHERE seq <= ?1", [seq.saturating_sub(KEPT_MAX)])?;
    Ok(seq)
}

/// Records what the end of an operation means for its formation.
pub(super) fn record_end(
    connection: &Connection,
    operation: &str,
    end: &OperationEvent,
    now_ms: i64,
) -> Result<(), StoreError> {
    let found = connection.query_row(
        "SELECT kind, formation, request_id FROM operations WHERE id = ?1",
        [operation],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?)),
    );
    let Some((kind, formation, request_id)) = found.optional()? else { return Ok(()) };
    let Some(kind) = OperationKind::from_name(&kind).and_then(|it| meaning(it, end)) else {
        return Ok(());
    };
    let (reason, log) = match end {
        OperationEvent::Error(failed) => (Some(failed.message.clone()), failed.details.clone()),
        OperationEvent::Progress(_) | OperationEvent::Complete(_) => (None, Vec::new()),
    };
    let operation_id = Some(operation.to_owned());
    let formation = FormationId::from_stored(&formation).ok();
    record(
        connection,
        NewEvent { kind, formation, reason, log, operation_id, request_id },
        now_ms,
    )?;
    Ok(())
}

/// Records a crash, unless it is one of the instance that an operation tries: that operation fails,
/// and its end is told.
pub fn record_crash(
    connection: &Connection,
    formation: &FormationId,
    epoch: u64,
    (reason, log): (Option<String>, Vec<String>),
    now_ms: i64,
) -> Result<(), StoreError> {
    use OperationKind::{Deploy, Rollback, Update};
    let running = operations::running(connection, formation.as_str())?;
    let tried = running.filter(|it| it.epoch == epoch);
    if tried.is_some_and(|it| matches!(it.kind, Deploy | Update | Rollback)) {
        return Ok(());
    }
    record(
        connection,
        NewEvent { reason, log, ..NewEvent::of(EventKind::Crashed, formation) },
        now_ms,
    )?;
    Ok(())
}

/// Records that a formation is healthy again, if its last word was a crash.
pub fn record_recovery(
    connection: &Connection,
    formation: &FormationId,
    now_ms: i64,
) -> Result<(), StoreError> {
    if is_down(connection, formation)? {
        record(connection, NewEvent::of(EventKind::Recovered, formation), now_ms)?;
    }
    Ok(())
}

/// What events call this manager from now on.
pub fn name_server(connection: &Connection, id: &str) -> Result<(), StoreError> {
    connection.execute("INSERT OR REPLACE INTO server (only, id) VALUES (1, ?1)", [id])?;
    Ok(())
}

/// The number of the newest event there ever was; 0 if there was none.
pub fn newest(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Up to `count_max` events that fit, newest first, older than `before`.
pub fn list(
    connection: &Connection,
    filter: &Filter,
    before: Option<u64>,
    count_max: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let range = 0..before.unwrap_or(i64::MAX.unsigned_abs());
    select(connection, filter, range, "DESC", count_max)
}

/// Up to `count_max` events that fit, oldest first, newer than `after`.
pub fn after(
    connection: &Connection,
    filter: &Filter,
    after: u64,
    count_max: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let range = after.saturating_add(1)..i64::MAX.unsigned_abs();
    select(connection, filter, range, "ASC", count_max)
}

/// Removes what is too old.
pub fn prune(connection: &Connection, now_ms: i64) -> Result<(), StoreError> {
    connection.execute("DELETE FROM events WHERE at_ms < ?1", [now_ms - KEPT_MS])?;
    Ok(())
}

/// Whether the formation's last word on its health is a crash.
fn is_down(connection: &Connection, formation: &FormationId) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind FROM events WHERE formation = ?1 AND kind IN
         ('formation.crashed', 'formation.crash_loop', 'formation.recovered', 'formation.deployed',
          'formation.deleted')
         ORDER BY seq DESC LIMIT 1",
    )?;
    let kind: Option<String> =
        statement.query_row([formation.as_str()], |row| row.get(0)).optional()?;
    let down = [EventKind::Crashed, EventKind::CrashLoop].map(EventKind::as_str);
    Ok(kind.is_some_and(|kind| down.contains(&kind.as_str())))
}

fn server_id(connection: &Connection) -> Result<String, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM server")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// The event that the end of an operation is; a start or a stop that failed is none of its own.
fn meaning(kind: OperationKind, end: &OperationEvent) -> Option<EventKind> {
    use OperationKind::{Delete, Deploy, Restart, Rollback, Start, Stop, Update};
    match (kind, end) {
        (Deploy, OperationEvent::Complete(_)) => Some(EventKind::Deployed),
        (Deploy, OperationEvent::Error(_)) => Some(EventKind::DeployFailed),
        (Update, OperationEvent::Complete(_)) => Some(EventKind::Updated),
        (Rollback, OperationEvent::Complete(_)) => Some(EventKind::RolledBack),
        (Update | Rollback, OperationEvent::Error(_)) => Some(EventKind::UpdateFailed),
        (Start | Restart, OperationEvent::Complete(_)) => Some(EventKind::Started),
        (Stop, OperationEvent::Complete(_)) => Some(EventKind::Stopped),
        (Delete, OperationEvent::Complete(_)) => Some(EventKind::Deleted),
        (_, OperationEvent::Progress(_))
        | (Start | Restart | Stop | Delete, OperationEvent::Error(_)) => None,
    }
}

// === impl NewEvent ===

impl NewEvent {
    /// One of a formation, without anything more to say.
    pub fn of(kind: EventKind, formation: &FormationId) -> Self {
        Self {
            kind,
            formation: Some(formation.clone()),
            reason: None,
            log: Vec::new(),
            operation_id: None,
            request_id: None,
        }
    }
}

fn select(
    connection: &Connection,
    filter: &Filter,
    range: std::ops::Range<u64>,
    order: &str,
    count_max: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT seq, body FROM events
         WHERE seq >= ?1 AND seq < ?2 AND (?3 IS NULL OR formation = ?3)
           AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR at_ms >= ?5)
         ORDER BY seq {order} LIMIT ?6"
    ))?;
    let rows = statement.query_map(
        params![
            range.start,
            range.end,
            filter.formation.as_ref().map(FormationId::as_str),
            filter.kind.map(EventKind::as_str),
            filter.since_ms,
            count_max,
        ],
        |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)),
    )?;
    rows.map(|row| {
        let (seq, body) = row?;
        let event = serde_json::from_str(&body)
            .map_err(|error| StoreError::Unreadable(format!("event {seq}: {error}")))?;
        Ok((seq, event))
    })
    .collect()
}

pub(super) fn rfc3339(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}
