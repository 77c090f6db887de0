//! First answers to requests that named a key: a repeat gets the same one and is not done again.

use muxi_contract::UserId;

use crate::owner;
use crate::sql::values;
use crate::store::{Store, StoreError};

/// Whose request it is, where it goes, and the key that it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    pub user: UserId,
    /// Method, path and the kind of answer.
    pub route: String,
    pub key: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has used it: the asker does the work, and says what came of it.
    First,
    /// Another request with it is being worked on.
    Busy,
    /// The first answer.
    Answered { status: u16, body: String },
    /// It was used for something else.
    OtherBody,
}

/// Kept answers; the oldest go first.
const ANSWERS_KEPT: u32 = 10_000;

// === impl Store ===

impl Store {
    /// Claims a key for a request with this body, or says what the key stands for.
    pub async fn claim_key(
        &self,
        key: &AnswerKey,
        body_sha256: String,
        now_ms: i64,
    ) -> Result<Claim, StoreError> {
        let (key, own) = (key.clone(), self.context().owner.clone());
        self.write(move |transaction| {
            let AnswerKey { user, route, key } = &key;
            let found = transaction.first(
                "SELECT body_sha256, owner, status, body FROM answers
                 WHERE user_id = ?1 AND route = ?2 AND key = ?3",
                values![user.as_str(), route, key],
                |row| {
                    let answer: (Option<u32>, Option<String>) = (row.get(2)?, row.get(3)?);
                    Ok((row.get::<String>(0)?, row.get::<Option<String>>(1)?, answer))
                },
            )?;
            if let Some((sha256, owner, answer)) = found {
                if sha256 != body_sha256 {
                    return Ok(Claim::OtherBody);
                }
                if let (Some(status), Some(body)) = answer {
                    let status = u16::try_from(status).unwrap_or(200);
                    return Ok(Claim::Answered { status, body });
                }
                if let Some(owner) = owner
                    && owner::lives(transaction, &owner)?
                {
                    return Ok(Claim::Busy);
                }
            }
            // Also in the place of one whose process died in the middle: nobody got its answer.
            transaction.execute(
                "INSERT INTO answers (user_id, route, key, body_sha256, owner, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (user_id, route, key) DO UPDATE SET owner = excluded.owner",
                values![user.as_str(), route, key, &body_sha256, &own, now_ms],
            )?;
            Ok(Claim::First)
        })
        .await
    }

    /// Keeps the answer of the first request.
    pub async fn keep_answer(
        &self,
        key: &AnswerKey,
        status: u16,
        body: String,
    ) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(move |transaction| {
            let AnswerKey { user, route, key } = &key;
            transaction.execute(
                "UPDATE answers SET status = ?4, body = ?5, owner = NULL
                 WHERE user_id = ?1 AND route = ?2 AND key = ?3",
                values![user.as_str(), route, key, u32::from(status), &body],
            )?;
            transaction.execute(
                "DELETE FROM answers WHERE created_ms < (
                     SELECT created_ms FROM answers ORDER BY created_ms DESC LIMIT 1 OFFSET ?1)",
                values![ANSWERS_KEPT],
            )?;
            Ok(())
        })
        .await
    }

    /// Frees a key whose request came to nothing that is worth keeping.
    pub async fn free_key(&self, key: &AnswerKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(move |transaction| {
            let AnswerKey { user, route, key } = &key;
            transaction.execute(
                "DELETE FROM answers
                 WHERE user_id = ?1 AND route = ?2 AND key = ?3 AND status IS NULL",
                values![user.as_str(), route, key],
            )?;
            Ok(())
        })
        .await
    }
}
