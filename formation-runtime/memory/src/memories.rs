//! What is remembered of a user beyond what was said, and what is remembered for all users.

use std::collections::HashSet;

use muxi_contract::{RequestId, SessionId, UserId};

use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// Who may read a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user whose it is.
    User,
    /// Everybody.
    Formation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    pub id: String,
    /// Names the act of remembering, as answers and provenance do.
    pub event_id: String,
    pub scope: Scope,
    pub kind: String,
    pub content: String,
    /// A JSON object.
    pub metadata: String,
    pub source: Option<String>,
    /// What the source calls the entry. It is remembered once.
    pub source_id: Option<String>,
    pub subject: Option<String>,
    pub happened_ms: Option<i64>,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    pub id: String,
    pub event_id: String,
    pub scope: Scope,
    pub kind: String,
    pub content: String,
    pub metadata: String,
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub subject: Option<String>,
    pub happened_ms: Option<i64>,
    pub created_ms: i64,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    New,
    /// Its source brought it before, with that event.
    Before {
        event_id: String,
    },
}

/// The user would have more memories than allowed; none of the entries is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyMemories;

/// A report on entries that were brought in together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingestion {
    pub id: String,
    /// A JSON list that its maker reads again.
    pub items: String,
    pub created_ms: i64,
}

/// Which memories are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryFilter {
    pub of_user: bool,
    pub of_formation: bool,
    /// A text that they contain, in upper or lower case.
    pub query: Option<String>,
    pub limit: u32,
    pub offset: u32,
}

/// What a question about the past finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    Turn(PastTurn),
    Memory(Memory),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastTurn {
    pub session: SessionId,
    pub request_id: RequestId,
    pub agent: String,
    pub status: String,
    pub question: Option<String>,
    pub answer: Option<String>,
    pub at_ms: i64,
    /// Words of others are in it.
    pub is_tainted: bool,
}

/// What the operator wants forgotten: of a user, of a source, or of a user's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    pub id: String,
    pub user: Option<UserId>,
    pub source: Option<String>,
    pub reason: Option<String>,
    pub at_ms: i64,
}

const COLUMNS: &str = "SELECT id, event_id, scope, type, content, metadata, source, source_id, \
                       subject, happened_ms, created_ms FROM memories";

// === impl UserStore ===

impl UserStore {
    /// Remembers all of the entries in their order, or none if the user had more than `memories_max`
    /// then. The report is kept with them.
    pub async fn remember(
        &self,
        entries: Vec<NewMemory>,
        memories_max: u32,
        report: impl FnOnce(&[Remembered]) -> Option<Ingestion> + Send + 'static,
    ) -> Result<Result<Vec<Remembered>, TooManyMemories>, StoreError> {
        let (user, retention) = (self.user().clone(), self.store().context().retention);
        self.store()
            .write(move |transaction| {
                if !have_room(transaction, &user, &entries, memories_max)? {
                    return Ok(Err(TooManyMemories));
                }
                let mut done = Vec::with_capacity(entries.len());
                for entry in &entries {
                    done.push(remember(transaction, &user, entry)?);
                }
                if let Some(Ingestion { id, items, created_ms }) = report(&done) {
                    transaction.execute(
                        "INSERT INTO ingestions (id, user_id, items, created_ms)
                         VALUES (?1, ?2, ?3, ?4)",
                        values![&id, user.as_str(), &items, created_ms],
                    )?;
                }
                if let Some(retention) = retention {
                    transaction.execute(
                        "DELETE FROM memories WHERE seq <=
                             (SELECT seq FROM memories ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
                        values![retention.memories],
                    )?;
                }
                Ok(Ok(done))
            })
            .await
    }

    /// The newest first.
    pub async fn memories(&self, filter: MemoryFilter) -> Result<Vec<Memory>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let of_user = "(scope = 'user' AND user_id = ?1)";
                let of_formation = "scope = 'formation'";
                let whose = match (filter.of_user, filter.of_formation) {
                    (true, true) => format!("({of_user} OR {of_formation})"),
                    (true, false) => of_user.to_owned(),
                    (false, true) => format!("({of_formation} AND CAST(?1 AS TEXT) IS NOT NULL)"),
                    (false, false) => return Ok(Vec::new()),
                };
                let sql = format!(
                    "{COLUMNS} WHERE {whose}
                     AND (CAST(?2 AS TEXT) IS NULL OR folded LIKE ?2 ESCAPE '!')
                     ORDER BY seq DESC LIMIT ?3 OFFSET ?4"
                );
                let pattern = filter.query.as_deref().map(containing);
                let which = values![user.as_str(), pattern.as_ref(), filter.limit, filter.offset];
                transaction.all(&sql, which, memory)
            })
            .await
    }

    /// What the user may read of an event.
    pub async fn memories_of_event(&self, event_id: &str) -> Result<Vec<Memory>, StoreError> {
        self.readable("event_id = ?2", event_id.to_owned()).await
    }

    /// What the user may read about a subject, the newest first.
    pub async fn memories_about(&self, subject: &str) -> Result<Vec<Memory>, StoreError> {
        self.readable("subject_folded = ?2", folded(subject)).await
    }

    async fn readable(
        &self,
        condition: &'static str,
        value: String,
    ) -> Result<Vec<Memory>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!(
                    "{COLUMNS} WHERE (user_id = ?1 OR scope = 'formation') AND {condition}
                     ORDER BY seq DESC LIMIT ?3"
                );
                transaction.all(&sql, values![user.as_str(), &value, PROVENANCE_MAX], memory)
            })
            .await
    }

    /// Whether there was one that is the user's own, or the formation's if that may go, too.
    pub async fn delete_memory(
        &self,
        id: &str,
        may_be_formations: bool,
    ) -> Result<bool, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                let or = if may_be_formations { "OR scope = 'formation'" } else { "" };
                let sql = format!(
                    "DELETE FROM memories
                     WHERE id = ?1 AND ((scope = 'user' AND user_id = ?2) {or})"
                );
                Ok(transaction.execute(&sql, values![&id, user.as_str()])? > 0)
            })
            .await
    }

    /// What was said and remembered within the times, the newest first.
    pub async fn past(
        &self,
        limit: u32,
        from_ms: Option<i64>,
        before_ms: Option<i64>,
    ) -> Result<Vec<Past>, StoreError> {
        let user = self.user().clone();
        let (from, before) = (from_ms.unwrap_or(i64::MIN), before_ms.unwrap_or(i64::MAX));
        self.store()
            .read(move |transaction| {
                let within = values![user.as_str(), from, before, limit];
                let turns = transaction.all(
                    "SELECT t.session, t.request_id, t.agent, t.status, q.content, a.content,
                            t.started_ms, t.is_tainted
                     FROM turns t
                     LEFT JOIN messages q ON q.turn = t.seq AND q.role = 'user'
                     LEFT JOIN messages a ON a.turn = t.seq AND a.role = 'assistant'
                     WHERE t.user_id = ?1 AND t.started_ms >= ?2 AND t.started_ms < ?3
                     ORDER BY t.started_ms DESC, t.seq DESC LIMIT ?4",
                    within,
                    |row| turn(row).map(Past::Turn),
                )?;
                let sql = format!(
                    "{COLUMNS} WHERE user_id = ?1 AND created_ms >= ?2 AND created_ms < ?3
                     ORDER BY created_ms DESC, seq DESC LIMIT ?4"
                );
                let memories =
                    transaction.all(&sql, within, |row| memory(row).map(Past::Memory))?;
                let mut past = [turns, memories].concat();
                // Stable, so that what is of one time keeps its order.
                past.sort_by_key(|it| std::cmp::Reverse(it.at_ms()));
                past.truncate(limit as usize);
                Ok(past)
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// A report and whose it is, for the operator and for refusals.
    pub async fn ingestion(&self, id: &str) -> Result<Option<(UserId, Ingestion)>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| {
            transaction.first(
                "SELECT user_id, id, items, created_ms FROM ingestions WHERE id = ?1",
                values![&id],
                |row| {
                    let (id, items, created_ms) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    Ok((row.parsed(0)?, Ingestion { id, items, created_ms }))
                },
            )
        })
        .await
    }

    /// Forgets for good, and keeps that it did. The answer is how many memories there were.
    pub async fn forget_memories(&self, what: Forget) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            let Forget { id, user, source, reason, at_ms } = &what;
            let user = user.as_ref().map(UserId::as_str);
            let deleted = transaction.execute(
                "DELETE FROM memories WHERE (CAST(?1 AS TEXT) IS NULL OR user_id = ?1)
                 AND (CAST(?2 AS TEXT) IS NULL OR source = ?2)",
                values![user, source.as_ref()],
            )?;
            transaction.execute(
                "INSERT INTO forgets (id, user_id, source, reason, deleted, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                values![id, user, source.as_ref(), reason.as_ref(), deleted, *at_ms],
            )?;
            Ok(deleted)
        })
        .await
    }

    /// What was wanted, and how many memories there were.
    pub async fn forgotten(&self, id: &str) -> Result<Option<(Forget, u64)>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| {
            transaction.first(
                "SELECT id, user_id, source, reason, created_ms, deleted FROM forgets
                 WHERE id = ?1",
                values![&id],
                |row| {
                    let user: Option<String> = row.get(1)?;
                    let forget = Forget {
                        id: row.get(0)?,
                        user: user.map(|_| row.parsed(1)).transpose()?,
                        source: row.get(2)?,
                        reason: row.get(3)?,
                        at_ms: row.get(4)?,
                    };
                    Ok((forget, row.get(5)?))
                },
            )
        })
        .await
    }
}

// === impl Scope ===

impl Scope {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Formation => "formation",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::User, Self::Formation].into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl NewMemory ===

impl NewMemory {
    /// What tells it from other entries of sources.
    fn origin(&self) -> Option<(&str, &str)> {
        self.source.as_deref().zip(self.source_id.as_deref())
    }
}

// === impl Past ===

impl Past {
    pub const fn at_ms(&self) -> i64 {
        match self {
            Self::Turn(turn) => turn.at_ms,
            Self::Memory(memory) => memory.created_ms,
        }
    }
}

// === private helpers ===

/// Of what one question about provenance shows.
const PROVENANCE_MAX: u32 = 100;

fn have_room(
    transaction: &mut Transaction<'_>,
    user: &UserId,
    entries: &[NewMemory],
    memories_max: u32,
) -> Result<bool, DatabaseError> {
    let (mut new, mut sources) = (0, HashSet::new());
    for entry in entries {
        let is_repeated = entry.origin().is_some_and(|origin| !sources.insert(origin));
        if !is_repeated && remembered_before(transaction, user, entry)?.is_none() {
            new += 1;
        }
    }
    // Who has too many, since fewer are allowed now, may still repeat what is known.
    if new == 0 {
        return Ok(true);
    }
    let there: u64 = transaction.one(
        "SELECT count(*) FROM memories WHERE user_id = ?1",
        values![user.as_str()],
        |row| row.get(0),
    )?;
    Ok(there + new <= u64::from(memories_max))
}

/// What became of the entry when its source brought it before.
fn remembered_before(
    transaction: &mut Transaction<'_>,
    user: &UserId,
    new: &NewMemory,
) -> Result<Option<Remembered>, DatabaseError> {
    let Some((source, source_id)) = new.origin() else { return Ok(None) };
    transaction.first(
        "SELECT event_id FROM memories WHERE user_id = ?1 AND source = ?2 AND source_id = ?3",
        values![user.as_str(), source, source_id],
        |row| Ok(Remembered::Before { event_id: row.get(0)? }),
    )
}

fn remember(
    transaction: &mut Transaction<'_>,
    user: &UserId,
    new: &NewMemory,
) -> Result<Remembered, DatabaseError> {
    if let Some(before) = remembered_before(transaction, user, new)? {
        return Ok(before);
    }
    let read_by_search = folded(&format!("{} {}", new.kind, new.content));
    let subject_folded = new.subject.as_deref().map(folded);
    transaction.execute(
        "INSERT INTO memories
             (id, event_id, user_id, scope, type, content, folded, metadata, source, source_id,
              subject, subject_folded, happened_ms, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        values![
            &new.id,
            &new.event_id,
            user.as_str(),
            new.scope.as_str(),
            &new.kind,
            &new.content,
            &read_by_search,
            &new.metadata,
            new.source.as_ref(),
            new.source_id.as_ref(),
            new.subject.as_ref(),
            subject_folded.as_ref(),
            new.happened_ms,
            new.at_ms,
        ],
    )?;
    Ok(Remembered::New)
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The pattern of texts that contain this one, whatever characters it has.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in folded(text).chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern + "%"
}

fn memory(row: &Row) -> Result<Memory, DatabaseError> {
    Ok(Memory {
        id: row.get(0)?,
        event_id: row.get(1)?,
        scope: row.parsed(2)?,
        kind: row.get(3)?,
        content: row.get(4)?,
        metadata: row.get(5)?,
        source: row.get(6)?,
        source_id: row.get(7)?,
        subject: row.get(8)?,
        happened_ms: row.get(9)?,
        created_ms: row.get(10)?,
    })
}

fn turn(row: &Row) -> Result<PastTurn, DatabaseError> {
    Ok(PastTurn {
        session: row.parsed(0)?,
        request_id: row.parsed(1)?,
        agent: row.get(2)?,
        status: row.get(3)?,
        question: row.get(4)?,
        answer: row.get(5)?,
        at_ms: row.get(6)?,
        is_tainted: row.get::<i64>(7)? == 1,
    })
}
