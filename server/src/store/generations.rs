//! What was deployed: one immutable row a generation, kept as long as it can be rolled back to.

use muxi_contract::FormationId;
use rusqlite::{Connection, params};

use super::StoreError;

/// One deployed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    pub bundle_sha256: String,
    pub version: String,
    pub created_at_ms: i64,
    /// It has served and was kept; one without this is on trial.
    pub settled: bool,
}

/// What a bundle says of itself.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    pub bundle_sha256: String,
    pub version: String,
    pub name: String,
}

pub fn insert(
    connection: &Connection,
    formation: &FormationId,
    number: u64,
    new: &NewGeneration,
    now_ms: i64,
) -> Result<(), StoreError> {
    let NewGeneration { bundle_sha256, version, name } = new;
    connection.execute(
        "INSERT INTO generations (formation, generation, bundle_sha256, version, name, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![formation.as_str(), number, bundle_sha256, version, name, now_ms],
    )?;
    Ok(())
}

/// The formation's generations, newest first.
pub fn of(connection: &Connection, formation: &FormationId) -> Result<Vec<Generation>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT generation, bundle_sha256, version, created_at_ms, settled_at_ms IS NOT NULL
         FROM generations WHERE formation = ?1 ORDER BY generation DESC",
    )?;
    let rows = statement.query_map([formation.as_str()], |row| {
        Ok(Generation {
            number: row.get(0)?,
            bundle_sha256: row.get(1)?,
            version: row.get(2)?,
            created_at_ms: row.get(3)?,
            settled: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that the formation's current generation serves and stays.
pub fn settle(
    connection: &Connection,
    formation: &FormationId,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE generations SET settled_at_ms = coalesce(settled_at_ms, ?2)
         WHERE formation = ?1 AND generation =
             (SELECT generation FROM formations WHERE id = ?1)",
        params![formation.as_str(), now_ms],
    )?;
    Ok(())
}

/// Forgets what can no longer be rolled back to: generations that failed on trial, and all but the
/// newest `kept` beside those that have a role or a process. Whether there were any.
pub fn forget(
    connection: &Connection,
    formation: &FormationId,
    kept: u32,
) -> Result<bool, StoreError> {
    let forgotten = connection.execute(
        "DELETE FROM generations WHERE formation = ?1
         AND generation NOT IN (SELECT generation FROM formations WHERE id = ?1)
         AND generation NOT IN (
             SELECT coalesce(previous_generation, 0) FROM formations WHERE id = ?1)
         AND generation NOT IN (
             SELECT coalesce(fallback_generation, 0) FROM formations WHERE id = ?1)
         AND generation NOT IN (SELECT generation FROM instances WHERE formation = ?1)
         AND (settled_at_ms IS NULL OR generation NOT IN (
             SELECT generation FROM generations
             WHERE formation = ?1 AND settled_at_ms IS NOT NULL
             ORDER BY generation DESC LIMIT ?2))",
        params![formation.as_str(), kept],
    )?;
    Ok(forgotten > 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use crate::store::formations::{self, NewFormation};

    fn bundle(name: &str) -> NewGeneration {
        let text = name.to_owned();
        NewGeneration { bundle_sha256: text.clone(), version: text.clone(), name: text }
    }

    #[test]
    fn what_has_a_role_or_is_among_the_newest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let tx = &store::create(&folder.path().join("manager.db")).unwrap();
        let id: FormationId = "hello".parse().unwrap();
        let new = NewFormation { id: id.clone(), port: 8000, bundle: bundle("1"), source: None };
        formations::insert(tx, &new, 1).unwrap();
        settle(tx, &id, 1).unwrap();
        for number in 2..=6 {
            insert(tx, &id, number, &bundle(&number.to_string()), 1).unwrap();
            let formation = formations::get(tx, &id).unwrap().unwrap();
            formations::begin_trial(tx, &formation, number, 1).unwrap();
            if number == 5 {
                formations::go_back(tx, &id, 1).unwrap();
            } else {
                settle(tx, &id, 1).unwrap();
                formations::settle_trial(tx, &id, 1).unwrap();
            }
        }
        // Back to the first: 6 is the previous one now.
        let formation = formations::get(tx, &id).unwrap().unwrap();
        formations::begin_trial(tx, &formation, 1, 1).unwrap();
        formations::settle_trial(tx, &id, 1).unwrap();
        assert!(forget(tx, &id, 2).unwrap());
        assert!(!forget(tx, &id, 2).unwrap());
        let formation = formations::get(tx, &id).unwrap().unwrap();
        assert_eq!((formation.previous_generation, formation.newest_generation), (Some(6), 6));
        let kept: Vec<u64> = of(tx, &id).unwrap().iter().map(|it| it.number).collect();
        assert_eq!(kept, [6, 4, 1]);
    }
}
