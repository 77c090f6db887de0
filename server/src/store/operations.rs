//! Long acts on a formation, with every step stored before anyone is told of it.

use muxi_contract::FormationId;
use muxi_contract::management::{Completed, Failed, Progress};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, audit, events};

/// What an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    Deploy,
    Update,
    Rollback,
    Start,
    Stop,
    Restart,
    Delete,
}

/// An act as it is kept, under way or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub id: String,
    pub kind: OperationKind,
    pub formation: FormationId,
    pub state: String,
    pub started_at_ms: i64,
    pub finished_at_ms: Option<i64>,
}

/// An act that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub id: String,
    pub kind: OperationKind,
    pub formation: String,
    /// The epoch of the formation that fulfils it.
    pub epoch: u64,
    /// The request that asked for it.
    pub request_id: Option<String>,
}

/// One step of an act, as clients receive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationEvent {
    Progress(Progress),
    Complete(Completed),
    Error(Failed),
}

/// Operations that are kept for a formation after they ended.
const FINISHED_KEPT: u32 = 50;
/// Operations that are kept of all formations, also of those that are gone.
const FINISHED_KEPT_OF_ALL: u32 = 2_000;

const SELECT: &str =
    "SELECT id, kind, formation, state, started_at_ms, finished_at_ms FROM operations";

/// Begins an act; refused while another one is under way on the same formation.
pub fn begin(connection: &Connection, new: &Running, now_ms: i64) -> Result<(), StoreError> {
    if let Some(busy) = running(connection, &new.formation)? {
        return Err(StoreError::busy(&busy));
    }
    connection.execute(
        "INSERT INTO operations (id, kind, formation, epoch, state, started_at_ms, request_id)
         VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6)",
        params![new.id, new.kind.as_str(), new.formation, new.epoch, now_ms, new.request_id],
    )?;
    connection.execute(
        "DELETE FROM operations WHERE formation = ?1 AND state <> 'running' AND id NOT IN (
             SELECT id FROM operations WHERE formation = ?1 AND state <> 'running'
             ORDER BY started_at_ms DESC, id DESC LIMIT ?2)",
        params![new.formation, FINISHED_KEPT],
    )?;
    connection.execute(
        "DELETE FROM operations WHERE state <> 'running' AND id NOT IN (
             SELECT id FROM operations WHERE state <> 'running' ORDER BY id DESC LIMIT ?1)",
        params![FINISHED_KEPT_OF_ALL],
    )?;
    Ok(())
}

/// Adds a step; the last one (`Complete` or `Error`) ends the act. Nothing follows an end.
pub fn append(
    connection: &Connection,
    operation: &str,
    event: &OperationEvent,
    now_ms: i64,
) -> Result<(), StoreError> {
    if !is_running(connection, operation)? {
        return Ok(());
    }
    let (name, data) = event.to_wire();
    connection.execute(
        "INSERT INTO operation_events (operation, seq, event, data)
         SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3 FROM operation_events WHERE operation = ?1",
        params![operation, name, data],
    )?;
    let state = match event {
        OperationEvent::Progress(_) => return Ok(()),
        OperationEvent::Complete(_) => "succeeded",
        OperationEvent::Error(_) => "failed",
    };
    connection.execute(
        "UPDATE operations SET state = ?2, finished_at_ms = ?3 WHERE id = ?1",
        params![operation, state, now_ms],
    )?;
    let error = match event {
        OperationEvent::Error(failed) => Some(failed.error),
        OperationEvent::Progress(_) | OperationEvent::Complete(_) => None,
    };
    audit::append_operation(connection, operation, error, now_ms)?;
    events::record_end(connection, operation, event, now_ms)
}

/// The act that is under way on a formation.
pub fn running(connection: &Connection, formation: &str) -> Result<Option<Running>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, kind, formation, epoch, request_id FROM operations
         WHERE formation = ?1 AND state = 'running'",
    )?;
    let row = statement.query_row([formation], |row| {
        let kind: String = row.get(1)?;
        let Some(kind) = OperationKind::from_name(&kind) else {
            return Ok(Err(StoreError::Unreadable(format!("operation of kind `{kind}`"))));
        };
        let (id, formation, epoch) = (row.get(0)?, row.get(2)?, row.get(3)?);
        Ok(Ok(Running { id, kind, formation, epoch, request_id: row.get(4)? }))
    });
    row.optional()?.transpose()
}

/// Whether the act has not ended.
pub fn is_running(connection: &Connection, id: &str) -> Result<bool, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM operations WHERE id = ?1 AND state = 'running'")?;
    Ok(statement.exists([id])?)
}

/// One act that is kept.
pub fn get(connection: &Connection, id: &str) -> Result<Option<Operation>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    statement.query_row([id], from_row).optional()?.transpose()
}

/// The newest acts that are kept, of one formation with its draft or of all.
pub fn list(
    connection: &Connection,
    formation: Option<&FormationId>,
    count: u32,
) -> Result<Vec<Operation>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} WHERE ?1 IS NULL OR formation IN (?1, ?2) ORDER BY id DESC LIMIT ?3"
    ))?;
    let draft = formation.map(FormationId::draft);
    let names = (formation.map(FormationId::as_str), draft.as_ref().map(FormationId::as_str));
    let rows = statement.query_map(params![names.0, names.1, count], from_row)?;
    rows.map(|row| row?).collect()
}

/// The steps after `seq`, with their numbers.
pub fn events_after(
    connection: &Connection,
    operation: &str,
    seq: u64,
) -> Result<Vec<(u64, OperationEvent)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, event, data FROM operation_events WHERE operation = ?1 AND seq > ?2
         ORDER BY seq",
    )?;
    let rows = statement.query_map(params![operation, seq], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (seq, name, data) = row?;
        Ok((seq, OperationEvent::from_wire(&name, &data)?))
    })
    .collect()
}

/// The act under way on `formation` is overtaken by another.
pub fn supersede(
    connection: &Connection,
    formation: &FormationId,
    failed: Failed,
    now_ms: i64,
) -> Result<Option<String>, StoreError> {
    let Some(overtaken) = running(connection, formation.as_str())? else { return Ok(None) };
    append(connection, &overtaken.id, &OperationEvent::Error(failed), now_ms)?;
    Ok(Some(overtaken.id))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Result<Operation, StoreError>> {
    let (kind, formation): (String, String) = (row.get(1)?, row.get(2)?);
    let (Some(kind), Ok(formation)) =
        (OperationKind::from_name(&kind), FormationId::from_stored(&formation))
    else {
        let fault = format!("operation of kind `{kind}` on `{formation}`");
        return Ok(Err(StoreError::Unreadable(fault)));
    };
    Ok(Ok(Operation {
        id: row.get(0)?,
        kind,
        formation,
        state: row.get(3)?,
        started_at_ms: row.get(4)?,
        finished_at_ms: row.get(5)?,
    }))
}

// === impl OperationKind ===

impl OperationKind {
    /// Whether it wishes for an instance, so that one that fails is its failure.
    pub const fn starts(self) -> bool {
        match self {
            Self::Deploy | Self::Update | Self::Rollback | Self::Start | Self::Restart => true,
            Self::Stop | Self::Delete => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Delete => "delete",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Deploy,
            Self::Update,
            Self::Rollback,
            Self::Start,
            Self::Stop,
            Self::Restart,
            Self::Delete,
        ];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

// === impl OperationEvent ===

impl OperationEvent {
    /// The frame's name and its JSON.
    pub fn to_wire(&self) -> (&'static str, String) {
        let json = |data: serde_json::Result<String>| data.expect("our own types always serialise");
        match self {
            Self::Progress(data) => ("progress", json(serde_json::to_string(data))),
            Self::Complete(data) => ("complete", json(serde_json::to_string(data))),
            Self::Error(data) => ("error", json(serde_json::to_string(data))),
        }
    }

    fn from_wire(name: &str, data: &str) -> Result<Self, StoreError> {
        let event = match name {
            "progress" => serde_json::from_str(data).map(Self::Progress),
            "complete" => serde_json::from_str(data).map(Self::Complete),
            _ => serde_json::from_str(data).map(Self::Error),
        };
        event.map_err(|error| StoreError::Unreadable(format!("a step `{name}`: {error}")))
    }
}
