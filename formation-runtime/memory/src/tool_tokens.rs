//! What lets the formation use the servers of tools, sealed: for one user, or for itself.

use crate::sql::{DatabaseError, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// Tokens of one server, as its client writes and reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedToken {
    pub sealed: Vec<u8>,
    /// The fingerprint of the key.
    pub sealed_by: String,
    pub updated_ms: i64,
}

/// Stands for the formation where a user stands for themselves; no user has this name.
const FORMATION: &str = "";

// === impl UserStore ===

impl UserStore {
    /// Keeps the user's token, in the place of an older one.
    pub async fn keep_tool_token(
        &self,
        server: &str,
        token: SealedToken,
    ) -> Result<(), StoreError> {
        self.store().keep_token_of(self.user().as_str(), server, token).await
    }

    pub async fn tool_token(&self, server: &str) -> Result<Option<SealedToken>, StoreError> {
        self.store().token_of(self.user().as_str(), server).await
    }

    /// Whether there was one.
    pub async fn delete_tool_token(&self, server: &str) -> Result<bool, StoreError> {
        self.store().delete_token_of(self.user().as_str(), server).await
    }
}

// === impl Store ===

impl Store {
    /// Keeps the formation's own token, in the place of an older one.
    pub async fn keep_formation_token(
        &self,
        server: &str,
        token: SealedToken,
    ) -> Result<(), StoreError> {
        self.keep_token_of(FORMATION, server, token).await
    }

    pub async fn formation_token(&self, server: &str) -> Result<Option<SealedToken>, StoreError> {
        self.token_of(FORMATION, server).await
    }

    /// Whether there was one.
    pub async fn delete_formation_token(&self, server: &str) -> Result<bool, StoreError> {
        self.delete_token_of(FORMATION, server).await
    }

    async fn keep_token_of(
        &self,
        user: &str,
        server: &str,
        token: SealedToken,
    ) -> Result<(), StoreError> {
        let (user, server) = (user.to_owned(), server.to_owned());
        self.write(move |transaction| keep(transaction, &user, &server, &token)).await
    }

    async fn token_of(&self, user: &str, server: &str) -> Result<Option<SealedToken>, StoreError> {
        let (user, server) = (user.to_owned(), server.to_owned());
        self.read(move |transaction| {
            transaction.first(
                "SELECT sealed, sealed_by, updated_ms FROM tool_tokens
                 WHERE user_id = ?1 AND server = ?2",
                values![&user, &server],
                |row| {
                    Ok(SealedToken {
                        sealed: row.get(0)?,
                        sealed_by: row.get(1)?,
                        updated_ms: row.get(2)?,
                    })
                },
            )
        })
        .await
    }

    async fn delete_token_of(&self, user: &str, server: &str) -> Result<bool, StoreError> {
        let (user, server) = (user.to_owned(), server.to_owned());
        self.write(move |transaction| {
            let deleted = transaction.execute(
                "DELETE FROM tool_tokens WHERE user_id = ?1 AND server = ?2",
                values![&user, &server],
            )?;
            Ok(deleted > 0)
        })
        .await
    }
}

// === private helpers ===

fn keep(
    transaction: &mut Transaction<'_>,
    user: &str,
    server: &str,
    token: &SealedToken,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO tool_tokens (user_id, server, sealed, sealed_by, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (user_id, server) DO UPDATE SET sealed = excluded.sealed,
             sealed_by = excluded.sealed_by, updated_ms = excluded.updated_ms",
        values![user, server, token.sealed.as_slice(), &token.sealed_by, token.updated_ms],
    )?;
    Ok(())
}
