//! Files that were made for users, in versions: what is known of them. Their bytes are elsewhere.
//!
//! A row is made after its bytes are on the disk, and goes before they do.

use std::collections::HashSet;

use muxi_contract::{SessionId, UserId};

use crate::TurnId;
use crate::requests::{RequestSeq, turn_of};
use crate::sql::{DatabaseError, Row, Transaction, Value, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// A version whose bytes are on the disk already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    pub id: String,
    /// The next version of what the user has under this name.
    pub name: String,
    pub content_type: String,
    pub size_bytes: u64,
    pub sha256: String,
    /// The fingerprint of the key; none if the bytes are not sealed.
    pub sealed_by: Option<String>,
    pub agent: String,
    pub session: SessionId,
    pub turn: TurnId,
    pub at_ms: i64,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub id: String,
    pub name: String,
    pub version: u32,
    pub parent_id: Option<String>,
    pub is_latest: bool,
    pub content_type: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub sealed_by: Option<String>,
    pub agent: String,
    pub session: SessionId,
    pub created_ms: i64,
    pub accessed_ms: i64,
}

/// Why a version was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactRefusal {
    /// Others are sealed with another key, so this one is not the formation's.
    OtherKey,
    TooMany,
}

/// What an artifact's age is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactAge {
    SinceMade,
    SinceRead,
}

/// One name, its newest version.
const LATEST: &str = "NOT EXISTS (SELECT 1 FROM artifacts n WHERE n.user_id = a.user_id \
                      AND n.name = a.name AND n.version > a.version)";

// === impl UserStore ===

impl UserStore {
    /// Keeps it beside at most `others_max` others of the user.
    pub async fn keep_artifact(
        &self,
        new: NewArtifact,
        others_max: u32,
    ) -> Result<Result<Artifact, ArtifactRefusal>, StoreError> {
        let user = self.user().clone();
        self.store().write(move |transaction| keep(transaction, &user, &new, others_max)).await
    }

    /// The newest version of each name, the latest first, and how many names there are.
    pub async fn artifacts(&self, limit: u32) -> Result<(Vec<Artifact>, u64), StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let total = transaction.one(
                    "SELECT count(DISTINCT name) FROM artifacts WHERE user_id = ?1",
                    values![user.as_str()],
                    |row| row.get(0),
                )?;
                let rest = format!("a.user_id = ?1 AND {LATEST} ORDER BY a.seq DESC LIMIT ?2");
                let found = all(transaction, &rest, values![user.as_str(), limit])?;
                Ok((found, total))
            })
            .await
    }

    pub async fn artifact(&self, id: &str) -> Result<Option<Artifact>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .read(move |transaction| {
                let found =
                    all(transaction, "a.user_id = ?1 AND a.id = ?2", values![user.as_str(), &id])?;
                Ok(found.into_iter().next())
            })
            .await
    }

    /// All versions of what has this version, the newest first; none if there is no such version.
    pub async fn artifact_versions(&self, id: &str) -> Result<Vec<Artifact>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .read(move |transaction| {
                let rest = "a.user_id = ?1 AND a.name = (SELECT i.name FROM artifacts i \
                            WHERE i.user_id = ?1 AND i.id = ?2) ORDER BY a.version DESC";
                all(transaction, rest, values![user.as_str(), &id])
            })
            .await
    }

    /// Notes that somebody read the version.
    pub async fn artifact_was_read(&self, id: &str, at_ms: i64) -> Result<(), StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                transaction.execute(
                    "UPDATE artifacts SET accessed_ms = ?3
                     WHERE user_id = ?1 AND id = ?2 AND accessed_ms < ?3",
                    values![user.as_str(), &id, at_ms],
                )?;
                Ok(())
            })
            .await
    }

    /// Forgets all versions of what has this version; answers their ids.
    pub async fn delete_artifact(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                transaction.all(
                    "DELETE FROM artifacts WHERE user_id = ?1 AND name = (
                         SELECT i.name FROM artifacts i WHERE i.user_id = ?1 AND i.id = ?2)
                     RETURNING id",
                    values![user.as_str(), &id],
                    |row| row.get(0),
                )
            })
            .await
    }

    /// What was made in a request and is still there, oldest first.
    pub async fn artifacts_of(&self, request: RequestSeq) -> Result<Vec<Artifact>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let Some(turn) = turn_of(transaction, request)? else { return Ok(Vec::new()) };
                let rest = "a.user_id = ?1 AND a.turn = ?2 ORDER BY a.seq";
                all(transaction, rest, values![user.as_str(), turn])
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// Whether anybody's is kept sealed, so that a lost key is not replaced by a new one.
    pub async fn has_sealed_artifacts(&self) -> Result<bool, StoreError> {
        self.read(|transaction| Ok(keys(transaction)?[0].is_some())).await
    }

    /// Forgets up to `count_max` versions that are older than the given time; answers their ids.
    pub async fn forget_artifacts(
        &self,
        age: ArtifactAge,
        before_ms: i64,
        count_max: u32,
    ) -> Result<Vec<String>, StoreError> {
        self.write(move |transaction| {
            let since = match age {
                ArtifactAge::SinceMade => "created_ms",
                ArtifactAge::SinceRead => "accessed_ms",
            };
            let sql = format!(
                "DELETE FROM artifacts WHERE seq IN (
                     SELECT seq FROM artifacts WHERE {since} < ?1 ORDER BY seq LIMIT ?2)
                 RETURNING id"
            );
            transaction.all(&sql, values![before_ms, count_max], |row| row.get(0))
        })
        .await
    }

    /// Which of these ids are those of artifacts.
    pub async fn known_artifacts(&self, ids: Vec<String>) -> Result<HashSet<String>, StoreError> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        self.read(move |transaction| {
            let places: Vec<String> = (1..=ids.len()).map(|at| format!("?{at}")).collect();
            let sql = format!("SELECT id FROM artifacts WHERE id IN ({})", places.join(", "));
            let values: Vec<Value<'_>> = ids.iter().map(Value::from).collect();
            let found = transaction.all(&sql, &values, |row| row.get(0))?;
            Ok(found.into_iter().collect())
        })
        .await
    }
}

// === private helpers ===

fn keep(
    transaction: &mut Transaction<'_>,
    user: &UserId,
    new: &NewArtifact,
    others_max: u32,
) -> Result<Result<Artifact, ArtifactRefusal>, DatabaseError> {
    if let Some(sealed_by) = &new.sealed_by
        && keys(transaction)?.iter().flatten().any(|key| key != sealed_by)
    {
        return Ok(Err(ArtifactRefusal::OtherKey));
    }
    let others: u32 = transaction.one(
        "SELECT count(*) FROM artifacts WHERE user_id = ?1",
        values![user.as_str()],
        |row| row.get(0),
    )?;
    if others > others_max {
        return Ok(Err(ArtifactRefusal::TooMany));
    }
    let before: Option<(String, u32)> = transaction.first(
        "SELECT id, version FROM artifacts WHERE user_id = ?1 AND name = ?2
         ORDER BY version DESC LIMIT 1",
        values![user.as_str(), &new.name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let (parent_id, version) = before.map_or((None, 1), |(id, version)| (Some(id), version + 1));
    transaction.execute(
        "INSERT INTO artifacts
             (id, user_id, name, version, parent_id, content_type, size_bytes, sha256, sealed_by,
              agent, session, turn, created_ms, accessed_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)",
        values![
            &new.id,
            user.as_str(),
            &new.name,
            version,
            parent_id.as_ref(),
            &new.content_type,
            new.size_bytes,
            &new.sha256,
            new.sealed_by.as_ref(),
            &new.agent,
            new.session.as_str(),
            new.turn.seq(),
            new.at_ms,
        ],
    )?;
    let NewArtifact { id, name, content_type, size_bytes, sha256, sealed_by, .. } = new.clone();
    Ok(Ok(Artifact {
        id,
        name,
        version,
        parent_id,
        is_latest: true,
        content_type,
        size_bytes,
        sha256,
        sealed_by,
        agent: new.agent.clone(),
        session: new.session.clone(),
        created_ms: new.at_ms,
        accessed_ms: new.at_ms,
    }))
}

/// The first and the last fingerprint in their order, which are the same unless there are two keys.
fn keys(transaction: &mut Transaction<'_>) -> Result<[Option<String>; 2], DatabaseError> {
    transaction.one(KEYS, &[], |row| Ok([row.get(0)?, row.get(1)?]))
}

/// Two questions, since an index has the answer to each and not to both at once.
pub(crate) const KEYS: &str =
    "SELECT (SELECT min(sealed_by) FROM artifacts), (SELECT max(sealed_by) FROM artifacts)";

fn all(
    transaction: &mut Transaction<'_>,
    rest: &str,
    values: &[Value<'_>],
) -> Result<Vec<Artifact>, DatabaseError> {
    let sql = format!(
        "SELECT a.id, a.name, a.version, a.parent_id, CASE WHEN {LATEST} THEN 1 ELSE 0 END,
                a.content_type, a.size_bytes, a.sha256, a.sealed_by, a.agent, a.session,
                a.created_ms, a.accessed_ms
         FROM artifacts a WHERE {rest}"
    );
    transaction.all(&sql, values, artifact)
}

fn artifact(row: &Row) -> Result<Artifact, DatabaseError> {
    Ok(Artifact {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        parent_id: row.get(3)?,
        is_latest: row.get::<i64>(4)? == 1,
        content_type: row.get(5)?,
        size_bytes: row.get(6)?,
        sha256: row.get(7)?,
        sealed_by: row.get(8)?,
        agent: row.get(9)?,
        session: row.parsed(10)?,
        created_ms: row.get(11)?,
        accessed_ms: row.get(12)?,
    })
}
