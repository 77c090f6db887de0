//! What tasks say while they are worked on.

use crate::sql::values;
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLine {
    pub seq: i64,
    pub at_ms: i64,
    pub text: String,
}

/// Of one task; the oldest go first.
const LINES_KEPT: u32 = 2_000;

// === impl UserStore ===

impl UserStore {
    /// Lines of the user's task after the given one, oldest first.
    pub async fn task_lines(
        &self,
        task: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<TaskLine>, StoreError> {
        let (user, task) = (self.user().clone(), task.to_owned());
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT l.seq, l.at_ms, l.text FROM task_lines l JOIN tasks t ON t.id = l.task
                     WHERE l.task = ?1 AND t.user_id = ?2 AND l.seq > ?3 ORDER BY l.seq LIMIT ?4",
                    values![&task, user.as_str(), after_seq, limit],
                    |row| Ok(TaskLine { seq: row.get(0)?, at_ms: row.get(1)?, text: row.get(2)? }),
                )
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// Adds lines to the log of a task that is still known.
    pub async fn note_task_lines(
        &self,
        task: &str,
        lines: Vec<String>,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        let task = task.to_owned();
        self.write(move |transaction| {
            for line in &lines {
                transaction.execute(
                    "INSERT INTO task_lines (task, at_ms, text)
                     SELECT id, ?2, ?3 FROM tasks WHERE id = ?1",
                    values![&task, at_ms, line],
                )?;
            }
            transaction.execute(
                "DELETE FROM task_lines WHERE task = ?1 AND seq <= (
                     SELECT seq FROM task_lines WHERE task = ?1
                     ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                values![&task, LINES_KEPT],
            )?;
            Ok(())
        })
        .await
    }
}
