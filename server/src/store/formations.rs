//! Rows of formations and their ports: what should be.

use std::path::PathBuf;

use muxi_contract::FormationId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;
use super::generations::{self, NewGeneration};
use crate::supervisor::lifecycle::{Desired, DesiredState, Target};

/// One formation with its current generation and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formation {
    pub id: FormationId,
    pub name: String,
    pub desired: Desired,
    pub newest_generation: u64,
    /// The generation that served before the current one.
    pub previous_generation: Option<u64>,
    /// What comes back if the update or rollback that is under way fails.
    pub fallback: Option<Fallback>,
    pub newest_instance: u64,
    pub restart_count: u32,
    pub port: u16,
    pub bundle_sha256: String,
    pub version: String,
    pub created_at_ms: i64,
    pub deployed_at_ms: i64,
    pub updated_at_ms: i64,
    /// The folder that a draft was taken from; none of a formation.
    pub source: Option<PathBuf>,
}

/// Where a formation was before an update or a rollback began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    pub generation: u64,
    pub state: DesiredState,
}

/// What a first deploy stores.
#[derive(Debug, Clone)]
pub struct NewFormation {
    pub id: FormationId,
    pub port: u16,
    pub bundle: NewGeneration,
    /// As in [`Formation`].
    pub source: Option<PathBuf>,
}

/// The generation and the epoch of a first deploy.
pub const FIRST: u64 = 1;

const SELECT: &str = "SELECT f.id, g.name, f.desired_state, f.epoch, f.generation,
    f.newest_instance, f.restart_count, p.port, g.bundle_sha256, g.version,
    f.created_at_ms, f.deployed_at_ms, f.updated_at_ms, f.newest_generation,
    f.previous_generation, f.fallback_generation, f.fallback_state, f.source
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
        "INSERT INTO formations (id, desired_state, epoch, generation, created_at_ms,
         deployed_at_ms, updated_at_ms, source)
         VALUES (?1, 'running', ?2, ?2, ?3, ?3, ?3, ?4)",
        params![id, FIRST, now_ms, new.source.as_ref().map(|it| it.to_string_lossy())],
    )?;
    generations::insert(connection, &new.id, FIRST, &new.bundle, now_ms)?;
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

/// All formations, by id; no drafts.
pub fn all(connection: &Connection) -> Result<Vec<Formation>, StoreError> {
    let mut all = with_drafts(connection)?;
    all.retain(|it| !it.id.is_draft());
    Ok(all)
}

/// All formations and the drafts that run, by id.
pub fn with_drafts(connection: &Connection) -> Result<Vec<Formation>, StoreError> {
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

/// Wishes another generation to run, on trial. Answers the epoch to reach.
pub fn begin_trial(
    connection: &Connection,
    formation: &Formation,
    generation: u64,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let Formation { id, desired, .. } = formation;
    connection.execute(
        "UPDATE formations SET generation = ?2, newest_generation = max(newest_generation, ?2),
         fallback_generation = ?3, fallback_state = ?4 WHERE id = ?1",
        params![id.as_str(), generation, desired.target.generation, desired.state.as_str()],
    )?;
    set_desired(connection, id, DesiredState::Running, true, now_ms)
}

/// The trial went well: the generation stays, and there is a way back on demand only.
pub fn settle_trial(
    connection: &Connection,
    id: &FormationId,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE formations SET previous_generation = fallback_generation,
         fallback_generation = NULL, fallback_state = NULL, deployed_at_ms = ?2, updated_at_ms = ?2
         WHERE id = ?1 AND fallback_generation IS NOT NULL",
        params![id.as_str(), now_ms],
    )?;
    Ok(())
}

/// The trial failed or was cancelled: what was before is wished again.
pub fn go_back(connection: &Connection, id: &FormationId, now_ms: i64) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE formations SET generation = fallback_generation, desired_state = fallback_state,
         fallback_generation = NULL, fallback_state = NULL, updated_at_ms = ?2
         WHERE id = ?1 AND fallback_generation IS NOT NULL",
        params![id.as_str(), now_ms],
    )?;
    Ok(())
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

fn from_row(row: &Row<'_>) -> rusqlite::Result<Result<Formation, StoreError>> {
    let (id, state): (String, String) = (row.get(0)?, row.get(2)?);
    let (Ok(id), Some(state)) = (FormationId::from_stored(&id), DesiredState::from_name(&state))
    else {
        return Ok(Err(StoreError::Unreadable(format!("formation `{id}` in state `{state}`"))));
    };
    let fallback_state: Option<String> = row.get(16)?;
    let fallback_state = fallback_state.as_deref().and_then(DesiredState::from_name);
    let fallback = row
        .get::<_, Option<u64>>(15)?
        .zip(fallback_state)
        .map(|(generation, state)| Fallback { generation, state });
    let target = Target { epoch: row.get(3)?, generation: row.get(4)? };
    Ok(Ok(Formation {
        id,
        name: row.get(1)?,
        desired: Desired { state, target, on_trial: fallback.is_some() },
        newest_generation: row.get(13)?,
        previous_generation: row.get(14)?,
        fallback,
        newest_instance: row.get(5)?,
        restart_count: row.get(6)?,
        port: row.get(7)?,
        bundle_sha256: row.get(8)?,
        version: row.get(9)?,
        created_at_ms: row.get(10)?,
        deployed_at_ms: row.get(11)?,
        updated_at_ms: row.get(12)?,
        source: row.get::<_, Option<String>>(17)?.map(PathBuf::from),
    }))
}

// === impl Formation ===

impl Formation {
    /// The generation that the formation stands for.
    pub fn generation(&self) -> u64 {
        self.desired.target.generation
    }
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
