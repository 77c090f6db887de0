//! Work that goes on behind conversations: jobs elsewhere that are watched, code that is written.
//!
//! A task is due at times; the process that claims it works on it until it puts it back with its next
//! time, or settles it. What a dead process had claimed is due again.

mod lines;

use muxi_contract::{RequestId, SessionId, UserId};

pub use self::lines::TaskLine;

use crate::owner;
use crate::requests::{self, NewRequest, RequestSeq};
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Looks at a job elsewhere until that is done.
    Watch,
    /// Has another program write code.
    Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Nobody has worked on it yet.
    Started,
    Running,
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    pub id: String,
    pub kind: TaskKind,
    pub session: SessionId,
    /// The request that it was begun in.
    pub request_id: RequestId,
    /// What people read.
    pub label: String,
    /// What is to be done, as JSON that its maker reads again.
    pub spec_json: String,
    pub next_ms: i64,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub user: UserId,
    pub kind: TaskKind,
    pub session: SessionId,
    pub request_id: RequestId,
    pub label: String,
    pub spec_json: String,
    pub state: TaskState,
    pub next_ms: i64,
    /// In a row.
    pub failures: u32,
    pub result: Option<String>,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub ended_ms: Option<i64>,
}

/// What a task came to. A cancelled one has its own way: [`UserStore::cancel_task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    Completed,
    Failed,
    TimedOut,
}

/// How many tasks of one kind may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMax {
    OfUser(u32),
    OfFormation(u32),
}

/// How long a task that has ended is remembered.
const ENDED_KEPT_MS: i64 = 30 * 24 * 3_600_000;

const COLUMNS: &str = "SELECT id, user_id, kind, session, request_id, label, spec, state, next_ms, \
     failures, result, created_ms, updated_ms, ended_ms FROM tasks";

// === impl UserStore ===

impl UserStore {
    /// Writes a task down; false when there are that many already that have not ended.
    pub async fn create_task(&self, new: NewTask, open_max: OpenMax) -> Result<bool, StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                let (whose, open_max) = match open_max {
                    OpenMax::OfUser(open_max) => (Some(user.as_str()), open_max),
                    OpenMax::OfFormation(open_max) => (None, open_max),
                };
                let open: u32 = transaction.one(
                    "SELECT count(*) FROM tasks WHERE kind = ?1 AND ended_ms IS NULL
                       AND (CAST(?2 AS TEXT) IS NULL OR user_id = ?2)",
                    values![new.kind.as_str(), whose],
                    |row| row.get(0),
                )?;
                if open >= open_max {
                    return Ok(false);
                }
                transaction.execute(
                    "INSERT INTO tasks (id, user_id, kind, session, request_id, label, spec, state,
                         next_ms, created_ms, updated_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'started', ?8, ?9, ?9)",
                    values![
                        &new.id,
                        user.as_str(),
                        new.kind.as_str(),
                        new.session.as_str(),
                        new.request_id.as_str(),
                        &new.label,
                        &new.spec_json,
                        new.next_ms,
                        new.at_ms,
                    ],
                )?;
                Ok(true)
            })
            .await
    }

    /// The newest first.
    pub async fn tasks(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql =
                    format!("{COLUMNS} WHERE user_id = ?1 ORDER BY created_ms DESC, id LIMIT ?2");
                transaction.all(&sql, values![user.as_str(), limit], task)
            })
            .await
    }

    pub async fn task(&self, id: &str) -> Result<Option<Task>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .read(move |transaction| {
                let sql = format!("{COLUMNS} WHERE id = ?1 AND user_id = ?2");
                transaction.first(&sql, values![&id, user.as_str()], task)
            })
            .await
    }

    /// The same as [`Store::settle_task`], together with the request that tells the session of it;
    /// nothing if the task was cancelled meanwhile, or is another process's.
    pub async fn settle_task_and_tell(
        &self,
        id: &str,
        end: TaskEnd,
        result: Option<String>,
        request: NewRequest,
    ) -> Result<Option<RequestSeq>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        let own = self.store().context().owner.clone();
        self.store()
            .write(move |transaction| {
                if !settle(transaction, &id, &own, end, result.as_ref(), request.at_ms)? {
                    return Ok(None);
                }
                requests::accept(transaction, user.as_str(), &own, &request).map(Some)
            })
            .await
    }

    /// Ends it, also while a process works on it, which learns of that from
    /// [`Store::cancelled_tasks`]; false if it has ended already.
    pub async fn cancel_task(&self, id: &str, at_ms: i64) -> Result<bool, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                let cancelled = transaction.execute(
                    "UPDATE tasks SET state = 'cancelled', updated_ms = ?3, ended_ms = ?3
                     WHERE id = ?1 AND user_id = ?2 AND ended_ms IS NULL",
                    values![&id, user.as_str(), at_ms],
                )?;
                Ok(cancelled > 0)
            })
            .await
    }
}

// === impl Store: for those who work on tasks ===

impl Store {
    /// Claims tasks of a kind that are due, the longest overdue first. Nobody else works on them until
    /// they are put back or settled, unless this process dies.
    pub async fn claim_tasks(
        &self,
        kind: TaskKind,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        let own = self.context().owner.clone();
        self.write(move |transaction| {
            let sql = format!(
                "{COLUMNS} WHERE kind = ?1 AND ended_ms IS NULL AND owner IS NULL AND next_ms <= ?2
                 ORDER BY next_ms, id LIMIT ?3"
            );
            let mut due = transaction.all(&sql, values![kind.as_str(), now_ms, limit], task)?;
            for task in &mut due {
                transaction.execute(
                    "UPDATE tasks SET owner = ?2, state = 'running', updated_ms = ?3 WHERE id = ?1",
                    values![&task.id, &own, now_ms],
                )?;
                task.state = TaskState::Running;
            }
            Ok(due)
        })
        .await
    }

    /// Puts back what this process has claimed; false if it was cancelled meanwhile, or is another's.
    pub async fn put_task_back(
        &self,
        id: &str,
        next_ms: i64,
        failures: u32,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let (id, own) = (id.to_owned(), self.context().owner.clone());
        self.write(move |transaction| {
            let kept = transaction.execute(
                "UPDATE tasks SET next_ms = ?3, failures = ?4, updated_ms = ?5, owner = NULL
                 WHERE id = ?1 AND owner = ?2 AND ended_ms IS NULL",
                values![&id, &own, next_ms, failures, now_ms],
            )?;
            release(transaction, &id, &own)?;
            Ok(kept > 0)
        })
        .await
    }

    /// Writes down what came of a task that this process has claimed; false if it was cancelled
    /// meanwhile, or is another's.
    pub async fn settle_task(
        &self,
        id: &str,
        end: TaskEnd,
        result: Option<String>,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let (id, own) = (id.to_owned(), self.context().owner.clone());
        self.write(move |transaction| settle(transaction, &id, &own, end, result.as_ref(), now_ms))
            .await
    }

    /// Tasks that this process works on although they were cancelled. They are told until they are put
    /// back or settled.
    pub async fn cancelled_tasks(&self) -> Result<Vec<String>, StoreError> {
        let own = self.context().owner.clone();
        self.read(move |transaction| {
            transaction.all(
                "SELECT id FROM tasks WHERE owner = ?1 AND ended_ms IS NOT NULL",
                values![&own],
                |row| row.get(0),
            )
        })
        .await
    }

    /// What dead processes worked on is due again; how many tasks.
    pub async fn free_tasks(&self, now_ms: i64) -> Result<u64, StoreError> {
        let own = self.context().owner.clone();
        self.write(move |transaction| {
            let owners: Vec<String> = transaction.all(
                "SELECT DISTINCT owner FROM tasks WHERE owner IS NOT NULL AND owner <> ?1",
                values![&own],
                |row| row.get(0),
            )?;
            let mut freed = 0;
            for owner in owners {
                if !owner::lives(transaction, &owner)? {
                    freed += transaction.execute(
                        "UPDATE tasks SET owner = NULL, next_ms = ?2 WHERE owner = ?1",
                        values![&owner, now_ms],
                    )?;
                }
            }
            Ok(freed)
        })
        .await
    }

    /// When the next task of a kind is due that nobody works on.
    pub async fn next_task_ms(&self, kind: TaskKind) -> Result<Option<i64>, StoreError> {
        self.read(move |transaction| {
            transaction.one(
                "SELECT min(next_ms) FROM tasks
                 WHERE kind = ?1 AND ended_ms IS NULL AND owner IS NULL",
                values![kind.as_str()],
                |row| row.get(0),
            )
        })
        .await
    }
}

/// Forgets what ended long ago.
pub(crate) fn forget(transaction: &mut Transaction<'_>, now_ms: i64) -> Result<(), DatabaseError> {
    transaction.execute(
        "DELETE FROM tasks WHERE ended_ms IS NOT NULL AND ended_ms < ?1",
        values![now_ms - ENDED_KEPT_MS],
    )?;
    Ok(())
}

// === impl TaskKind ===

impl TaskKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Code => "code",
        }
    }
}

impl std::str::FromStr for TaskKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Watch, Self::Code].into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl TaskState ===

impl TaskState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

impl std::str::FromStr for TaskState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [
            Self::Started,
            Self::Running,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
            Self::TimedOut,
        ];
        all.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl TaskEnd ===

impl TaskEnd {
    pub const fn state(self) -> TaskState {
        match self {
            Self::Completed => TaskState::Completed,
            Self::Failed => TaskState::Failed,
            Self::TimedOut => TaskState::TimedOut,
        }
    }
}

// === private helpers ===

fn settle(
    transaction: &mut Transaction<'_>,
    id: &str,
    own: &str,
    end: TaskEnd,
    result: Option<&String>,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    let settled = transaction.execute(
        "UPDATE tasks SET state = ?3, result = ?4, updated_ms = ?5, ended_ms = ?5
         WHERE id = ?1 AND owner = ?2 AND ended_ms IS NULL",
        values![id, own, end.state().as_str(), result, now_ms],
    )?;
    release(transaction, id, own)?;
    Ok(settled > 0)
}

/// Whoever had it has seen that it has ended.
fn release(transaction: &mut Transaction<'_>, id: &str, own: &str) -> Result<(), DatabaseError> {
    transaction.execute(
        "UPDATE tasks SET owner = NULL WHERE id = ?1 AND owner = ?2 AND ended_ms IS NOT NULL",
        values![id, own],
    )?;
    Ok(())
}

fn task(row: &Row) -> Result<Task, DatabaseError> {
    Ok(Task {
        id: row.get(0)?,
        user: row.parsed(1)?,
        kind: row.parsed(2)?,
        session: row.parsed(3)?,
        request_id: row.parsed(4)?,
        label: row.get(5)?,
        spec_json: row.get(6)?,
        state: row.parsed(7)?,
        next_ms: row.get(8)?,
        failures: row.get(9)?,
        result: row.get(10)?,
        created_ms: row.get(11)?,
        updated_ms: row.get(12)?,
        ended_ms: row.get(13)?,
    })
}
