//! Credentials of users, sealed: what is stored here opens nothing without the formation's key.

use muxi_contract::UserId;

use crate::sql::{DatabaseError, Row, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// A credential that is to be kept, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    pub id: String,
    pub service: String,
    pub name: String,
    pub sealed: Vec<u8>,
    /// The fingerprint of the key.
    pub sealed_by: String,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// Why a credential was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// The user has one of this name for this service.
    NameTaken,
    /// Others are sealed with another key, so this one is not the formation's.
    OtherKey,
    TooMany,
}

const COLUMNS: &str = "SELECT id, service, name, sealed, sealed_by, created_ms, updated_ms \
                       FROM credentials";

// === impl UserStore ===

impl UserStore {
    /// Keeps it beside at most `others_max` others of the user.
    pub async fn keep_credential(
        &self,
        new: SealedCredential,
        others_max: u32,
    ) -> Result<Result<(), NotKept>, StoreError> {
        let user: UserId = self.user().clone();
        self.store()
            .write(move |transaction| {
                let other_key = transaction.first(
                    "SELECT 1 FROM credentials WHERE sealed_by <> ?1 LIMIT 1",
                    values![&new.sealed_by],
                    |_| Ok(()),
                )?;
                if other_key.is_some() {
                    return Ok(Err(NotKept::OtherKey));
                }
                let name_taken = transaction.first(
                    "SELECT 1 FROM credentials WHERE user_id = ?1 AND service = ?2 AND name = ?3",
                    values![user.as_str(), &new.service, &new.name],
                    |_| Ok(()),
                )?;
                if name_taken.is_some() {
                    return Ok(Err(NotKept::NameTaken));
                }
                let others: u32 = transaction.one(
                    "SELECT count(*) FROM credentials WHERE user_id = ?1",
                    values![user.as_str()],
                    |row| row.get(0),
                )?;
                if others > others_max {
                    return Ok(Err(NotKept::TooMany));
                }
                transaction.execute(
                    "INSERT INTO credentials
                         (id, user_id, service, name, sealed, sealed_by, created_ms, updated_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    values![
                        &new.id,
                        user.as_str(),
                        &new.service,
                        &new.name,
                        new.sealed.as_slice(),
                        &new.sealed_by,
                        new.created_ms,
                        new.updated_ms,
                    ],
                )?;
                Ok(Ok(()))
            })
            .await
    }

    /// By service and name.
    pub async fn credentials(&self) -> Result<Vec<SealedCredential>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!("{COLUMNS} WHERE user_id = ?1 ORDER BY service, name");
                transaction.all(&sql, values![user.as_str()], credential)
            })
            .await
    }

    pub async fn credential(&self, id: &str) -> Result<Option<SealedCredential>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .read(move |transaction| {
                let sql = format!("{COLUMNS} WHERE id = ?1 AND user_id = ?2");
                transaction.first(&sql, values![&id, user.as_str()], credential)
            })
            .await
    }

    /// Whether there was one. It needs no key.
    pub async fn delete_credential(&self, id: &str) -> Result<bool, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                let deleted = transaction.execute(
                    "DELETE FROM credentials WHERE id = ?1 AND user_id = ?2",
                    values![&id, user.as_str()],
                )?;
                Ok(deleted > 0)
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// Whether anybody's is kept, so that a lost key is not replaced by a new one.
    pub async fn has_credentials(&self) -> Result<bool, StoreError> {
        self.read(|transaction| {
            let any = transaction.first("SELECT 1 FROM credentials LIMIT 1", &[], |_| Ok(()))?;
            Ok(any.is_some())
        })
        .await
    }
}

// === private helpers ===

fn credential(row: &Row) -> Result<SealedCredential, DatabaseError> {
    Ok(SealedCredential {
        id: row.get(0)?,
        service: row.get(1)?,
        name: row.get(2)?,
        sealed: row.get(3)?,
        sealed_by: row.get(4)?,
        created_ms: row.get(5)?,
        updated_ms: row.get(6)?,
    })
}
