//! Runs jobs when their times come: each run is a request of the job's owner, in the job's own
//! session, that is worked on like any other.

pub mod times;

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_formation::manifest::{MissedRuns, Scheduler as Config};
use muxi_memory::{Job, JobTimes, NewRun, RequestKind, RequestMode, SettledRun, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Parts};
use crate::conversation::{AcceptError, Question};
use crate::events::{Event, EventKind};

/// What the manifest says of jobs, and a bell for those who change one.
#[derive(Debug)]
pub struct Scheduler {
    pub config: Config,
    /// Of jobs that name none.
    pub zone: TimeZone,
    /// For a moment that is a day only.
    pub usual_time: Time,
    changed: Notify,
}

#[derive(Debug, thiserror::Error)]
#[error("`scheduler.{key}`: {value} is not known on this machine")]
pub struct UnknownSetting {
    key: &'static str,
    value: String,
}

/// A run that could not begin, or whose end is awaited, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Jobs that are begun in one go.
const AT_ONCE: u32 = 100;
/// A run that is later than this was missed.
const LATE_MS: i64 = 60_000;

/// The session in which a job speaks.
pub fn session_of(job: &str) -> SessionId {
    format!("sched_{job}").parse().expect("a job's id is short and plain")
}

/// Looks after jobs until the process stops.
pub async fn run(app: App, stop: CancellationToken) {
    let looking = async {
        loop {
            let wait = look(&app).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "jobs");
                LOOK_AGAIN
            });
            // Rung or not, all there is to do is to look.
            let _rung = tokio::time::timeout(wait, app.scheduler.changed.notified()).await;
        }
    };
    // A run that was written down is the next process's, if this one stops here.
    let _stopped = stop.run_until_cancelled(looking).await;
}

// === impl Scheduler ===

impl Scheduler {
    pub fn new(config: Config) -> Result<Self, UnknownSetting> {
        let zone = TimeZone::get(&config.timezone);
        let zone = zone.map_err(|_| UnknownSetting::new("timezone", &config.timezone))?;
        let usual_time = config.default_time.parse();
        let usual_time =
            usual_time.map_err(|_| UnknownSetting::new("default_time", &config.default_time))?;
        Ok(Self { config, zone, usual_time, changed: Notify::new() })
    }

    /// A job was made or changed, so that its time may be the next one.
    pub fn look(&self) {
        self.changed.notify_one();
    }
}

// === impl UnknownSetting ===

impl UnknownSetting {
    fn new(key: &'static str, value: &str) -> Self {
        Self { key, value: value.to_owned() }
    }
}

// === private helpers ===

/// Does what is to be done now; the answer is how long there will be nothing.
async fn look(app: &App) -> Result<Duration, StoreError> {
    let config = &app.scheduler.config;
    let now_ms = app.clock.now_ms();
    for run in app.store.settle_runs(config.max_failures_before_pause, now_ms).await? {
        tell_end(app, run);
    }
    if config.enabled {
        begin_due(app, now_ms).await?;
    }
    let (next_ms, open) = app.store.next_job().await?;
    // Other processes make jobs, too, and clocks are set.
    let longest = match open {
        0 => Duration::from_mins(config.check_interval_minutes.into()),
        _ => LOOK_AGAIN,
    };
    let Some(next_ms) = next_ms.filter(|_| config.enabled) else { return Ok(longest) };
    Ok(match u64::try_from(next_ms - app.clock.now_ms()) {
        Ok(wait_ms @ 1..) => Duration::from_millis(wait_ms).min(longest),
        Ok(0) | Err(_) => LOOK_AGAIN,
    })
}

async fn begin_due(app: &App, now_ms: i64) -> Result<(), StoreError> {
    for job in app.store.due_jobs(now_ms, AT_ONCE).await? {
        match begin(app, &job, now_ms).await {
            Ok(()) => {}
            // The others would find the formation as full.
            Err(AcceptError::Start(error)) => {
                tracing::debug!(job = job.id, error = %error, "a job waits");
                return Ok(());
            }
            Err(AcceptError::Store(error)) => return Err(error),
        }
    }
    Ok(())
}

async fn begin(app: &Parts, job: &Job, now_ms: i64) -> Result<(), AcceptError> {
    let Some(due_ms) = job.next_ms else { return Ok(()) };
    let next_ms = next_ms(job, now_ms);
    if is_left_out(&job.times, app.scheduler.config.missed_runs, now_ms - due_ms) {
        if app.store.skip_run(&job.id, due_ms, next_ms).await? {
            let due = Timestamp::from_millisecond(due_ms).unwrap_or_default().to_string();
            let event = app.event(EventKind::JobSkipped, "a job's time was missed");
            app.events.tell(about(event, &job.id, &job.user, None).with("due", due));
        }
        return Ok(());
    }
    let question = Question {
        user: job.user.clone(),
        session: session_of(&job.id),
        request_id: RequestId::generate(),
        agent: None,
        text: job.prompt.clone(),
        files: Vec::new(),
        kind: RequestKind::Job,
        mode: RequestMode::Async,
        expected: None,
        resumes: None,
        picked: None,
        depth: 0,
        webhook_url: app.manifest.asynchronous.webhook_url.clone(),
        accepted: None,
        created_ms: now_ms,
    };
    let open_max = app.scheduler.config.max_concurrent_jobs;
    let run = NewRun { job: job.id.clone(), due_ms, next_ms, open_max };
    let request = question.request_id.clone();
    let write =
        |store: muxi_memory::UserStore, request| async move { store.start_run(run, request).await };
    if app.conversations.accept_by(question, write).await? {
        let event = app.event(EventKind::JobStarted, "a job runs");
        app.events.tell(about(event, &job.id, &job.user, Some(request)));
    }
    Ok(())
}

/// A job that runs once has no other chance.
fn is_left_out(times: &JobTimes, missed: MissedRuns, late_ms: i64) -> bool {
    let is_recurring = matches!(times, JobTimes::Recurring { .. });
    is_recurring && missed == MissedRuns::Skip && late_ms > LATE_MS
}

/// However many times were missed, the next one is yet to come.
fn next_ms(job: &Job, now_ms: i64) -> Option<i64> {
    let JobTimes::Recurring { cron } = &job.times else { return None };
    // Both were checked when they came; a machine may have lost a zone since.
    let (Ok(cron), Ok(zone)) = (times::parse_cron(cron), TimeZone::get(&job.timezone)) else {
        tracing::error!(job = job.id, zone = job.timezone, "a job's next time is not known");
        return None;
    };
    let now = Timestamp::from_millisecond(now_ms).ok()?;
    times::next_run(&cron, &zone, now).map(Timestamp::as_millisecond)
}

fn tell_end(app: &Parts, run: SettledRun) {
    let SettledRun { job, user, request_id, status, error, paused } = run;
    let kind = match status.as_str() {
        "completed" => EventKind::JobCompleted,
        "cancelled" => EventKind::JobCancelled,
        _ => EventKind::JobFailed,
    };
    let message = error.unwrap_or_else(|| format!("a job's run is {status}"));
    let event = app.event(kind, message);
    app.events.tell(about(event, &job, &user, Some(request_id)));
    if paused {
        let event = app.event(EventKind::JobPaused, "a job failed too often in a row");
        app.events.tell(about(event, &job, &user, None));
    }
}

fn about(event: Event, job: &str, user: &UserId, request: Option<RequestId>) -> Event {
    Event { user: Some(user.clone()), session: Some(session_of(job)), request, ..event }
        .with("job_id", job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recurring_runs_that_are_late_are_left_out_and_only_if_that_is_wanted() {
        let recurring = JobTimes::Recurring { cron: "0 * * * *".to_owned() };
        let once = JobTimes::Once { at_ms: 0 };
        for (times, missed, late_ms, left_out) in [
            (&recurring, MissedRuns::Skip, LATE_MS + 1, true),
            (&recurring, MissedRuns::Skip, LATE_MS, false),
            (&recurring, MissedRuns::Once, LATE_MS + 1, false),
            (&once, MissedRuns::Skip, LATE_MS + 1, false),
        ] {
            assert_eq!(is_left_out(times, missed, late_ms), left_out, "{times:?} {missed:?}");
        }
    }
}
