//! A coding job: a command-line agent works in a folder of its own, and its last word is the result.
//!
//! Invariants: a job runs once, since what has begun is in its journal before the program starts; the
//! program is confined (`muxi_tools::sandbox::Walls`) or not run, and gets no variable and no secret but
//! those of `coding.env`; what it calls its session is seen by nobody; whatever happens, all that it started
//! ends with the job.

mod journal;
mod said;
mod workplace;

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muxi_formation::Coding;
use muxi_formation::coding::{Adapter, AdapterOutput, Call, Session, SessionWay};
use muxi_memory::{Task, TaskEnd};
use muxi_orchestration::delegation::{Format, Reading};
use muxi_orchestration::json_path::JsonPath;
use muxi_tools::program::{Identity, Order, Program};
use muxi_tools::sandbox::{Launcher, Walls};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub(super) use self::journal::{Journal, Journals, Kept};
use self::said::Said;
use super::CodingJobs;
use super::telling::{self, End};
use crate::app::Parts;
use crate::redact::Depth;

/// What is to be done, as a task keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) agent: String,
    pub(super) prompt: String,
    pub(super) model: Option<String>,
    /// One of `coding.workdirs`, as it is written there.
    pub(super) workdir: String,
    /// The job whose session and folder this one goes on with.
    pub(super) continues: Option<String>,
    /// How much work has led to this without a word of the user.
    pub(super) chain: u32,
}

/// Where the adapter finds what in the output.
#[derive(Debug, Clone)]
pub(super) struct Selectors {
    result: Option<JsonPath>,
    session: Option<JsonPath>,
}

/// How a program came to its end.
enum Ran {
    Exited(ExitStatus),
    OutOfTime,
    Cancelled,
}

/// How long a program has to write its session down when it is asked to end.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// What it prints is written down so often.
const NOTE_EVERY: Duration = Duration::from_millis(500);

// === impl Selectors ===

impl Selectors {
    pub(super) fn of(adapter: &Adapter) -> Result<Self, String> {
        let path = |key: &str, text: &Option<String>| {
            let path = text.as_deref().map(str::parse::<JsonPath>).transpose();
            path.map_err(|fault| format!("`parse.{key}` of the adapter `{}` {fault}", adapter.name))
        };
        Ok(Self {
            result: path("result", &adapter.parse.result)?,
            session: path("session_id", &adapter.parse.session_id)?,
        })
    }

    fn reading(&self, output: AdapterOutput) -> Reading {
        let format = match output {
            AdapterOutput::StreamJson => Format::StreamJson,
            AdapterOutput::Json => Format::Json,
            AdapterOutput::Text => Format::Text,
        };
        Reading::new(format, self.result.clone(), self.session.clone())
    }
}

/// Does the job, or says what became of it in a process that is gone.
pub(super) async fn work(app: &Parts, task: &Task, cancelled: &CancellationToken) {
    let journal = app.jobs.journals.of(&task.id);
    let spec: Option<Spec> = serde_json::from_str(&task.spec_json).ok();
    let agent = spec.as_ref().map(|spec| spec.agent.clone());
    let done = match journal.read() {
        Ok(Some(kept)) => Ok(Some(recovered(&kept))),
        Ok(None) => match (&app.jobs.coding, spec) {
            (Some(coding), Some(spec)) => {
                begin(app, coding, task, &spec, &journal, cancelled).await
            }
            (None, _) => Err("the formation has no `coding` any more".to_owned()),
            (Some(_), None) => Err("what was to be done cannot be read by this version".to_owned()),
        },
        Err(fault) => Err(fault),
    };
    let (end, text) = match done {
        Ok(Some(ended)) => ended,
        Ok(None) => {
            tidy(&journal, TaskEnd::Failed).await;
            return telling::release(app, task).await;
        }
        Err(fault) => (TaskEnd::Failed, format!("It could not be done: {fault}.")),
    };
    // From here on a process that dies loses nothing.
    if let Err(fault) = journal.end(end, &text) {
        tracing::warn!(task = task.id, fault, "the end of a coding job is not in its journal");
    }
    tidy(&journal, end).await;
    telling::tell(app, task, End { how: end, text, agent }, cancelled).await;
}

// === private helpers ===

/// What a process that is gone has left.
fn recovered(kept: &Kept) -> (TaskEnd, String) {
    if let Some((end, text)) = kept.end() {
        return (end, text);
    }
    let was_alive = kept.process.as_ref().is_some_and(Identity::kill);
    tracing::warn!(was_alive, "a coding job was cut off with its process");
    let text = "The formation was stopped while the coding agent worked. What it did until then is \
                done; it was not begun again.";
    let more = if kept.session.is_some() { " It can be continued." } else { "" };
    (TaskEnd::Failed, format!("{text}{more}"))
}

/// Nothing if it was cancelled.
async fn begin(
    app: &Parts,
    coding: &CodingJobs,
    task: &Task,
    spec: &Spec,
    journal: &Journal,
    cancelled: &CancellationToken,
) -> Result<Option<(TaskEnd, String)>, String> {
    let Coding { adapter, timeout_seconds, env, cleanup, .. } = &coding.config;
    let earlier = match &spec.continues {
        Some(id) => Some(continued(app, id)?),
        None => None,
    };
    let folder = match &earlier {
        // A session is known by its folder, also if that was tidied up.
        Some(Earlier { folder, .. }) => workplace::again(coding, folder)?,
        None => workplace::fresh(coding, &spec.workdir, &task.user, &task.request_id)?,
    };
    let (own, is_named_by_us) = (session_name(), names_sessions(&adapter.args.session));
    let session = match &earlier {
        Some(Earlier { session, .. }) => Session::Resume(session),
        None => Session::New(&own),
    };
    let mut kept = Kept {
        folder: folder.clone(),
        is_tidied: *cleanup == muxi_formation::coding::Cleanup::Delete,
        process: None,
        worker: Some(Identity::own()),
        session: match &earlier {
            Some(earlier) => Some(earlier.session.clone()),
            None => is_named_by_us.then(|| own.clone()),
        },
        place: match &earlier {
            // Agents keep their sessions at home.
            Some(earlier) => earlier.place.clone(),
            None => app.jobs.journals.place(&task.id),
        },
        ended: None,
    };
    let timeout = Duration::from_secs(*timeout_seconds);
    // First of all: what has begun is never begun again.
    journal.write(&kept)?;
    let line = coding.config.command_line(Call {
        prompt: &spec.prompt,
        model: spec.model.as_deref(),
        session,
    });
    let order = Order {
        program: workplace::program(&line.program, &coding.bundle),
        args: line.args,
        env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        stdin: line.stdin,
        walls: Walls {
            launcher: Launcher::this_program(),
            hidden: coding.hidden.clone(),
            work: folder.clone(),
            place: kept.place.clone(),
            timeout,
        },
    };
    let mut program = Program::start(order).map_err(|error| error.to_string())?;
    kept.process = Some(program.identity().clone());
    journal.write(&kept)?;
    let said = Said::new(
        coding.selectors.reading(adapter.output),
        app.redactor.scope(Depth::Secrets),
        kept.session.clone(),
    );
    let said = Mutex::new(said);
    let ran = run(app, task, &mut program, &said, timeout, cancelled).await?;
    note(app, task, &said).await;
    let mut said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept.process = None;
    kept.session = said.session().map(str::to_owned);
    journal.write(&kept)?;
    Ok(match ran {
        Ran::Cancelled => None,
        Ran::Exited(status) if status.success() => Some((TaskEnd::Completed, said.result())),
        Ran::Exited(status) => Some((TaskEnd::Failed, said.fault(&status.to_string()))),
        Ran::OutOfTime => {
            let minutes = timeout_seconds.div_ceil(60);
            let mut text = format!("The coding agent was stopped after {minutes} minutes.");
            if kept.session.is_some() {
                text.push_str(" It can be continued where it was.");
            }
            Some((TaskEnd::TimedOut, text))
        }
    })
}

/// Until its end, its time's, or somebody's word; then nothing of it is left.
async fn run(
    app: &Parts,
    task: &Task,
    program: &mut Program,
    said: &Mutex<Said>,
    timeout: Duration,
    cancelled: &CancellationToken,
) -> Result<Ran, String> {
    let mut told = |printed, line: &[u8]| lock(said).push(printed, line);
    let ran = tokio::select! {
        // The word first, so that a flood cannot hide it. All arms are cancel-safe enough: who loses ends.
        biased;
        () = cancelled.cancelled() => Ran::Cancelled,
        () = tokio::time::sleep(timeout) => Ran::OutOfTime,
        never = keep_noting(app, task, said) => match never {},
        ended = program.run(&mut told) => {
            return ended.map(Ran::Exited).map_err(|error| error.to_string());
        }
    };
    program.stop(STOP_GRACE).await;
    Ok(ran)
}

async fn keep_noting(app: &Parts, task: &Task, said: &Mutex<Said>) -> Infallible {
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        note(app, task, said).await;
    }
}

/// Writes the newest lines down.
async fn note(app: &Parts, task: &Task, said: &Mutex<Said>) {
    let lines = lock(said).take_lines();
    if lines.is_empty() {
        return;
    }
    if let Err(error) = app.store.note_task_lines(&task.id, lines, app.clock.now_ms()).await {
        tracing::warn!(task = task.id, error = %error, "lines of a log were lost");
    }
}

fn lock(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an earlier job left to go on with.
struct Earlier {
    session: String,
    folder: PathBuf,
    place: PathBuf,
}

fn continued(app: &Parts, id: &str) -> Result<Earlier, String> {
    let kept = app.jobs.journals.of(id).read()?;
    let Kept { session, folder, place, .. } =
        kept.ok_or_else(|| format!("nothing is left of job `{id}`"))?;
    let session = session.ok_or_else(|| format!("job `{id}` left no session"))?;
    Ok(Earlier { session, folder, place })
}

/// What is out of time may be continued, and finds its folder as it was until it is forgotten. Homes stay
/// as long as their sessions.
async fn tidy(journal: &Journal, end: TaskEnd) {
    let Ok(Some(kept)) = journal.read() else { return };
    let is_over = kept.session.is_none();
    workplace::remove(if is_over { kept.place } else { kept.place.join("tmp") }).await;
    if end != TaskEnd::TimedOut && kept.is_tidied {
        workplace::remove_of_user(kept.folder).await;
    }
}

const fn names_sessions(way: &SessionWay) -> bool {
    match way {
        SessionWay::Same(_) | SessionWay::NewAndResume { .. } => true,
        SessionWay::None | SessionWay::Resume(_) => false,
    }
}

/// A random UUID, which is what those want whose callers name sessions.
fn session_name() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source answers");
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits = hex::encode(bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
