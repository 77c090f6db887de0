//! How operations ended, for those who count them.

use rusqlite::{Connection, OptionalExtension as _};

use super::StoreError;

/// An operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub kind: String,
    pub succeeded: bool,
    pub started_at_ms: i64,
    pub finished_at_ms: i64,
}

/// `None` while the operation is under way, and for what drafts do: nobody counts tries.
pub fn get(connection: &Connection, operation: &str) -> Result<Option<Outcome>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, state, started_at_ms, finished_at_ms FROM operations
         WHERE id = ?1 AND state <> 'running' AND finished_at_ms IS NOT NULL
         AND formation NOT LIKE '%@%'",
    )?;
    let row = statement.query_row([operation], |row| {
        Ok(Outcome {
            kind: row.get(0)?,
            succeeded: row.get::<_, String>(1)? == "succeeded",
            started_at_ms: row.get(2)?,
            finished_at_ms: row.get(3)?,
        })
    });
    Ok(row.optional()?)
}
