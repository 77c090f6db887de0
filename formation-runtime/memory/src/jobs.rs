//! Jobs: what is asked of the formation at times that were set before, and what came of it.
//!
//! A run is a request like any other. The row of the run, the next time of the job and the request
//! are written in one transaction, so that a run is neither lost nor made twice.

use muxi_contract::{RequestId, UserId};

use crate::requests::{self, NewRequest, RequestSeq, RequestStatus};
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTimes {
    /// At every time of a cron expression.
    Recurring {
        cron: String,
    },
    Once {
        at_ms: i64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    Active,
    Paused,
    /// This and the others are ends of jobs that run once.
    Completed,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub id: String,
    pub title: String,
    pub prompt: String,
    pub times: JobTimes,
    /// Of the cron expression.
    pub timezone: String,
    pub next_ms: i64,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub user: UserId,
    pub title: String,
    pub prompt: String,
    pub times: JobTimes,
    pub timezone: String,
    pub status: JobStatus,
    pub next_ms: Option<i64>,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub last_run_ms: Option<i64>,
    pub last_status: Option<String>,
    pub last_error: Option<String>,
    pub runs: u64,
    pub failures: u64,
    pub failures_in_a_row: u64,
}

/// New values of a job; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobChange {
    pub title: Option<String>,
    pub prompt: Option<String>,
    /// Other times, their zone, and the first of them.
    pub times: Option<(JobTimes, String, i64)>,
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    pub request_id: RequestId,
    /// `running`, or how its request ended.
    pub status: String,
    pub error: Option<String>,
    pub due_ms: i64,
    pub started_ms: i64,
    pub ended_ms: Option<i64>,
}

/// A run that begins, and the time of the one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    pub job: String,
    /// As it was read: who comes second finds another time and leaves the job alone.
    pub due_ms: i64,
    pub next_ms: Option<i64>,
    /// Runs of all jobs that may be open with this one.
    pub open_max: u32,
}

/// A run whose request has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRun {
    pub job: String,
    pub user: UserId,
    pub request_id: RequestId,
    pub status: String,
    pub error: Option<String>,
    /// Whether this was one failure too many.
    pub paused: bool,
}

/// Runs that are kept of each job; the oldest go first.
const RUNS_KEPT: u32 = 20;
/// How long a job that has had its only run is remembered.
const ENDED_KEPT_MS: i64 = 30 * 24 * 3_600_000;

const COLUMNS: &str = "SELECT id, user_id, title, prompt, cron, once_ms, timezone, status, next_ms,
        created_ms, updated_ms, last_run_ms, last_status, last_error, runs, failures,
        failures_in_a_row FROM jobs";

// === impl UserStore ===

impl UserStore {
    /// Writes a job down; false when the user has that many already that may still run.
    pub async fn create_job(&self, new: NewJob, jobs_max: u32) -> Result<bool, StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                let there: u32 = transaction.one(
                    "SELECT count(*) FROM jobs
                     WHERE user_id = ?1 AND status IN ('active', 'paused')",
                    values![user.as_str()],
                    |row| row.get(0),
                )?;
                if there >= jobs_max {
                    return Ok(false);
                }
                let (cron, once_ms) = new.times.columns();
                transaction.execute(
                    "INSERT INTO jobs (id, user_id, title, prompt, cron, once_ms, timezone, status,
                         next_ms, created_ms, updated_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', ?8, ?9, ?9)",
                    values![
                        &new.id,
                        user.as_str(),
                        &new.title,
                        &new.prompt,
                        cron,
                        once_ms,
                        &new.timezone,
                        new.next_ms,
                        new.at_ms,
                    ],
                )?;
                Ok(true)
            })
            .await
    }

    /// The user's newest jobs first.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql =
                    format!("{COLUMNS} WHERE user_id = ?1 ORDER BY created_ms DESC, id LIMIT ?2");
                transaction.all(&sql, values![user.as_str(), limit], job)
            })
            .await
    }

    /// Begins a run of the user's job as a request that this process works on. Nothing is done when
    /// another process was first, the job's last run is still open, or too many are.
    pub async fn start_run(
        &self,
        run: NewRun,
        request: NewRequest,
    ) -> Result<Option<RequestSeq>, StoreError> {
        let (user, owner) = (self.user().clone(), self.store().context().owner.clone());
        self.store()
            .write(move |transaction| {
                let claimed = transaction.execute(
                    "UPDATE jobs SET next_ms = ?4, last_run_ms = ?5, last_status = 'running',
                         last_error = NULL
                     WHERE id = ?1 AND user_id = ?2 AND status = 'active' AND next_ms = ?3
                       AND NOT EXISTS (
                           SELECT 1 FROM job_runs r WHERE r.job = jobs.id AND r.ended_ms IS NULL)
                       AND (SELECT count(*) FROM job_runs o
                            LEFT JOIN requests q ON q.seq = o.request
                            WHERE o.ended_ms IS NULL
                              AND coalesce(q.status, '') <> 'awaiting_clarification') < ?6",
                    values![
                        &run.job,
                        user.as_str(),
                        run.due_ms,
                        run.next_ms,
                        request.at_ms,
                        run.open_max,
                    ],
                )?;
                if claimed == 0 {
                    return Ok(None);
                }
                let seq = requests::accept(transaction, user.as_str(), &owner, &request)?;
                transaction.execute(
                    "INSERT INTO job_runs (job, request, request_id, status, due_ms, started_ms)
                     VALUES (?1, ?2, ?3, 'running', ?4, ?5)",
                    values![&run.job, seq.number(), request.id.as_str(), run.due_ms, request.at_ms],
                )?;
                transaction.execute(
                    "DELETE FROM job_runs WHERE job = ?1 AND seq <= (
                         SELECT seq FROM job_runs WHERE job = ?1
                         ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                    values![&run.job, RUNS_KEPT],
                )?;
                Ok(Some(seq))
            })
            .await
    }
}

// === impl Store: for the operator and the scheduler ===

impl Store {
    /// The newest jobs of all users first.
    pub async fn all_jobs(&self, limit: u32) -> Result<Vec<Job>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("{COLUMNS} ORDER BY created_ms DESC, id LIMIT ?1");
            transaction.all(&sql, values![limit], job)
        })
        .await
    }

    /// A job with its last runs, the newest first.
    pub async fn job(&self, id: &str) -> Result<Option<(Job, Vec<JobRun>)>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| {
            let sql = format!("{COLUMNS} WHERE id = ?1");
            let Some(job) = transaction.first(&sql, values![&id], job)? else { return Ok(None) };
            let runs = transaction.all(
                "SELECT request_id, status, error, due_ms, started_ms, ended_ms FROM job_runs
                 WHERE job = ?1 ORDER BY seq DESC",
                values![&id],
                |row| {
                    Ok(JobRun {
                        request_id: row.parsed(0)?,
                        status: row.get(1)?,
                        error: row.get(2)?,
                        due_ms: row.get(3)?,
                        started_ms: row.get(4)?,
                        ended_ms: row.get(5)?,
                    })
                },
            )?;
            Ok(Some((job, runs)))
        })
        .await
    }

    /// Changes a job and gives it back as it is now. A job that has ended and gets other times will
    /// run again.
    pub async fn change_job(
        &self,
        id: &str,
        change: JobChange,
        at_ms: i64,
    ) -> Result<Option<Job>, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE jobs SET title = coalesce(CAST(?2 AS TEXT), title),
                     prompt = coalesce(CAST(?3 AS TEXT), prompt), updated_ms = ?4
                 WHERE id = ?1",
                values![&id, change.title.as_ref(), change.prompt.as_ref(), at_ms],
            )?;
            if let Some((times, timezone, next_ms)) = &change.times {
                let (cron, once_ms) = times.columns();
                transaction.execute(
                    "UPDATE jobs SET cron = ?2, once_ms = ?3, timezone = ?4, next_ms = ?5,
                         status = CASE WHEN status = 'paused' THEN 'paused' ELSE 'active' END
                     WHERE id = ?1",
                    values![&id, cron, once_ms, timezone, *next_ms],
                )?;
            }
            let sql = format!("{COLUMNS} WHERE id = ?1");
            transaction.first(&sql, values![&id], job)
        })
        .await
    }

    /// Deletes a job and its history; a run that is open goes on as the request that it is.
    pub async fn delete_job(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let gone = transaction.execute("DELETE FROM jobs WHERE id = ?1", values![&id])?;
            Ok(gone > 0)
        })
        .await
    }

    /// False when the job is not active.
    pub async fn pause_job(&self, id: &str, at_ms: i64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let paused = transaction.execute(
                "UPDATE jobs SET status = 'paused', updated_ms = ?2
                 WHERE id = ?1 AND status = 'active'",
                values![&id, at_ms],
            )?;
            Ok(paused > 0)
        })
        .await
    }

    /// Lets a paused job run again, with its failures forgiven; false when it is not paused.
    pub async fn resume_job(
        &self,
        id: &str,
        next_ms: Option<i64>,
        at_ms: i64,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let resumed = transaction.execute(
                "UPDATE jobs SET status = 'active', next_ms = ?2, failures_in_a_row = 0,
                     updated_ms = ?3
                 WHERE id = ?1 AND status = 'paused'",
                values![&id, next_ms, at_ms],
            )?;
            Ok(resumed > 0)
        })
        .await
    }

    /// When the next job is due, and how many runs are open.
    pub async fn next_job(&self) -> Result<(Option<i64>, u32), StoreError> {
        self.read(|transaction| {
            transaction.one(
                "SELECT (SELECT min(next_ms) FROM jobs
                         WHERE status = 'active' AND next_ms IS NOT NULL AND NOT EXISTS (
                             SELECT 1 FROM job_runs r
                             WHERE r.job = jobs.id AND r.ended_ms IS NULL)),
                        (SELECT count(*) FROM job_runs o
                         LEFT JOIN requests q ON q.seq = o.request
                         WHERE o.ended_ms IS NULL
                           AND coalesce(q.status, '') <> 'awaiting_clarification')",
                &[],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
        .await
    }

    /// Jobs whose time has come and whose last run is over, the latest first.
    pub async fn due_jobs(&self, now_ms: i64, limit: u32) -> Result<Vec<Job>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "{COLUMNS} WHERE status = 'active' AND next_ms <= ?1 AND NOT EXISTS (
                     SELECT 1 FROM job_runs r WHERE r.job = jobs.id AND r.ended_ms IS NULL)
                 ORDER BY next_ms, id LIMIT ?2"
            );
            transaction.all(&sql, values![now_ms, limit], job)
        })
        .await
    }

    /// Leaves out a run whose time was missed; false when another process was first.
    pub async fn skip_run(
        &self,
        id: &str,
        due_ms: i64,
        next_ms: Option<i64>,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let skipped = transaction.execute(
                "UPDATE jobs SET next_ms = ?3
                 WHERE id = ?1 AND next_ms = ?2 AND status = 'active'",
                values![&id, due_ms, next_ms],
            )?;
            Ok(skipped > 0)
        })
        .await
    }

    /// Notes what came of runs whose requests have ended, and pauses jobs that failed too often in a
    /// row. Each run is told to one caller only.
    pub async fn settle_runs(
        &self,
        failures_max: u32,
        now_ms: i64,
    ) -> Result<Vec<SettledRun>, StoreError> {
        self.write(move |transaction| {
            let ended = transaction.all(
                "SELECT r.seq, r.job, j.user_id, r.request_id, q.status, q.error, q.ended_ms
                 FROM job_runs r JOIN jobs j ON j.id = r.job
                 LEFT JOIN requests q ON q.seq = r.request
                 WHERE r.ended_ms IS NULL AND (q.seq IS NULL OR q.ended_ms IS NOT NULL)",
                &[],
                |row| {
                    let status = match row.get::<Option<String>>(4)?.as_deref() {
                        Some("completed") => "completed",
                        Some("cancelled") => "cancelled",
                        _ => "failed",
                    };
                    let run = SettledRun {
                        job: row.get(1)?,
                        user: row.parsed(2)?,
                        request_id: row.parsed(3)?,
                        status: status.to_owned(),
                        error: row.get(5)?,
                        paused: false,
                    };
                    Ok((row.get::<i64>(0)?, run, row.get::<Option<i64>>(6)?))
                },
            )?;
            let mut settled = Vec::with_capacity(ended.len());
            for (seq, mut run, ended_ms) in ended {
                transaction.execute(
                    "UPDATE job_runs SET status = ?2, error = ?3, ended_ms = ?4 WHERE seq = ?1",
                    values![seq, &run.status, run.error.as_ref(), ended_ms.unwrap_or(now_ms)],
                )?;
                run.paused = note_end(transaction, &run, failures_max, now_ms)?;
                settled.push(run);
            }
            if !settled.is_empty() {
                transaction.execute(
                    "DELETE FROM jobs WHERE status IN ('completed', 'failed', 'cancelled')
                       AND updated_ms < ?1",
                    values![now_ms - ENDED_KEPT_MS],
                )?;
            }
            Ok(settled)
        })
        .await
    }
}

// === impl JobTimes ===

impl JobTimes {
    fn columns(&self) -> (Option<&str>, Option<i64>) {
        match self {
            Self::Recurring { cron } => (Some(cron), None),
            Self::Once { at_ms } => (None, Some(*at_ms)),
        }
    }
}

// === impl JobStatus ===

impl JobStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for JobStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Active, Self::Paused, Self::Completed, Self::Failed, Self::Cancelled];
        all.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === private helpers ===

/// The figures of the job after a run; whether it is paused now.
fn note_end(
    transaction: &mut Transaction<'_>,
    run: &SettledRun,
    failures_max: u32,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    let failed = run.status == RequestStatus::Failed.as_str();
    let completed = run.status == RequestStatus::Completed.as_str();
    // A run that somebody cancelled says nothing about the next one.
    transaction.execute(
        "UPDATE jobs SET last_status = ?2, last_error = ?3, runs = runs + 1,
             failures = failures + CAST(?4 AS BIGINT), updated_ms = ?6,
             failures_in_a_row = CASE WHEN CAST(?4 AS BIGINT) = 1 THEN failures_in_a_row + 1
                                      WHEN CAST(?5 AS BIGINT) = 1 THEN 0 ELSE failures_in_a_row END
         WHERE id = ?1",
        values![&run.job, &run.status, run.error.as_ref(), failed, completed, now_ms],
    )?;
    // One that runs once is over, unless it was given another time in between.
    transaction.execute(
        "UPDATE jobs SET status = ?2 WHERE id = ?1 AND next_ms IS NULL",
        values![&run.job, &run.status],
    )?;
    let paused = transaction.execute(
        "UPDATE jobs SET status = 'paused'
         WHERE id = ?1 AND status = 'active' AND failures_in_a_row >= ?2
           AND CAST(?3 AS BIGINT) = 1",
        values![&run.job, failures_max, failed],
    )?;
    Ok(paused > 0)
}

fn job(row: &Row) -> Result<Job, DatabaseError> {
    let cron: Option<String> = row.get(4)?;
    let times = match cron {
        Some(cron) => JobTimes::Recurring { cron },
        None => JobTimes::Once { at_ms: row.get(5)? },
    };
    Ok(Job {
        id: row.get(0)?,
        user: row.parsed(1)?,
        title: row.get(2)?,
        prompt: row.get(3)?,
        times,
        timezone: row.get(6)?,
        status: row.parsed(7)?,
        next_ms: row.get(8)?,
        created_ms: row.get(9)?,
        updated_ms: row.get(10)?,
        last_run_ms: row.get(11)?,
        last_status: row.get(12)?,
        last_error: row.get(13)?,
        runs: row.get(14)?,
        failures: row.get(15)?,
        failures_in_a_row: row.get(16)?,
    })
}
