//! A plan at work: what the machine wants started is started, what came of it is told to the machine.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_llm::Message;
use muxi_memory::{RequestSeq, TaskResultStatus};
use muxi_orchestration::fence;
use muxi_orchestration::graph::Plan;
use muxi_orchestration::routing::{Candidate, Limits};
use muxi_orchestration::workflow::{
    self, Assignment, Effect, End, Event as Happened, FailureKind, Outcome, Replan, Workflow,
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::speaking::{Asked, Part, Stage};
use super::tasks::{Of, Worked};
use crate::conversation::ledger::{OVERLORD, Purpose};
use crate::conversation::tool_loop::{Next, Planned};
use crate::conversation::trace::Decision;
use crate::conversation::turn::{Event, Failure, Finish, Update};
use crate::conversation::waiting::{HeldTask, RunningPlan, TaskResult, Work};
use crate::events::EventKind;
use crate::toolbox::new_boundary;

/// Tasks that do not begin anew, since somebody has decided about their calls or only the last call of
/// their model failed, and how each goes on.
pub(super) type Held = HashMap<String, (HeldTask, Next)>;

/// What came of something that was begun.
enum Came {
    Worked {
        id: String,
        attempt: u32,
        worked: Worked,
    },
    /// The machine gave the attempt up.
    Stopped,
    Replanned(Result<Plan, String>),
}

/// What is being done for a plan besides what its machine knows.
struct Site<'a> {
    running: RunningPlan,
    message: &'a str,
    candidates: Vec<Candidate>,
    stage: &'a Stage,
    request: RequestSeq,
    held: Held,
    /// What waits for a yes; nothing new is begun beside it.
    holding: Vec<(HeldTask, Vec<Planned>)>,
    stops: HashMap<(String, u32), CancellationToken>,
    /// The tasks that were begun, and why the last attempt at each failed.
    parts: HashMap<String, (Part, String)>,
    wake_ms: Option<u64>,
}

type Working<'a> = FuturesUnordered<BoxFuture<'a, Came>>;

// === impl Site ===

impl Site<'_> {
    /// What is to be kept of a plan that may have taken another's place.
    fn follow(&mut self, machine: &Workflow) {
        self.running.tasks = machine.plan().tasks().to_vec();
        self.running.results =
            machine.done().map(|(task, text)| TaskResult { task, text }).collect();
        self.running.replans = machine.replans();
        // Its tasks are others, though their names may be the same.
        self.held.clear();
        self.parts.clear();
    }
}

// === impl Running ===

impl Running {
    /// Works the plan through, up to the answer or to a question that somebody must answer first.
    pub(super) async fn run_plan(
        &self,
        running: RunningPlan,
        held: Held,
        request: RequestSeq,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let team = &self.context.team;
        let candidates = team.candidates();
        let agents: Vec<&str> = candidates.iter().map(|it| it.id.as_str()).collect();
        let limits = Limits::default().plan;
        let plan = Plan::new(running.tasks.clone(), &agents, limits).map_err(|faults| {
            let message = format!("the plan does not hold any more: {faults}");
            Failure::Model { message, retryable: false }
        })?;
        let policy = team.workflow_policy(running.procedure.is_some());
        let time_ms = policy.workflow_timeout_ms.min(policy.ceiling_ms);
        let time = std::time::Duration::from_millis(time_ms) + self.context.limits.turn;
        stage.send(Event::MoreTime(time)).await;
        let agents = agents.into_iter().map(str::to_owned).collect();
        self.keep_plan(&running, message, request).await;
        self.trace.taint(running.is_tainted);
        let done = running.results.iter().map(|it| (it.task.clone(), it.text.clone()));
        let machine = Workflow::new(plan, policy, agents, self.now_ms());
        let mut machine = machine.resumed(done.collect::<Vec<_>>(), running.replans);
        let mut site = Site {
            running,
            message,
            candidates,
            stage,
            request,
            held,
            holding: Vec::new(),
            stops: HashMap::new(),
            parts: HashMap::new(),
            wake_ms: None,
        };
        let mut working = Working::new();
        let mut effects = machine.step(Happened::Tick, self.now_ms());
        loop {
            for effect in effects {
                if let Some(outcome) = self.perform(effect, &mut site, &mut working).await {
                    drop(working);
                    return self.finish_plan(outcome, &site).await;
                }
            }
            if working.is_empty() && !site.holding.is_empty() {
                return self.hold_plan(site).await;
            }
            let Some(event) = self.next_of_plan(&mut working, &mut site).await else {
                effects = Vec::new();
                continue;
            };
            self.keep_done(&event, &mut site).await;
            let may_be_another_plan = matches!(event, Happened::Replanned(_));
            effects = machine.step(event, self.now_ms());
            if may_be_another_plan {
                site.follow(&machine);
                self.keep_plan(&site.running, message, request).await;
            }
            self.tell_progress(&machine, &site).await;
        }
    }

    /// The outcome, once there is one.
    async fn perform<'a>(
        &'a self,
        effect: Effect,
        site: &mut Site<'_>,
        working: &mut Working<'a>,
    ) -> Option<Outcome> {
        let told = match effect {
            Effect::Start(assignment) => {
                let label = assignment.task.label();
                let (id, agent) = (assignment.task.id.clone(), assignment.agent.clone());
                let more = task_data(&id, &agent, assignment.attempt);
                let message = format!("{agent} works on: {label}");
                self.tell_task(EventKind::TaskStarted, "task_start", message, more, site).await;
                working.push(self.assign(assignment, site));
                None
            }
            Effect::Stop { id, attempt } => {
                if let Some(stop) = site.stops.remove(&(id.clone(), attempt)) {
                    stop.cancel();
                }
                site.holding.retain(|(held, _)| held.task != id);
                None
            }
            Effect::Retry { id, attempt, because, .. } => {
                if let Some((_, fault)) = site.parts.get_mut(&id) {
                    fault.clone_from(&because);
                }
                Some(("task_retry", format!("{id} is tried again ({attempt}): {because}"), id))
            }
            Effect::GaveUp { id, because } => {
                self.keep_end(site.request, &id, TaskResultStatus::Failed, &because).await;
                let message = format!("{id} could not be done: {because}");
                let more = task_data(&id, "", 0);
                self.tell_task(EventKind::TaskFailed, "task_failed", message, more, site).await;
                None
            }
            Effect::Skipped { id, because } => {
                self.keep_end(site.request, &id, TaskResultStatus::Skipped, &because).await;
                Some(("task_skipped", format!("{id} was left out: {because}"), id))
            }
            Effect::AskReplan(replan) => {
                let told =
                    self.event(EventKind::WorkflowReplanned, "another plan is made".to_owned());
                self.context.events.tell(told);
                working.push(self.replan(replan, site));
                None
            }
            Effect::WakeAt(at_ms) => {
                site.wake_ms = Some(at_ms);
                None
            }
            Effect::Finish(outcome) => return Some(outcome),
        };
        if let Some((stage, message, id)) = told {
            let more = task_data(&id, "", 0);
            site.stage.note(Update::Planning { stage, message, more }).await;
        }
        None
    }

    fn assign<'a>(&'a self, assignment: Assignment, site: &mut Site<'_>) -> BoxFuture<'a, Came> {
        let stop = CancellationToken::new();
        let (id, attempt) = (assignment.task.id.clone(), assignment.attempt);
        site.stops.insert((id.clone(), attempt), stop.clone());
        let held = site.held.remove(&id);
        // Another agent cannot go on from the words of the one before.
        let held = held.filter(|(held, _)| attempt == 1 || held.agent == assignment.agent);
        let new = || (Part::new(&id), String::new());
        let (part, fault) = site.parts.entry(id.clone()).or_insert_with(new);
        if let Some(fault) = unrepeatable(&part.changed_by(), held.is_some(), fault) {
            let (kind, kept) = (FailureKind::Permanent, None);
            let worked = Worked::Failed { fault, kind, kept };
            return std::future::ready(Came::Worked { id, attempt, worked }).boxed();
        }
        let (stage, is_tainted) = (site.stage.of_part(part.clone()), site.running.is_tainted);
        let message = site.message.to_owned();
        let procedures = &self.context.team.procedures;
        let procedure = site.running.procedure.as_deref().and_then(|id| procedures.find(id));
        async move {
            let of = Of { message: &message, procedure, is_tainted };
            let mut task = assignment.task;
            task.agent = assignment.agent;
            let work = async {
                match held {
                    Some((held, next)) => self.resume_task(&task, &of, held, next, &stage).await,
                    None => self.begin_task(&task, &of, &assignment.upstream, &stage).await,
                }
            };
            match stop.run_until_cancelled(work).await {
                Some(worked) => Came::Worked { id, attempt, worked },
                None => Came::Stopped,
            }
        }
        .boxed()
    }

    fn replan<'a>(&'a self, replan: Replan, site: &Site<'_>) -> BoxFuture<'a, Came> {
        let (candidates, message) = (site.candidates.clone(), site.message.to_owned());
        let boundary = site.running.is_tainted.then(new_boundary);
        let stage = site.stage.silent();
        async move {
            let limits = Limits::default();
            let question =
                workflow::replan_question(&replan, &candidates, &limits, boundary.as_ref());
            let system = fence::noticed(question.system, &[&message]);
            let voices = self.context.team.agents.voices();
            let asked = Asked {
                model: &voices.base,
                messages: vec![Message::system(system), Message::user(message)],
                tools: Vec::new(),
                needs_tools: false,
                shape: Some(std::sync::Arc::new(question.schema)),
                purpose: Purpose::Replanning,
                agent: OVERLORD,
            };
            let spoken = self.speak(asked, &stage).await.map_err(|failure| failure.to_string());
            Came::Replanned(spoken.and_then(|spoken| {
                workflow::read_replan(&spoken.text, &replan, &candidates, &limits)
                    .map_err(|fault| fault.to_string())
            }))
        }
        .boxed()
    }

    /// What happens next; nothing where the machine need not know.
    async fn next_of_plan(
        &self,
        working: &mut Working<'_>,
        site: &mut Site<'_>,
    ) -> Option<Happened> {
        let wake_ms = site.wake_ms.take();
        let pause = wake_ms.map(|at_ms| at_ms.saturating_sub(self.now_ms()));
        let pause = async {
            match pause {
                Some(ms) => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        };
        let came = tokio::select! {
            biased;
            // Results first, since one may make the time that is waited for meaningless. Both are cancel-safe.
            Some(came) = working.next() => came,
            () = pause => return Some(Happened::Tick),
        };
        // Who was interrupted still waits for its time.
        site.wake_ms = wake_ms;
        match came {
            Came::Stopped => None,
            Came::Replanned(Ok(plan)) => {
                let tasks = plan.tasks().len();
                let why = format!("the first plan failed in part; the next one has {tasks} tasks");
                self.trace.decide(Decision::new("plan", "replanned", why).with(plan.to_json()));
                Some(Happened::Replanned(plan))
            }
            Came::Replanned(Err(why)) => Some(Happened::ReplanFailed { why }),
            Came::Worked { id, attempt, worked } => {
                site.stops.remove(&(id.clone(), attempt));
                match worked {
                    Worked::Done { text, is_tainted } => {
                        self.note_taint(is_tainted, site).await;
                        Some(Happened::TaskDone { id, attempt, text })
                    }
                    Worked::Failed { fault, kind, kept } => {
                        // Only the call that failed is repeated, and none of those before it.
                        let kept = kept.map(|kept| (kept.task.clone(), (kept, Next::Ask)));
                        site.held.extend(kept);
                        Some(Happened::TaskFailed { id, attempt, fault, kind })
                    }
                    Worked::Held { task, planned } => {
                        site.holding.push((task, planned));
                        Some(Happened::TaskHeld { id, attempt })
                    }
                }
            }
        }
    }

    /// Ends the turn with the question whether calls of the plan's tasks may be made.
    async fn hold_plan(&self, site: Site<'_>) -> Result<Finish, Failure> {
        let planned: Vec<Planned> =
            site.holding.iter().flat_map(|(_, planned)| planned.iter().cloned()).collect();
        let agents: Vec<&str> = site.holding.iter().map(|(held, _)| held.agent.as_str()).collect();
        let agents = agents.join(", ");
        let held = site.holding.into_iter().map(|(held, _)| held).collect();
        let work = Work::Plan { running: site.running, held };
        self.hold(&agents, &planned, work, site.message, site.stage).await
    }

    /// One answer of what there is; what failed is never told as done.
    async fn finish_plan(&self, outcome: Outcome, site: &Site<'_>) -> Result<Finish, Failure> {
        let stage = site.stage;
        for note in &outcome.notes {
            self.trace.warn(note.clone());
        }
        if let Some(missing) = outcome.to_missing_text() {
            self.trace.warn(format!("not everything was done:\n{missing}"));
        }
        let ended = match outcome.end {
            End::Completed => "completed",
            End::Partial => "partial",
            End::Failed => "failed",
            End::Cancelled => "cancelled",
        };
        let tasks = outcome.results.len() + outcome.missing.len();
        let why = format!("{} of {tasks} tasks are done", outcome.results.len());
        self.trace.decide(Decision::new("workflow", ended, why));
        match outcome.end {
            End::Failed | End::Cancelled => {
                let message = outcome.to_text();
                return Err(Failure::Model { message, retryable: false });
            }
            End::Completed if !site.running.synthesises && self.expected().is_none() => {
                let last = outcome.results.last().map(|it| it.text.as_str()).unwrap_or_default();
                self.trace.decide(Decision::new(
                    "synthesis",
                    "none",
                    "the procedure wants its last \
                     step's words as they are",
                ));
                return Ok(self.say(last, stage).await);
            }
            End::Completed | End::Partial => {}
        }
        let message = "putting the results together".to_owned();
        stage
            .note(Update::Planning { stage: "workflow_synthesis", message, more: Map::new() })
            .await;
        let boundary = site.running.is_tainted.then(new_boundary);
        let summary = outcome.to_synthesis(site.message, RESULT_BYTES, boundary.as_ref());
        match tokio::time::timeout(SYNTHESIS_MAX, self.synthesise(&summary, stage)).await {
            Ok(Ok(finish)) => {
                // A model that forgets to say it must not turn a part into the whole.
                let afterword = outcome.to_afterword().filter(|_| self.expected().is_none());
                if let Some(afterword) = afterword {
                    stage.send(Event::Text(afterword)).await;
                }
                Ok(finish)
            }
            Ok(Err(failure)) if self.expected().is_none() => {
                self.trace.warn(format!("the results are told as they are: {failure}"));
                stage.send(Event::BeginAgain).await;
                Ok(self.say(&outcome.to_text(), stage).await)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                self.trace.warn("the results are told as they are: no answer in time".to_owned());
                stage.send(Event::BeginAgain).await;
                Ok(self.say(&outcome.to_text(), stage).await)
            }
        }
    }

    /// Kept before the words that it is about, so that no process goes on with these as if they were ours.
    async fn note_taint(&self, is_tainted: bool, site: &mut Site<'_>) {
        if is_tainted && !site.running.is_tainted {
            site.running.is_tainted = true;
            self.keep_plan(&site.running, site.message, site.request).await;
        }
    }

    /// What is done need not be done again by a process that takes the request over.
    async fn keep_done(&self, event: &Happened, site: &mut Site<'_>) {
        let Happened::TaskDone { id, text, .. } = event else { return };
        site.running.results.push(TaskResult { task: id.clone(), text: text.clone() });
        let more = task_data(id, "", 0);
        let message = format!("{id} is done");
        self.tell_task(EventKind::TaskCompleted, "task_complete", message, more, site).await;
        self.keep_end(site.request, id, TaskResultStatus::Completed, text).await;
    }

    async fn tell_task(
        &self,
        kind: EventKind,
        stage: &'static str,
        message: String,
        more: Map<String, Value>,
        site: &Site<'_>,
    ) {
        let mut event = self.event(kind, message.clone());
        event.data.extend(more.clone());
        self.context.events.tell(event);
        site.stage.note(Update::Planning { stage, message, more }).await;
    }

    async fn tell_progress(&self, machine: &Workflow, site: &Site<'_>) {
        let counts = machine.counts();
        let message = format!("{} of {} tasks are done", counts.done, counts.total);
        let more = json!({
            "total": counts.total, "running": counts.running, "done": counts.done,
            "failed": counts.failed, "skipped": counts.skipped,
        });
        let more = more.as_object().cloned().unwrap_or_default();
        site.stage.note(Update::Progress { stage: "workflow_execution", message, more }).await;
    }
}

// === private helpers ===

/// Of one result, in the call that makes one answer of all.
const RESULT_BYTES: usize = 48 * 1024;
const SYNTHESIS_MAX: std::time::Duration = std::time::Duration::from_mins(2);

/// Why a task is not begun anew: what it called may have changed something, and nobody knows how far it came.
fn unrepeatable(changed_by: &[String], goes_on: bool, fault: &str) -> Option<String> {
    if goes_on || changed_by.is_empty() {
        return None;
    }
    let tools = changed_by.join(", ");
    Some(format!("{fault}; it is not begun anew, since it had called {tools} already"))
}

fn task_data(id: &str, agent: &str, attempt: u32) -> Map<String, Value> {
    let mut data = Map::from_iter([("task".to_owned(), json!(id))]);
    if !agent.is_empty() {
        data.insert("agent_id".to_owned(), json!(agent));
        data.insert("attempt".to_owned(), json!(attempt));
    }
    data
}
