//! Whole sessions: forgotten, brought back, counted. What is being answered at the moment stays.

use muxi_contract::{SessionId, UserId};

use crate::Role;
use crate::requests;
use crate::sql::{DatabaseError, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// One message of a session that is brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredMessage {
    pub role: Role,
    pub text: String,
    pub agent: String,
    pub at_ms: i64,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    pub messages: u64,
    pub sessions: u64,
}

/// How much is kept of one user, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub users: u64,
    pub sessions: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// A message of the session is being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// What a restored turn has in the place of a request's id.
pub(crate) const RESTORED: &str = "restored";

// === impl UserStore ===

impl UserStore {
    /// Forgets a session; `None` if there is none.
    pub async fn delete_session(&self, id: &SessionId) -> Result<Option<Cleared>, StoreError> {
        let (user, id) = (self.user().clone(), id.clone());
        self.store()
            .write(move |transaction| {
                let exists = transaction.first(
                    "SELECT 1 FROM sessions WHERE user_id = ?1 AND id = ?2",
                    values![user.as_str(), id.as_str()],
                    |_| Ok(()),
                )?;
                exists.map(|()| clear(transaction, Some(&user), Some(&id))).transpose()
            })
            .await
    }

    /// Forgets all sessions of the user.
    pub async fn clear_sessions(&self) -> Result<Cleared, StoreError> {
        let user = self.user().clone();
        self.store().write(move |transaction| clear(transaction, Some(&user), None)).await
    }

    /// Puts these messages, oldest first, in the place of what the session held.
    pub async fn restore_session(
        &self,
        id: &SessionId,
        messages: Vec<RestoredMessage>,
    ) -> Result<Result<(), Busy>, StoreError> {
        let (user, id) = (self.user().clone(), id.clone());
        self.store()
            .write(move |transaction| {
                let is_busy = transaction.first(
                    "SELECT 1 FROM turns WHERE user_id = ?1 AND session = ?2 AND status = 'running'",
                    values![user.as_str(), id.as_str()],
                    |_| Ok(()),
                )?;
                if is_busy.is_some() {
                    return Ok(Err(Busy));
                }
                clear(transaction, Some(&user), Some(&id))?;
                restore(transaction, &user, &id, &messages)?;
                Ok(Ok(()))
            })
            .await
    }

    pub async fn kept(&self) -> Result<Kept, StoreError> {
        let user = self.user().clone();
        self.store().read(move |transaction| kept(transaction, Some(&user))).await
    }
}

// === impl Store ===

impl Store {
    /// Forgets all sessions of all users.
    pub async fn clear_all_sessions(&self) -> Result<Cleared, StoreError> {
        self.write(|transaction| clear(transaction, None, None)).await
    }

    /// Forgets up to `count_max` turns that ended before the given time, and once there are none left,
    /// the sessions that lie idle since then; how many turns. What is being answered stays.
    pub async fn forget_turns(&self, before_ms: i64, count_max: u32) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            let gone = transaction.execute(
                "DELETE FROM turns WHERE seq IN (
                     SELECT seq FROM turns WHERE ended_ms IS NOT NULL AND ended_ms < ?1
                     ORDER BY ended_ms LIMIT ?2)",
                values![before_ms, count_max],
            )?;
            if gone == 0 {
                transaction.execute(
                    "DELETE FROM sessions WHERE last_activity_ms < ?1
                     AND NOT EXISTS (SELECT 1 FROM turns t
                         WHERE t.user_id = sessions.user_id AND t.session = sessions.id)",
                    values![before_ms],
                )?;
                requests::end_forgotten(transaction)?;
            }
            Ok(gone)
        })
        .await
    }

    pub async fn kept_of_all(&self) -> Result<Kept, StoreError> {
        self.read(|transaction| kept(transaction, None)).await
    }

    /// What is kept of each user, for the operator; who was active last comes first.
    pub async fn kept_by_user(&self, limit: u32) -> Result<Vec<(UserId, Kept)>, StoreError> {
        self.read(move |transaction| {
            let users: Vec<UserId> = transaction.all(
                "SELECT user_id FROM sessions GROUP BY user_id
                 ORDER BY max(last_activity_ms) DESC, user_id LIMIT ?1",
                values![limit],
                |row| row.parsed(0),
            )?;
            let with_kept = |user: UserId| Ok((user.clone(), kept(transaction, Some(&user))?));
            users.into_iter().map(with_kept).collect()
        })
        .await
    }
}

// === private helpers ===

fn clear(
    transaction: &mut Transaction<'_>,
    user: Option<&UserId>,
    session: Option<&SessionId>,
) -> Result<Cleared, DatabaseError> {
    let whose = "(CAST(?1 AS TEXT) IS NULL OR user_id = ?1) \
                 AND (CAST(?2 AS TEXT) IS NULL OR session = ?2)";
    let which = values![user.map(UserId::as_str), session.map(SessionId::as_str)];
    let ended = format!("SELECT seq FROM turns WHERE {whose} AND status <> 'running'");
    let messages = transaction.one(
        &format!("SELECT count(*) FROM messages WHERE content IS NOT NULL AND turn IN ({ended})"),
        which,
        |row| row.get(0),
    )?;
    transaction.execute(&format!("DELETE FROM turns WHERE seq IN ({ended})"), which)?;
    let sessions = transaction.execute(
        "DELETE FROM sessions WHERE (CAST(?1 AS TEXT) IS NULL OR user_id = ?1)
         AND (CAST(?2 AS TEXT) IS NULL OR id = ?2)
         AND NOT EXISTS (SELECT 1 FROM turns t
             WHERE t.user_id = sessions.user_id AND t.session = sessions.id)",
        which,
    )?;
    // Of sessions that stay, since something is being answered there.
    for table in ["pendings", "widgets", "active_skills"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE {whose}"), which)?;
    }
    requests::end_forgotten(transaction)?;
    Ok(Cleared { messages, sessions })
}

/// A question and the answer that follows it are one turn, as they were.
fn restore(
    transaction: &mut Transaction<'_>,
    user: &UserId,
    id: &SessionId,
    messages: &[RestoredMessage],
) -> Result<(), DatabaseError> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(()) };
    transaction.execute(
        "INSERT INTO sessions (user_id, id, created_ms, last_activity_ms) VALUES (?1, ?2, ?3, ?4)",
        values![user.as_str(), id.as_str(), first.at_ms, last.at_ms],
    )?;
    let mut turn: Option<(i64, Role)> = None;
    for message in messages {
        let goes_on =
            turn.filter(|(_, role)| (*role, message.role) == (Role::User, Role::Assistant));
        let seq = match goes_on {
            Some((seq, _)) => seq,
            None => transaction.one(
                "INSERT INTO turns
                     (user_id, session, request_id, agent, status, started_ms, ended_ms)
                 VALUES (?1, ?2, ?3, ?4, 'completed', ?5, ?5) RETURNING seq",
                values![user.as_str(), id.as_str(), RESTORED, &message.agent, message.at_ms],
                |row| row.get(0),
            )?,
        };
        turn = Some((seq, message.role));
        transaction.execute(
            "INSERT INTO messages (turn, user_id, session, role, content, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            values![
                seq,
                user.as_str(),
                id.as_str(),
                message.role.as_str(),
                &message.text,
                message.at_ms,
            ],
        )?;
    }
    Ok(())
}

fn kept(transaction: &mut Transaction<'_>, user: Option<&UserId>) -> Result<Kept, DatabaseError> {
    transaction.one(
        "SELECT
             (SELECT count(DISTINCT user_id) FROM sessions
              WHERE CAST(?1 AS TEXT) IS NULL OR user_id = ?1),
             (SELECT count(*) FROM sessions WHERE CAST(?1 AS TEXT) IS NULL OR user_id = ?1),
             count(*), coalesce(CAST(sum(length(content)) AS BIGINT), 0)
         FROM messages
         WHERE content IS NOT NULL AND (CAST(?1 AS TEXT) IS NULL OR user_id = ?1)",
        values![user.map(UserId::as_str)],
        |row| {
            Ok(Kept {
                users: row.get(0)?,
                sessions: row.get(1)?,
                messages: row.get(2)?,
                bytes: row.get(3)?,
            })
        },
    )
}
