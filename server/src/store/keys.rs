//! Management keys as rows. Secrets come and go sealed; what may be done is decided in `auth`.

use muxi_contract::keys::Role;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// A key with the secrets that are still kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    pub id: String,
    pub label: String,
    pub role: Role,
    pub created_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
    /// Newest first.
    pub secrets: Vec<SealedSecret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub sealed: Vec<u8>,
    /// Absent for the current one.
    pub valid_until_ms: Option<i64>,
}

/// Counts every change of keys, by whatever process.
pub fn revision(connection: &Connection) -> Result<i64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM key_revision")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

pub fn all(connection: &Connection) -> Result<Vec<StoredKey>, StoreError> {
    let mut secrets = connection
        .prepare_cached("SELECT key, sealed, valid_until_ms FROM key_secrets ORDER BY id DESC")?;
    let secrets: Vec<(String, SealedSecret)> = secrets
        .query_map([], |row| {
            Ok((row.get(0)?, SealedSecret { sealed: row.get(1)?, valid_until_ms: row.get(2)? }))
        })?
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(
        "SELECT id, label, role, created_at_ms, expires_at_ms, revoked_at_ms FROM keys
         ORDER BY created_at_ms, id",
    )?;
    let rows = statement.query_map([], |row| {
        let key = StoredKey {
            id: row.get(0)?,
            label: row.get(1)?,
            role: Role::Read,
            created_at_ms: row.get(3)?,
            expires_at_ms: row.get(4)?,
            revoked_at_ms: row.get(5)?,
            secrets: Vec::new(),
        };
        Ok((key, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (mut key, role) = row?;
        key.role = role.parse().map_err(|_| StoreError::Unreadable(format!("role `{role}`")))?;
        let own = secrets.iter().filter(|(of, _)| *of == key.id);
        key.secrets = own.map(|(_, secret)| secret.clone()).collect();
        Ok(key)
    })
    .collect()
}

pub fn insert(connection: &Connection, key: &StoredKey) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO keys (id, label, role, created_at_ms, expires_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key.id, key.label, key.role.as_str(), key.created_at_ms, key.expires_at_ms],
    )?;
    key.secrets.iter().try_for_each(|secret| add_secret(connection, &key.id, &secret.sealed))
}

/// Ends a key for good and forgets its secrets.
pub fn revoke(connection: &Connection, id: &str, now_ms: i64) -> Result<(), StoreError> {
    connection.execute("UPDATE keys SET revoked_at_ms = ?2 WHERE id = ?1", params![id, now_ms])?;
    connection.execute("DELETE FROM key_secrets WHERE key = ?1", [id])?;
    Ok(())
}

/// A new current secret; the ones before are valid until then, or gone.
pub fn rotate(
    connection: &Connection,
    id: &str,
    sealed: &[u8],
    old_until_ms: Option<i64>,
    now_ms: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM key_secrets WHERE key = ?1 AND (?2 IS NULL OR valid_until_ms <= ?3)",
        params![id, old_until_ms, now_ms],
    )?;
    connection.execute(
        "UPDATE key_secrets SET valid_until_ms = min(coalesce(valid_until_ms, ?2), ?2)
         WHERE key = ?1",
        params![id, old_until_ms],
    )?;
    add_secret(connection, id, sealed)
}

/// When each key was last used.
pub fn uses(connection: &Connection) -> Result<Vec<(String, i64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT key, last_used_at_ms FROM key_uses")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn note_use(connection: &Connection, id: &str, at_ms: i64) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO key_uses (key, last_used_at_ms) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET last_used_at_ms = max(last_used_at_ms, ?2)",
        params![id, at_ms],
    )?;
    Ok(())
}

pub fn exists(connection: &Connection, id: &str) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM keys WHERE id = ?1")?;
    Ok(statement.query_row([id], |_| Ok(())).optional()?.is_some())
}

fn add_secret(connection: &Connection, key: &str, sealed: &[u8]) -> Result<(), StoreError> {
    connection
        .execute("INSERT INTO key_secrets (key, sealed) VALUES (?1, ?2)", params![key, sealed])?;
    Ok(())
}
