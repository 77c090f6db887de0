//! Formations that the manager itself stopped, and why. A hold is void once an operator has wished
//! for anything newer: it counts for one epoch.

use muxi_contract::FormationId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// Notes why a formation was stopped; nothing if an operator has started it again meanwhile.
pub fn put(
    connection: &Connection,
    formation: &FormationId,
    reason: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT OR REPLACE INTO holds (formation, epoch, reason, at_ms)
         SELECT id, epoch, ?2, ?3 FROM formations WHERE id = ?1 AND desired_state = 'stopped'",
        params![formation.as_str(), reason, now_ms],
    )?;
    Ok(())
}

/// Why the manager holds the formation, if it does.
pub fn reason(
    connection: &Connection,
    formation: &FormationId,
) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT h.reason FROM holds h JOIN formations f ON f.id = h.formation
         WHERE f.id = ?1 AND f.epoch = h.epoch AND f.desired_state = 'stopped'",
    )?;
    Ok(statement.query_row([formation.as_str()], |row| row.get(0)).optional()?)
}
