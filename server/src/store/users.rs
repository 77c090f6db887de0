//! User ids of formations. A row stays when its formation goes, so that no other formation gets the
//! id while files could be left; a formation of the same name gets its old id again.

use std::ops::Range;

use muxi_contract::FormationId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// The formation's id in this range, if it has one.
pub fn get(
    connection: &Connection,
    formation: &FormationId,
    range: &Range<u32>,
) -> Result<Option<u32>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT uid FROM formation_users WHERE formation = ?1 AND uid >= ?2 AND uid < ?3",
    )?;
    let uid = statement
        .query_row(params![formation.as_str(), range.start, range.end], |row| row.get(0))
        .optional()?;
    Ok(uid)
}

/// The formation's id, a new one if need be. Of ids that were used, the ones of formations that are
/// gone are taken last, the longest unused first; `None` when even these have run out.
pub fn lease(
    connection: &Connection,
    formation: &FormationId,
    range: &Range<u32>,
) -> Result<Option<u32>, StoreError> {
    if let Some(uid) = get(connection, formation, range)? {
        return Ok(Some(uid));
    }
    let (first, end) = (range.start, range.end);
    let next: u32 = connection.query_row(
        "SELECT coalesce(max(uid) + 1, ?1) FROM formation_users WHERE uid >= ?1 AND uid < ?2",
        params![first, end],
        |row| row.get(0),
    )?;
    let uid = if next < end {
        Some(next)
    } else {
        let unused = "DELETE FROM formation_users WHERE formation = (
                SELECT formation FROM formation_users WHERE uid >= ?1 AND uid < ?2
                AND formation NOT IN (SELECT id FROM formations) ORDER BY rowid LIMIT 1)
             RETURNING uid";
        connection.query_row(unused, params![first, end], |row| row.get(0)).optional()?
    };
    if let Some(uid) = uid {
        connection.execute(
            "INSERT OR REPLACE INTO formation_users (formation, uid) VALUES (?1, ?2)",
            params![formation.as_str(), uid],
        )?;
    }
    Ok(uid)
}
