//! The living instances of each formation, written before they are started and as observed.

use muxi_contract::FormationId;
use rusqlite::{Connection, Row, params};

use super::StoreError;
use crate::supervisor::lifecycle::{Instance, Target};
use crate::supervisor::process::Identity;

/// One instance that was started and not yet seen to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    pub instance: Instance,
    pub spawned_at_ms: i64,
    /// Absent when the manager died between the start and the note of it.
    pub identity: Option<Identity>,
    pub healthy_at_ms: Option<i64>,
    /// When it last got the formation's traffic.
    pub routed_at_ms: Option<i64>,
    /// When it was told to finish what it has.
    pub leaving_at_ms: Option<i64>,
}

/// A moment in an instance's life that is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    Healthy,
    Routed,
    Leaving,
}

/// Notes that an instance is about to be started.
pub fn begin(
    connection: &Connection,
    formation: &FormationId,
    instance: Instance,
    now_ms: i64,
) -> Result<(), StoreError> {
    let Instance { number, target } = instance;
    connection.execute(
        "INSERT OR REPLACE INTO instances (formation, instance, generation, epoch, spawned_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![formation.as_str(), number, target.generation, target.epoch, now_ms],
    )?;
    connection.execute(
        "UPDATE formations SET newest_instance = ?2 WHERE id = ?1",
        params![formation.as_str(), number],
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

pub fn reached(
    connection: &Connection,
    formation: &FormationId,
    instance: u64,
    milestone: Milestone,
    now_ms: i64,
) -> Result<(), StoreError> {
    let column = match milestone {
        Milestone::Healthy => "healthy_at_ms",
        Milestone::Routed => "routed_at_ms",
        Milestone::Leaving => "leaving_at_ms",
    };
    connection.execute(
        &format!("UPDATE instances SET {column} = ?3 WHERE formation = ?1 AND instance = ?2"),
        params![formation.as_str(), instance, now_ms],
    )?;
    Ok(())
}

/// Notes that an instance stands for a newer wish than it was started for.
pub fn set_epoch(
    connection: &Connection,
    formation: &FormationId,
    instance: u64,
    epoch: u64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE instances SET epoch = ?3 WHERE formation = ?1 AND instance = ?2",
        params![formation.as_str(), instance, epoch],
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

/// Whether some process of the formation is there to serve, or is on its way to.
pub fn any_stays(connection: &Connection, formation: &FormationId) -> Result<bool, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM instances WHERE formation = ?1 AND leaving_at_ms IS NULL")?;
    Ok(statement.exists([formation.as_str()])?)
}

/// The formation's instances, oldest first.
pub fn of(
    connection: &Connection,
    formation: &FormationId,
) -> Result<Vec<InstanceRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, generation, epoch, spawned_at_ms, pid, start_ticks, boot_id,
         healthy_at_ms, routed_at_ms, leaving_at_ms
         FROM instances WHERE formation = ?1 ORDER BY instance",
    )?;
    let rows = statement.query_map([formation.as_str()], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    let process: (Option<u32>, Option<u64>, Option<String>) =
        (row.get(4)?, row.get(5)?, row.get(6)?);
    let identity = match process {
        (Some(pid), Some(start_ticks), Some(boot_id)) => {
            Some(Identity { pid, start_ticks, boot_id })
        }
        _ => None,
    };
    let target = Target { generation: row.get(1)?, epoch: row.get(2)? };
    Ok(InstanceRow {
        instance: Instance { number: row.get(0)?, target },
        spawned_at_ms: row.get(3)?,
        identity,
        healthy_at_ms: row.get(7)?,
        routed_at_ms: row.get(8)?,
        leaving_at_ms: row.get(9)?,
    })
}
