//! Sessions, turns and messages of one user.

use muxi_contract::{SessionId, UserId};

use crate::pending::{self, NewPending};
use crate::requests;
use crate::sessions::RESTORED;
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Counts, Retention, Store, StoreError};
use crate::{
    Before, BegunTurn, HistoryMessage, Message, NewTurn, Outcome, Page, Role, Session, TurnEnd,
    TurnId, decisions, owner, usage,
};

/// Everything that can be asked or changed, for one user.
#[derive(Debug, Clone)]
pub struct UserStore {
    store: Store,
    user: UserId,
}

// === impl UserStore ===

impl UserStore {
    pub(crate) fn new(store: Store, user: UserId) -> Self {
        Self { store, user }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Writes the question down, making its session if need be, and reads up to `history_max`
    /// earlier messages of the session.
    pub async fn begin_turn(
        &self,
        turn: NewTurn,
        history_max: u32,
    ) -> Result<BegunTurn, StoreError> {
        let user = self.user.clone();
        let context = self.store.context().clone();
        self.store
            .write(move |transaction| {
                let (user, session) = (user.as_str(), turn.session.as_str());
                let mut tokens = (0, 0);
                if let Some(accepted) = turn.accepted {
                    requests::forget_silent_turn(transaction, user, accepted)?;
                    tokens = usage::told_of(transaction, user, accepted)?;
                }
                let (history, goes_on_tainted) = history(transaction, user, session, history_max)?;
                let is_tainted = turn.is_tainted || goes_on_tainted;
                let last_agent = last_agent(transaction, user, session)?;
                let pending = pending::open_of_session(transaction, user, session, turn.at_ms)?;
                transaction.execute(
                    "INSERT INTO sessions (user_id, id, created_ms, last_activity_ms)
                     VALUES (?1, ?2, ?3, ?3)
                     ON CONFLICT (user_id, id) DO UPDATE SET last_activity_ms = CASE
                         WHEN sessions.last_activity_ms > excluded.last_activity_ms
                         THEN sessions.last_activity_ms ELSE excluded.last_activity_ms END",
                    values![user, session, turn.at_ms],
                )?;
                let id = transaction.one(
                    "INSERT INTO turns
                         (user_id, session, request_id, agent, status, owner, started_ms,
                          is_tainted, prompt_tokens, completion_tokens)
                     VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?9) RETURNING seq",
                    values![
                        user,
                        session,
                        turn.request_id.as_str(),
                        &turn.agent,
                        &context.owner,
                        turn.at_ms,
                        i64::from(is_tainted),
                        tokens.0,
                        tokens.1,
                    ],
                    |row| row.get(0).map(TurnId::new),
                )?;
                let question = (Role::User, Some(turn.text.as_str()), turn.files.as_ref());
                for (role, content, files) in [question, (Role::Assistant, None, None)] {
                    let role = role.as_str();
                    transaction.execute(
                        "INSERT INTO messages (turn, user_id, session, role, content, at_ms, files)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        values![id.seq(), user, session, role, content, turn.at_ms, files],
                    )?;
                }
                let request = requests::begin(
                    transaction,
                    &requests::Begun {
                        accepted: turn.accepted,
                        id: &turn.request_id,
                        user,
                        session,
                        kind: turn.kind,
                        mode: turn.mode,
                        owner: &context.owner,
                        turn: id.seq(),
                        at_ms: turn.at_ms,
                    },
                )?;
                if let Some(retention) = context.retention {
                    forget(transaction, user, session, retention)?;
                }
                Ok(BegunTurn { id, request, history, is_tainted, last_agent, pending })
            })
            .await
    }

    /// Puts the words of the question, once they are known, in the place of what stood for them.
    pub async fn hear_question(&self, turn: TurnId, text: String) -> Result<(), StoreError> {
        let user = self.user.clone();
        self.store
            .write(move |transaction| {
                transaction.execute(
                    "UPDATE messages SET content = ?3
                     WHERE turn = ?1 AND user_id = ?2 AND role = 'user'",
                    values![turn.seq(), user.as_str(), &text],
                )?;
                Ok(())
            })
            .await
    }

    /// Writes down how the turn ended, with the text that there was. Ending a turn twice keeps the
    /// first end.
    pub async fn end_turn(&self, turn: TurnId, end: TurnEnd) -> Result<(), StoreError> {
        self.finish_turn(turn, end, None).await
    }

    pub(crate) async fn finish_turn(
        &self,
        turn: TurnId,
        end: TurnEnd,
        pending: Option<NewPending>,
    ) -> Result<(), StoreError> {
        let user = self.user.clone();
        let tells = end.delivery.is_some() || end.original_delivery.is_some();
        self.store
            .write(move |transaction| {
                finish(transaction, user.as_str(), turn, &end, pending.as_ref())
            })
            .await?;
        if tells {
            self.store.delivery_made.notify_one();
        }
        Ok(())
    }

    /// The user's sessions, the latest first, of those active since `active_since_ms` if given.
    pub async fn sessions(
        &self,
        limit: u32,
        active_since_ms: Option<i64>,
    ) -> Result<Vec<Session>, StoreError> {
        let user = self.user.clone();
        self.store
            .read(move |transaction| {
                let sql = format!(
                    "{SESSION_COLUMNS} WHERE user_id = ?1 AND last_activity_ms >= ?2
                     ORDER BY last_activity_ms DESC, id LIMIT ?3"
                );
                let since = active_since_ms.unwrap_or(i64::MIN);
                transaction.all(&sql, values![user.as_str(), since, limit], session)
            })
            .await
    }

    pub async fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let (user, id) = (self.user.clone(), id.clone());
        self.store
            .read(move |transaction| {
                let sql = format!("{SESSION_COLUMNS} WHERE user_id = ?1 AND id = ?2");
                transaction.first(&sql, values![user.as_str(), id.as_str()], session)
            })
            .await
    }

    /// The newest `limit` messages before the given place, oldest first; none of an unknown session.
    pub async fn messages(
        &self,
        session: &SessionId,
        limit: u32,
        before: Option<Before>,
    ) -> Result<Page, StoreError> {
        let (user, session) = (self.user.clone(), session.clone());
        self.store
            .read(move |transaction| {
                let (seq, time) = match before {
                    Some(Before::Seq(seq)) => (seq, i64::MAX),
                    Some(Before::TimeMs(time)) => (i64::MAX, time),
                    None => (i64::MAX, i64::MAX),
                };
                // One more than asked tells whether there is more.
                let mut messages = transaction.all(
                    "SELECT m.seq, m.role, m.content, t.agent, t.request_id, m.at_ms, t.status,
                         m.files
                     FROM messages m JOIN turns t ON t.seq = m.turn
                     WHERE m.user_id = ?1 AND m.session = ?2 AND m.content IS NOT NULL
                       AND m.seq < ?3 AND m.at_ms < ?4
                     ORDER BY m.seq DESC LIMIT ?5",
                    values![user.as_str(), session.as_str(), seq, time, i64::from(limit) + 1],
                    message,
                )?;
                let has_more = messages.len() > limit as usize;
                messages.truncate(limit as usize);
                messages.reverse();
                Ok(Page { messages, has_more })
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// How long the agent's last answers took, the newest first, whosever they were.
    pub async fn recent_durations_ms(
        &self,
        agent: &str,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let agent = agent.to_owned();
        self.read(move |transaction| {
            transaction.all(RECENT_DURATIONS, values![&agent, RESTORED, limit], |row| row.get(0))
        })
        .await
    }
}

/// Ends the turns whose process is dead.
pub(crate) fn interrupt_orphans(transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
    let owners: Vec<String> = transaction.all(
        "SELECT DISTINCT coalesce(owner, '') FROM turns WHERE status = 'running'",
        &[],
        |row| row.get(0),
    )?;
    for owner in owners {
        if owner::lives(transaction, &owner)? {
            continue;
        }
        // The true end is not known; the start is the last thing that is.
        transaction.execute(
            "UPDATE turns SET status = 'interrupted', owner = NULL, ended_ms = started_ms
             WHERE status = 'running' AND coalesce(owner, '') = ?1",
            values![&owner],
        )?;
    }
    Ok(())
}

pub(crate) fn counts(transaction: &mut Transaction<'_>) -> Result<Counts, DatabaseError> {
    transaction.one(
        "SELECT (SELECT count(*) FROM sessions),
                (SELECT count(*) FROM messages WHERE content IS NOT NULL)",
        &[],
        |row| Ok(Counts { sessions: row.get(0)?, messages: row.get(1)? }),
    )
}

/// Asked for each message, so there is an index for it.
pub(crate) const RECENT_DURATIONS: &str = "SELECT ended_ms - started_ms FROM turns
     WHERE agent = ?1 AND status = 'completed' AND request_id <> ?2
     ORDER BY seq DESC LIMIT ?3";

// === private helpers ===

fn finish(
    transaction: &mut Transaction<'_>,
    user: &str,
    turn: TurnId,
    end: &TurnEnd,
    pending: Option<&NewPending>,
) -> Result<(), DatabaseError> {
    let ended: Option<String> = transaction.first(
        "UPDATE turns
         SET status = ?3, error = ?4, prompt_tokens = prompt_tokens + ?5,
             completion_tokens = completion_tokens + ?6,
             ended_ms = ?7, owner = NULL, agent = coalesce(CAST(?8 AS TEXT), agent),
             is_tainted = CASE WHEN ?9 = 1 THEN 1 ELSE is_tainted END
         WHERE seq = ?1 AND user_id = ?2 AND status = 'running'
         RETURNING session",
        values![
            turn.seq(),
            user,
            end.outcome.status(),
            end.outcome.error(),
            end.prompt_tokens,
            end.completion_tokens,
            end.at_ms,
            end.agent.as_ref(),
            i64::from(end.is_tainted),
        ],
        |row| row.get(0),
    )?;
    let Some(session) = ended else { return Ok(()) };
    for call in &end.usage {
        usage::note(transaction, turn.seq(), call)?;
    }
    // A completed answer may be empty; a broken one without a word is none.
    let is_whole = matches!(end.outcome, Outcome::Completed | Outcome::Waiting);
    let content = (is_whole || !end.text.is_empty()).then_some(end.text.as_str());
    transaction.execute(
        "UPDATE messages SET content = ?2, at_ms = ?3 WHERE turn = ?1 AND role = 'assistant'",
        values![turn.seq(), content, end.at_ms],
    )?;
    if let Some(request) = requests::of_turn(transaction, turn.seq())? {
        decisions::note(transaction, request, &end.decisions)?;
        let came = requests::End {
            outcome: &end.outcome,
            result: content,
            warnings: end.warnings.as_deref(),
            delivery: end.delivery.as_ref(),
            original_delivery: end.original_delivery.as_ref(),
            at_ms: end.at_ms,
        };
        match pending {
            Some(new) => pending::begin(transaction, user, &session, request, new, &came)?,
            None => drop(requests::end(transaction, user, request, &came)?),
        }
    }
    transaction.execute(
        "UPDATE sessions SET last_activity_ms = ?3
         WHERE user_id = ?1 AND id = ?2 AND last_activity_ms < ?3",
        values![user, &session, end.at_ms],
    )?;
    Ok(())
}

/// Who answered last in the session; some answers need no agent.
fn last_agent(
    transaction: &mut Transaction<'_>,
    user: &str,
    session: &str,
) -> Result<Option<String>, DatabaseError> {
    transaction.first(
        "SELECT agent FROM turns
         WHERE user_id = ?1 AND session = ?2 AND status = 'completed' AND agent <> ''
         ORDER BY seq DESC LIMIT 1",
        values![user, session],
        |row| row.get(0),
    )
}

const SESSION_COLUMNS: &str = "SELECT id, created_ms, last_activity_ms,
        (SELECT count(*) FROM messages m
         WHERE m.user_id = sessions.user_id AND m.session = sessions.id
           AND m.content IS NOT NULL)
     FROM sessions";

/// With whether words of others are in it. A question whose answer failed without a word is left out: the
/// caller was told so and asks again.
fn history(
    transaction: &mut Transaction<'_>,
    user: &str,
    session: &str,
    messages_max: u32,
) -> Result<(Vec<HistoryMessage>, bool), DatabaseError> {
    let found = transaction.all(
        "SELECT m.role, m.content, m.files, w.is_tainted
         FROM messages m JOIN turns w ON w.seq = m.turn
         WHERE m.user_id = ?1 AND m.session = ?2 AND m.content IS NOT NULL
           AND NOT EXISTS (
               SELECT 1 FROM turns t JOIN messages a ON a.turn = t.seq AND a.role = 'assistant'
               WHERE t.seq = m.turn AND t.status = 'failed' AND a.content IS NULL)
         ORDER BY m.seq DESC LIMIT ?3",
        values![user, session, messages_max],
        |row| {
            let (role, text, files) = (row.parsed(0)?, row.get(1)?, row.get(2)?);
            Ok((HistoryMessage { role, text, files }, row.get::<i64>(3)? == 1))
        },
    )?;
    let is_tainted = found.iter().any(|(_, is_tainted)| *is_tainted);
    Ok((found.into_iter().rev().map(|(message, _)| message).collect(), is_tainted))
}

/// Drops the oldest turns of the session and the longest unused sessions; what runs stays.
fn forget(
    transaction: &mut Transaction<'_>,
    user: &str,
    session: &str,
    retention: Retention,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "DELETE FROM turns WHERE user_id = ?1 AND session = ?2 AND status <> 'running'
         AND seq <= (SELECT turn FROM messages WHERE user_id = ?1 AND session = ?2
                     ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
        values![user, session, retention.messages_per_session],
    )?;
    transaction.execute(
        "DELETE FROM sessions WHERE (user_id, id) NOT IN (
             SELECT user_id, id FROM sessions ORDER BY last_activity_ms DESC LIMIT ?1)
         AND NOT EXISTS (
             SELECT 1 FROM turns t WHERE t.user_id = sessions.user_id
             AND t.session = sessions.id AND t.status = 'running')",
        values![retention.sessions],
    )?;
    requests::end_forgotten(transaction)
}

fn session(row: &Row) -> Result<Session, DatabaseError> {
    Ok(Session {
        id: row.parsed(0)?,
        created_ms: row.get(1)?,
        last_activity_ms: row.get(2)?,
        message_count: row.get(3)?,
    })
}

fn message(row: &Row) -> Result<Message, DatabaseError> {
    Ok(Message {
        seq: row.get(0)?,
        role: row.parsed(1)?,
        text: row.get(2)?,
        agent: row.get(3)?,
        request_id: row.parsed(4)?,
        at_ms: row.get(5)?,
        status: row.get(6)?,
        files: row.get(7)?,
    })
}
