//! An agent at work: it is asked, its calls are made, and it is asked again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_contract::ids::nanoid;
use muxi_llm::{FinishReason, ModelFile};
use muxi_tools::{Call, Content, Origin, Outcome};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::running::Running;
use super::speaking::{Asked, Spoken, Stage};
use crate::agents::{Agent, Model};
use crate::conversation::ledger::Purpose;
use crate::conversation::tool_loop::{Next, Planned, ToolLoop};
use crate::conversation::trace::{ToolBegun, ToolUse};
use crate::conversation::turn::{Event, Failure, MadeFile, Update};
use crate::events::EventKind;
use crate::toolbox::Toolbox;

/// Who works with what.
pub(super) struct Run<'a> {
    pub(super) agent: &'a Arc<Agent>,
    pub(super) model: &'a Model,
    pub(super) toolbox: &'a Toolbox,
    pub(super) shape: Option<Arc<Value>>,
    pub(super) purpose: Purpose,
    /// How many agents have asked each other on the way here.
    pub(super) depth: u8,
}

/// How the work of an agent came to an end.
pub(super) enum Ran {
    /// Its last words.
    Said { text: String, reason: FinishReason },
    /// Somebody must allow these calls first.
    Held(Vec<Planned>),
}

/// What goes on to another agent with the call that asks it.
pub(super) struct Handed {
    pub(super) is_tainted: bool,
    /// Where the other agent was when it waited for a yes.
    pub(super) deeper: Option<Box<ToolLoop>>,
}

/// What came of a call.
pub(super) enum Made {
    Over(Outcome),
    /// The other agent waits for a yes to calls of its own.
    Waits(Box<ToolLoop>),
}

// === impl Running ===

impl Running {
    /// Goes on from `next` until the agent has said its last word, or somebody must be asked.
    pub(super) async fn act(
        &self,
        run: &Run<'_>,
        tool_loop: &mut ToolLoop,
        mut next: Next,
        stage: &Stage,
    ) -> Result<Ran, Failure> {
        let timeout = run.agent.config.timeout;
        let over = Instant::now() + Duration::from_secs(u64::from(timeout.max_seconds));
        let deadline = over.min(Instant::now() + run.toolbox.caps().total);
        let mut last = Spoken { text: String::new(), calls: vec![], reason: FinishReason::Stop };
        self.trace.agent(&run.agent.config.id);
        self.trace.taint(tool_loop.is_tainted());
        for skill in tool_loop.skills() {
            run.toolbox.skill_is_active(skill);
        }
        loop {
            next = match next {
                Next::Ask => {
                    let usual = Duration::from_secs(u64::from(timeout.default_seconds));
                    let until = over.min(Instant::now() + usual);
                    let speaking = self.speak(Self::asked(run, tool_loop), stage);
                    let spoken = tokio::time::timeout_at(until, speaking).await;
                    last = spoken.map_err(|_| out_of_time(&run.agent.config))??;
                    if !last.calls.is_empty() && !last.text.is_empty() {
                        // What it says next is another paragraph.
                        stage.send(Event::Text("\n\n".to_owned())).await;
                    }
                    let calls = std::mem::take(&mut last.calls);
                    let judge = |name: &str, arguments: &Map<String, Value>, is_tainted| {
                        run.toolbox.judge(name, arguments, is_tainted)
                    };
                    tool_loop.answered(&last.text, calls, &judge, self.now_ms())
                }
                Next::Call(planned) => {
                    self.call_all(run, tool_loop, planned, deadline, stage).await
                }
                Next::Hold(planned) => return Ok(Ran::Held(planned)),
                Next::Done | Next::Nothing => {
                    if let Some(stopped) = tool_loop.stopped() {
                        self.trace.warn(format!("no more tools were used: {stopped}"));
                        // A model that wants nothing but tools has nothing to say without them.
                        if last.text.trim().is_empty() && run.shape.is_none() {
                            last.text = format!("I could not finish this: {stopped}.");
                            stage.send(Event::Text(last.text.clone())).await;
                        }
                    }
                    return Ok(Ran::Said { text: last.text, reason: last.reason });
                }
            }
        }
    }

    fn asked<'a>(run: &Run<'a>, tool_loop: &ToolLoop) -> Asked<'a> {
        Asked {
            model: run.model,
            messages: tool_loop.messages(),
            tools: run.toolbox.specs(),
            needs_tools: run.toolbox.has_foreign(),
            shape: run.shape.clone(),
            purpose: run.purpose,
            agent: &run.agent.config.id,
        }
    }

    async fn call_all(
        &self,
        run: &Run<'_>,
        tool_loop: &mut ToolLoop,
        planned: Vec<Planned>,
        deadline: Instant,
        stage: &Stage,
    ) -> Next {
        // An answer with calls takes longer than one of words alone.
        let time = self.context.limits.turn + run.toolbox.caps().total;
        stage.send(Event::MoreTime(time)).await;
        // As it was when the model asked for them, whatever is read meanwhile.
        let is_tainted = tool_loop.is_tainted();
        let mut waiting = planned.into_iter();
        let mut calling = FuturesUnordered::new();
        let mut next = Next::Nothing;
        loop {
            while calling.len() < CALLS_AT_ONCE
                && let Some(planned) = waiting.next()
            {
                let deeper = tool_loop.take_deeper(planned.number);
                let handed = Handed { is_tainted, deeper };
                calling.push(
                    async {
                        let made = self.call(run, &planned, handed, deadline, stage).await;
                        (planned, made)
                    }
                    .boxed(),
                );
            }
            let Some((planned, made)) = calling.next().await else { return next };
            let outcome = match made {
                Made::Over(outcome) => outcome,
                Made::Waits(deeper) => {
                    next = tool_loop.waits(planned.number, deeper);
                    continue;
                }
            };
            if planned.tool == "activate_skill"
                && !outcome.is_error
                && let Some(Value::String(skill)) = planned.arguments.get("name")
            {
                run.toolbox.skill_is_active(skill);
                tool_loop.skill_is_active(skill);
            }
            let taints = run.toolbox.taints(&planned.tool, &outcome);
            self.trace.taint(taints);
            let read = self.read(run, &planned, &outcome, stage).await;
            next = tool_loop.called(planned.number, &outcome, taints, read);
        }
    }

    async fn call(
        &self,
        run: &Run<'_>,
        planned: &Planned,
        handed: Handed,
        deadline: Instant,
        stage: &Stage,
    ) -> Made {
        let agent = &run.agent.config.id;
        self.tell_of_call(run, planned, "tool_start", None, stage).await;
        let began = Instant::now();
        // Dropped with this future, and with it the work behind the call ends.
        let cancelled = self.entry.token().child_token();
        let _ends_with_this = cancelled.clone().drop_guard();
        let call = Call {
            arguments: planned.arguments.clone(),
            user: self.question.user.clone(),
            session: self.question.session.clone(),
            request: self.question.request_id.clone(),
            agent: agent.clone(),
            depth: run.depth,
            time_left: deadline.saturating_duration_since(began),
            cancelled,
        };
        let mut written = None;
        let outcome = match run.toolbox.find(&planned.tool) {
            Some(tool) if call.time_left > Duration::ZERO => match tool.origin() {
                Origin::Agent(colleague) => {
                    match self.ask_colleague(colleague, &call, handed, stage).await {
                        Made::Over(outcome) => outcome,
                        waits @ Made::Waits(_) => return waits,
                    }
                }
                Origin::Builtin | Origin::Mcp { .. } | Origin::Remote(_) => {
                    if tool.danger().may_change() {
                        stage.may_change(&planned.tool);
                        let (tool, task) = (planned.tool.as_str(), stage.task());
                        let call = written.insert(nanoid());
                        self.trace.tool_begun(ToolBegun { call, tool, agent, task });
                        // Whoever asks what was done after this process died finds it.
                        self.written_down().await;
                    }
                    tool.call(call).await
                }
            },
            Some(_) => Outcome::refused("The time for all tools of this answer is over."),
            None => Outcome::refused("There is no such tool."),
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (tool, task) = (planned.tool.clone(), stage.task().map(str::to_owned));
        let is_error = outcome.is_error;
        let agent = agent.clone();
        self.trace.tool(ToolUse { tool, agent, task, call: written, is_error, took_ms });
        let stage_word = if is_error { "tool_failed" } else { "tool_end" };
        self.tell_of_call(run, planned, stage_word, Some(took_ms), stage).await;
        Made::Over(outcome)
    }

    async fn tell_of_call(
        &self,
        run: &Run<'_>,
        planned: &Planned,
        word: &'static str,
        took_ms: Option<u64>,
        stage: &Stage,
    ) {
        let agent = &run.agent.config.id;
        let (kind, message) = match word {
            "tool_start" => (EventKind::ToolCalled, format!("{agent} calls {}", planned.tool)),
            "tool_end" => (EventKind::ToolCompleted, format!("{} has answered", planned.tool)),
            _ => (EventKind::ToolFailed, format!("{} has failed", planned.tool)),
        };
        let mut event = self.event(kind, message.clone()).with("tool", planned.tool.as_str());
        let mut more = Map::from_iter([
            ("tool".to_owned(), json!(planned.tool)),
            ("agent_id".to_owned(), json!(agent)),
        ]);
        if let Some(took_ms) = took_ms {
            event = event.with("duration_ms", took_ms);
            more.insert("duration_ms".to_owned(), took_ms.into());
        }
        self.context.events.tell(event);
        stage.note(Update::ToolCall { stage: word, message, more }).await;
    }

    /// What the model reads of an outcome; its files and widgets go to the caller.
    async fn read(
        &self,
        run: &Run<'_>,
        planned: &Planned,
        outcome: &Outcome,
        stage: &Stage,
    ) -> String {
        let (mut words, mut files) = (Vec::new(), Vec::new());
        for content in &outcome.content {
            match content {
                Content::Text(text) => words.push(text.as_str()),
                Content::File { name, media_type, bytes } => {
                    files.push(format!(
                        "[{name}, {media_type}, {} bytes: the user gets it with the answer]",
                        bytes.len()
                    ));
                    let file = ModelFile { content_type: media_type.clone(), bytes: bytes.clone() };
                    stage.send(Event::File(MadeFile { name: Some(name.clone()), file })).await;
                }
                Content::Widget(widget) => stage.send(Event::Widget(named(widget))).await,
            }
        }
        let structured = outcome.structured.as_ref().filter(|_| words.is_empty());
        let text = structured.map_or_else(|| words.join("\n"), Value::to_string);
        // The names of its files are its words, too.
        let parts = [text].into_iter().chain(files).filter(|it| !it.is_empty());
        let text = parts.collect::<Vec<_>>().join("\n");
        let text = match text {
            text if text.is_empty() => "(nothing)".to_owned(),
            text if outcome.is_trusted => text,
            text => run.toolbox.fence(&planned.tool, &text),
        };
        // Outside of the fence, where the tool cannot write it; our own words say what failed.
        let is_told = outcome.is_error && !outcome.is_trusted;
        if is_told { format!("{FAILED}\n{text}") } else { text }
    }
}

/// Whoever makes a widget need not name it, but callers tell it by its name.
fn named(widget: &Value) -> Value {
    let mut widget = widget.clone();
    if let Some(fields) = widget.as_object_mut() {
        fields.entry("id").or_insert_with(|| format!("ui_{}", nanoid()).into());
    }
    widget
}

fn out_of_time(agent: &muxi_formation::Agent) -> Failure {
    let muxi_formation::Agent { id, timeout, .. } = agent;
    let message = format!(
        "the agent `{id}` took longer than its `timeout` allows: {} s for one answer of its model, {} s for \
         all of its work",
        timeout.default_seconds, timeout.max_seconds
    );
    Failure::Model { message, retryable: true }
}

const FAILED: &str = "The tool says that this call failed:";
/// Of one answer, at the same time.
const CALLS_AT_ONCE: usize = 8;
