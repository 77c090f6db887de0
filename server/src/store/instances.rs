//! The living instance of each formation, written before it is started and as it is observed.

use muxi_contract::FormationId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use crate::supervisor::process::Identity;

/// One instance that was started and not yet seen to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    pub instance: u64,
    pub generation: u64,
    pub epoch: u64,
    pub spawned_at_ms: i64,
    /// Absent when the manager died between the start and the note of it.
    pub identity: Option<Identity>,
    pub healthy_at_ms: Option<i64>,
}

/// Notes that an instance is about to be started.
pub fn begin(
    connection: &Connection,
    formation: &FormationId,
    row: &InstanceRow,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT OR REPLACE INTO instances (formation, instance, generation, epoch, spawned_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![formation.as_str(), row.instance, row.generation, row.epoch, row.spawned_at_ms],
    )?;
    connection.execute(
        "UPDATE formations SET newest_instance = ?2 WHERE id = ?1",
        params![formation.as_str(), row.instance],
    )?;
    Ok(())
}

pub fn set_identity(
    connection: &Connection,
    formation: &FormationId,
    instance: u64,
    identity: &Identity,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE instances SET pid = ?3, start_ticks = ?4, boot_id = ?5
         WHERE formation = ?1 AND instance = ?2",
        params![formation.as_str(), instance, identity.pid, identity.start_ticks, identity.boot_id],
    )?;
    Ok(())
}

pub fn set_healthy(
    connection: &Connection,
    formation: &FormationId,
    instance: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE instances SET healthy_at_ms = ?3 WHERE formation = ?1 AND instance = ?2",
        params![formation.as_str(), instance, now_ms],
    )?;
    Ok(())
}

/// Notes that an instance is gone.
pub fn end(
    connection: &Connection,
    formation: &FormationId,
    instance: u64,
) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM instances WHERE formation = ?1 AND instance = ?2",
        params![formation.as_str(), instance],
    )?;
    Ok(())
}

pub fn get(
    connection: &Connection,
    formation: &FormationId,
) -> Result<Option<InstanceRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, generation, epoch, spawned_at_ms, pid, start_ticks, boot_id, healthy_at_ms
         FROM instances WHERE formation = ?1",
    )?;
    let row = statement.query_row([formation.as_str()], |row| {
        let process: (Option<u32>, Option<u64>, Option<String>) =
            (row.get(4)?, row.get(5)?, row.get(6)?);
        let identity = match process {
            (Some(pid), Some(start_ticks), Some(boot_id)) => {
                Some(Identity { pid, start_ticks, boot_id })
            }
            _ => None,
        };
        Ok(InstanceRow {
            instance: row.get(0)?,
            generation: row.get(1)?,
            epoch: row.get(2)?,
            spawned_at_ms: row.get(3)?,
            identity,
            healthy_at_ms: row.get(7)?,
        })
    });
    Ok(row.optional()?)
}
