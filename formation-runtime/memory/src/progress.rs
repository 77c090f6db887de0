//! What came of the parts of a request, so that a process that takes it over does none of them twice.

use crate::requests::{self, RequestSeq};
use crate::sql::values;
use crate::store::StoreError;
use crate::transcript::UserStore;

/// A part that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResult {
    pub task: String,
    pub status: TaskResultStatus,
    pub text: String,
    pub at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskResultStatus {
    Completed,
    Failed,
    /// It was not tried, because of what it depends on.
    Skipped,
}

// === impl UserStore ===

impl UserStore {
    /// Writes down what came of a part; a later result takes the place of an earlier one.
    pub async fn keep_task_result(
        &self,
        request: RequestSeq,
        result: TaskResult,
    ) -> Result<(), StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                transaction.execute(
                    "INSERT INTO task_results (request, task, status, text, at_ms)
                     SELECT seq, ?3, ?4, ?5, ?6 FROM requests
                     WHERE seq = ?1 AND user_id = ?2 AND ended_ms IS NULL
                     ON CONFLICT (request, task) DO UPDATE SET status = excluded.status,
                         text = excluded.text, at_ms = excluded.at_ms",
                    values![
                        request.number(),
                        user.as_str(),
                        &result.task,
                        result.status.as_str(),
                        &result.text,
                        result.at_ms,
                    ],
                )?;
                Ok(())
            })
            .await
    }

    /// Keeps a plan with what is to be done if this process dies. It takes the place of one before it,
    /// and of the results that were kept only these stay, besides what failed.
    pub async fn keep_plan(
        &self,
        request: RequestSeq,
        work: String,
        plan: TaskResult,
        done: Vec<TaskResult>,
    ) -> Result<(), StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                let is_at_work = transaction.first(
                    "SELECT 1 FROM requests
                     WHERE seq = ?1 AND user_id = ?2 AND status = 'processing'",
                    values![request.number(), user.as_str()],
                    |_| Ok(()),
                )?;
                if is_at_work.is_none() {
                    return Ok(());
                }
                requests::put_work(transaction, request, &work)?;
                let kept: Vec<String> = transaction.all(
                    "SELECT task FROM task_results WHERE request = ?1 AND status = ?2",
                    values![request.number(), TaskResultStatus::Completed.as_str()],
                    |row| row.get(0),
                )?;
                for task in kept.iter().filter(|task| done.iter().all(|it| it.task != **task)) {
                    transaction.execute(
                        "DELETE FROM task_results WHERE request = ?1 AND task = ?2",
                        values![request.number(), task],
                    )?;
                }
                for result in done.iter().chain([&plan]) {
                    // When a task was done is known already.
                    transaction.execute(
                        "INSERT INTO task_results (request, task, status, text, at_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (request, task) DO UPDATE SET status = excluded.status,
                             text = excluded.text",
                        values![
                            request.number(),
                            &result.task,
                            result.status.as_str(),
                            &result.text,
                            result.at_ms,
                        ],
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// In the order in which they ended.
    pub async fn task_results(&self, request: RequestSeq) -> Result<Vec<TaskResult>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT t.task, t.status, t.text, t.at_ms
                     FROM task_results t JOIN requests r ON r.seq = t.request
                     WHERE t.request = ?1 AND r.user_id = ?2 ORDER BY t.at_ms, t.task",
                    values![request.number(), user.as_str()],
                    |row| {
                        Ok(TaskResult {
                            task: row.get(0)?,
                            status: row.parsed(1)?,
                            text: row.get(2)?,
                            at_ms: row.get(3)?,
                        })
                    },
                )
            })
            .await
    }
}

// === impl TaskResultStatus ===

impl TaskResultStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl std::str::FromStr for TaskResultStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Completed, Self::Failed, Self::Skipped]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or(())
    }
}
