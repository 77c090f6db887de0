//! Rows of formations, their generations and their ports.

use muxi_contract::FormationId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;
use crate::supervisor::lifecycle::{Desired, DesiredState};

/// One formation with its current generation and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formation {
    pub id: FormationId,
    pub name: String,
    pub desired: Desired,
    pub generation: u64,
    pub newest_instance: u64,
    pub restart_count: u32,
    pub port: u16,
    pub bundle_sha256: String,
    pub version: String,
    pub created_at_ms: i64,
    pub deployed_at_ms: i64,
    pub updated_at_ms: i64,
}

/// What a first deploy stores.
#[derive(Debug, Clone)]
pub struct NewFormation {
    pub id: FormationId,
    pub name: String,
    pub port: u16,
    pub bundle_sha256: String,
    pub version: String,
}

/// The generation and the epoch of a first deploy.
pub const FIRST: u64 = 1;

const SELECT: &str = "SELECT f.id, f.name, f.desired_state, f.epoch, f.generation,
    f.newest_instance, f.restart_count, p.port, g.bundle_sha256, g.version,
    f.created_at_ms, f.deployed_at_ms, f.updated_at_ms
    FROM formations f
    JOIN ports p ON p.formation = f.id
    JOIN generations g ON g.formation = f.id AND g.generation = f.generation";

/// Stores a formation that should run.
pub fn insert(connection: &Connection, new: &NewFormation, now_ms: i64) -> Result<(), StoreError> {
    let id = new.id.as_str();
    if exists(connection, &new.id)? {
        return Err(StoreError::FormationExists(id.to_owned()));
    }
    connection.execute(
        "INSERT INTO formations (id, name, desired_state, epoch, generation, created_at_ms,
         deployed_at_ms, updated_at_ms) VALUES (?1, ?2, 'running', ?3, ?3, ?4, ?4, ?4)",
        params![id, new.name, FIRST, now_ms],
    )?;
    connection.execute(
        "INSERT INTO generations (formation, generation, bundle_sha256, version, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, FIRST, new.bundle_sha256, new.version, now_ms],
    )?;
    let leased = connection.execute(
        "INSERT INTO ports (port, formation) VALUES (?1, ?2) ON CONFLICT (port) DO NOTHING",
        params![new.port, id],
    )?;
    if leased == 0 { Err(StoreError::PortLeased(new.port)) } else { Ok(()) }
}

pub fn exists(connection: &Connection, id: &FormationId) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM formations WHERE id = ?1")?;
    Ok(statement.exists([id.as_str()])?)
}

pub fn get(connection: &Connection, id: &FormationId) -> Result<Option<Formation>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE f.id = ?1"))?;
    statement.query_row([id.as_str()], from_row).optional()?.transpose()
}

/// All formations, by id.
pub fn all(connection: &Connection) -> Result<Vec<Formation>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY f.id"))?;
    let rows = statement.query_map([], from_row)?;
    rows.map(|row| row?).collect()
}

/// Stores what should be; `new_epoch` asks for a fresh instance. Answers the epoch to reach.
pub fn set_desired(
    connection: &Connection,
    id: &FormationId,
    state: DesiredState,
    new_epoch: bool,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let epoch = connection
        .query_row(
            "UPDATE formations SET desired_state = ?2, epoch = epoch + ?3, updated_at_ms = ?4
             WHERE id = ?1 RETURNING epoch",
            params![id.as_str(), state.as_str(), u64::from(new_epoch), now_ms],
            |row| row.get(0),
        )
        .optional()?;
    epoch.ok_or_else(|| StoreError::UnknownFormation(id.to_string()))
}

pub fn count_restart(connection: &Connection, id: &FormationId) -> Result<u32, StoreError> {
    let count = connection.query_row(
        "UPDATE formations SET restart_count = restart_count + 1 WHERE id = ?1
         RETURNING restart_count",
        [id.as_str()],
        |row| row.get(0),
    )?;
    Ok(count)
}

/// Removes the formation with its generations, port and instance.
pub fn remove(connection: &Connection, id: &FormationId) -> Result<(), StoreError> {
    connection.execute("DELETE FROM formations WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

pub fn leased_ports(connection: &Connection) -> Result<Vec<u16>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT port FROM ports ORDER BY port")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The bundles that only this formation was made of.
pub fn own_bundles(connection: &Connection, id: &FormationId) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT bundle_sha256 FROM generations WHERE formation = ?1 EXCEPT
         SELECT bundle_sha256 FROM generations WHERE formation <> ?1",
    )?;
    Ok(statement.query_map([id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The bundles that some generation was made of.
pub fn bundles(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT bundle_sha256 FROM generations")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Result<Formation, StoreError>> {
    let (id, state): (String, String) = (row.get(0)?, row.get(2)?);
    let (Ok(id), Some(state)) = (id.parse(), DesiredState::from_name(&state)) else {
        return Ok(Err(StoreError::Unreadable(format!("formation `{id}` in state `{state}`"))));
    };
    Ok(Ok(Formation {
        id,
        name: row.get(1)?,
        desired: Desired { state, epoch: row.get(3)? },
        generation: row.get(4)?,
        newest_instance: row.get(5)?,
        restart_count: row.get(6)?,
        port: row.get(7)?,
        bundle_sha256: row.get(8)?,
        version: row.get(9)?,
        created_at_ms: row.get(10)?,
        deployed_at_ms: row.get(11)?,
        updated_at_ms: row.get(12)?,
    }))
}

// === impl DesiredState ===

impl DesiredState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Removed].into_iter().find(|it| it.as_str() == name)
    }
}
