//! One look at a job elsewhere: with the rights of whoever had it watched, and without a model.

use std::time::Duration;

use muxi_contract::{SessionId, UserId};
use muxi_memory::{Task, TaskEnd};
use muxi_orchestration::approval::Action;
use muxi_orchestration::json_path::JsonPath;
use muxi_orchestration::watch::{Condition, Next, Pace, Seen, Watched, WrittenCondition};
use muxi_tools::{Call, Origin, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::telling::{self, End};
use crate::app::Parts;
use crate::redact::Depth;
use crate::toolbox::Toolbox;
use crate::tools::Caller;

/// What is to be watched, as a task keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) agent: String,
    pub(super) tool: String,
    pub(super) args: Map<String, Value>,
    pub(super) done_when: WrittenCondition,
    pub(super) result: Option<String>,
    pub(super) pace: Pace,
    /// How much work has led to this without a word of the user.
    pub(super) chain: u32,
}

/// Why nobody can look.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLook {
    #[error("the agent `{0}` is not there any more")]
    Agent(String),
    #[error("there is no tool `{0}` that this agent may use")]
    Tool(String),
    #[error("`{0}` is no tool of a server; only those can be watched with")]
    NotOfServer(String),
    #[error("`{tool}` cannot be called again and again without being asked for: {because}")]
    Verdict { tool: String, because: String },
    /// The next time it may be there again.
    #[error("{0}")]
    Missing(String),
}

/// A fault is told in few words.
const FAULT_CHARS_MAX: usize = 300;
const FOUND_CHARS_MAX: usize = 120;
/// A database that is away is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether the agent may look at it on the user's behalf.
pub(super) async fn may_look(
    app: &Parts,
    user: &UserId,
    session: &SessionId,
    spec: &Spec,
) -> Result<Toolbox, NoLook> {
    let agent = app.agents.find(&spec.agent);
    let agent = agent.ok_or_else(|| NoLook::Agent(spec.agent.clone()))?;
    let caller = Caller { user: user.clone(), session: session.clone(), depth: 0 };
    let toolbox = app.team.toolbox(&agent, &caller, "").await;
    let Some(tool) = toolbox.find(&spec.tool) else {
        // A server that is away now may have it.
        return Err(match toolbox.faults.first() {
            Some(fault) => NoLook::Missing(fault.clone()),
            None => NoLook::Tool(spec.tool.clone()),
        });
    };
    if !matches!(tool.origin(), Origin::Mcp { .. }) {
        return Err(NoLook::NotOfServer(spec.tool.clone()));
    }
    // Its own answers would taint a conversation, and nobody is there to be asked.
    match toolbox.judge(&spec.tool, &spec.args, true) {
        Some(verdict) if verdict.action == Action::Allow => Ok(toolbox),
        Some(verdict) => Err(NoLook::Verdict { tool: spec.tool.clone(), because: verdict.because }),
        None => Err(NoLook::Tool(spec.tool.clone())),
    }
}

/// Looks, and puts the task back or tells its end.
pub(super) async fn work(app: &Parts, task: &Task, cancelled: &CancellationToken) {
    let Some((spec, condition, result)) = read(task) else {
        let text = "what was to be watched cannot be read by this version".to_owned();
        return telling::tell(app, task, failed(text, None), cancelled).await;
    };
    let looked = cancelled.run_until_cancelled(look(app, task, &spec, cancelled)).await;
    let Some(looked) = looked else { return telling::release(app, task).await };
    let seen = match &looked {
        Looked::Answer(answer) => Seen::Answer(answer),
        Looked::Failed(fault) => Seen::Failed(fault),
        Looked::Refused(fault) => Seen::Refused(fault),
    };
    let watched = Watched {
        condition: &condition,
        result: result.as_ref(),
        pace: spec.pace,
        since_ms: task.created_ms,
        failures: task.failures,
    };
    let now_ms = app.clock.now_ms();
    let next = watched.next(seen, now_ms);
    note(app, task, &condition, &looked, now_ms).await;
    let (end, text) = match next {
        Next::Look { at_ms, failures } => {
            return put_back(app, task, at_ms, failures, cancelled).await;
        }
        Next::Done { result: Value::String(text) } => (TaskEnd::Completed, text),
        Next::Done { result } => (TaskEnd::Completed, result.to_string()),
        Next::TimedOut => {
            let minutes = spec.pace.timeout_ms / 60_000;
            (TaskEnd::TimedOut, format!("It was not done after {minutes} minutes of watching."))
        }
        Next::Failed { reason } => (TaskEnd::Failed, format!("It could not be watched: {reason}")),
    };
    let text = app.redactor.scope(Depth::Secrets).text(&text).into_owned();
    let end = End { how: end, text, agent: Some(spec.agent) };
    telling::tell(app, task, end, cancelled).await;
}

enum Looked {
    Answer(Value),
    Failed(String),
    Refused(String),
}

// === private helpers ===

fn read(task: &Task) -> Option<(Spec, Condition, Option<JsonPath>)> {
    let spec: Spec = serde_json::from_str(&task.spec_json).ok()?;
    let condition = Condition::try_from(&spec.done_when).ok()?;
    let result = spec.result.as_deref().map(str::parse).transpose().ok()?;
    Some((spec, condition, result))
}

fn failed(text: String, agent: Option<String>) -> End {
    End { how: TaskEnd::Failed, text, agent }
}

async fn look(app: &Parts, task: &Task, spec: &Spec, cancelled: &CancellationToken) -> Looked {
    let toolbox = match may_look(app, &task.user, &task.session, spec).await {
        Ok(toolbox) => toolbox,
        Err(NoLook::Missing(fault)) => return Looked::Failed(short(&fault, FAULT_CHARS_MAX)),
        Err(fault) => return Looked::Refused(fault.to_string()),
    };
    let Some(tool) = toolbox.find(&spec.tool) else {
        return Looked::Refused(NoLook::Tool(spec.tool.clone()).to_string());
    };
    let time_left = toolbox.caps().total;
    let calling = tool.call(Call {
        arguments: spec.args.clone(),
        user: task.user.clone(),
        session: task.session.clone(),
        request: task.request_id.clone(),
        agent: spec.agent.clone(),
        depth: 0,
        time_left,
        cancelled: cancelled.child_token(),
    });
    match tokio::time::timeout(time_left, calling).await {
        Ok(outcome) if outcome.is_error => Looked::Failed(short(&outcome.text(), FAULT_CHARS_MAX)),
        Ok(outcome) => Looked::Answer(answer(outcome)),
        Err(_elapsed) => {
            Looked::Failed(format!("no answer within {} seconds", time_left.as_secs()))
        }
    }
}

/// What programs read of it, or else its text, which may be JSON itself.
fn answer(outcome: Outcome) -> Value {
    let text = outcome.text();
    let structured = outcome.structured;
    structured.unwrap_or_else(|| serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn short(text: &str, chars_max: usize) -> String {
    let mut short: String = text.chars().take(chars_max).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// What was seen, for the task's log.
async fn note(app: &Parts, task: &Task, condition: &Condition, looked: &Looked, now_ms: i64) {
    let line = match looked {
        Looked::Answer(answer) => match condition.found(answer) {
            Some(found) => format!("`{}` is {found}", condition.path()),
            None => format!("`{}` is not in the answer", condition.path()),
        },
        Looked::Failed(fault) => format!("the look failed: {fault}"),
        Looked::Refused(fault) => format!("nobody may look: {fault}"),
    };
    let line = short(&line, FOUND_CHARS_MAX.max(FAULT_CHARS_MAX));
    let line = app.redactor.scope(Depth::Secrets).text(&line).into_owned();
    if let Err(error) = app.store.note_task_lines(&task.id, vec![line], now_ms).await {
        tracing::warn!(task = task.id, error = %error, "a line of a log was lost");
    }
}

async fn put_back(
    app: &Parts,
    task: &Task,
    at_ms: i64,
    failures: u32,
    cancelled: &CancellationToken,
) {
    loop {
        let now_ms = app.clock.now_ms();
        match app.store.put_task_back(&task.id, at_ms, failures, now_ms).await {
            Ok(true) => return,
            // It was cancelled, and is let go of by that.
            Ok(false) => {
                let told = "a background job was cancelled";
                let event = app.event(crate::events::EventKind::BackgroundJobCancelled, told);
                return app.events.tell(telling::about(event, task));
            }
            Err(error) => {
                tracing::warn!(task = task.id, error = %error, "a watch is still held");
                if cancelled.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return telling::release(app, task).await;
                }
            }
        }
    }
}
