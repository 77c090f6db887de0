//! One agent answers the message: with its tools, in the shape that was asked for, or with a question.

use std::borrow::Cow;
use std::sync::Arc;

use muxi_contract::ids::nanoid;
use muxi_llm::{FinishReason, Message};
use muxi_memory::{BegunTurn, PendingKind, RequestKind};
use muxi_orchestration::fence;
use serde_json::json;

use super::acting::{Ran, Run};
use super::running::Running;
use super::speaking::Stage;
use crate::agents::Agent;
use crate::conversation::files::File;
use crate::conversation::ledger::Purpose;
use crate::conversation::structured::Expected;
use crate::conversation::tool_loop::{Next, Planned, ToolLoop};
use crate::conversation::trace::Decision;
use crate::conversation::turn::{Event, Failure, Finish};
use crate::conversation::waiting::{Suspended, Waits, Work};
use crate::conversation::{files, prompt};
use crate::toolbox::Toolbox;

// === impl Running ===

impl Running {
    pub(super) async fn answer_as(
        &self,
        agent: Arc<Agent>,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        self.is_led_by(&agent, stage).await;
        let toolbox = self.toolbox(&agent, text).await;
        let messages = self.messages(&agent, &toolbox, begun, text);
        let mut tool_loop = ToolLoop::new(messages, toolbox.guard(self.now_ms()));
        if begun.is_tainted || self.brings_words_of_others() {
            tool_loop.taint();
        }
        self.answer_with(&agent, &toolbox, tool_loop, Next::Ask, text, stage).await
    }

    /// Goes on with an agent from where it is, up to the answer.
    pub(super) async fn answer_with(
        &self,
        agent: &Arc<Agent>,
        toolbox: &Toolbox,
        mut tool_loop: ToolLoop,
        mut next: Next,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let run = Run {
            agent,
            model: agent.model_for(&self.files()),
            toolbox,
            shape: self.expected().map(|it| Arc::new(it.schema().clone())),
            purpose: Purpose::Answer,
            depth: self.question.depth,
        };
        let mut corrections_left = CORRECTIONS_MAX;
        loop {
            let (said, reason) = match self.act(&run, &mut tool_loop, next, stage).await? {
                Ran::Held(planned) => {
                    let agent = agent.config.id.clone();
                    let work = Work::Agent { agent: agent.clone(), tool_loop: Box::new(tool_loop) };
                    return self.hold(&agent, &planned, work, text, stage).await;
                }
                Ran::Said { text, reason } => (text, reason),
            };
            let Some(expected) = self.expected() else {
                return Ok(Finish { reason: word(reason), ..Finish::default() });
            };
            match expected.read(&said) {
                Ok(value) => {
                    // What was said on the way is no part of the value.
                    stage.send(Event::BeginAgain).await;
                    stage.send(Event::Text(said)).await;
                    let structured = Some(value);
                    return Ok(Finish { reason: word(reason), structured, waits: None });
                }
                Err(faults) if corrections_left > 0 => {
                    corrections_left -= 1;
                    stage.send(Event::BeginAgain).await;
                    tool_loop.told(&Expected::correction(&faults));
                    next = Next::Ask;
                }
                Err(faults) => {
                    stage.send(Event::BeginAgain).await;
                    let message = format!("the answer does not fit the schema: {faults}");
                    return Err(Failure::Model { message, retryable: true });
                }
            }
        }
    }

    /// Ends the turn with the question whether these calls may be made.
    pub(super) async fn hold(
        &self,
        agent: &str,
        planned: &[Planned],
        work: Work,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let shown = json!({"agent": agent, "calls": planned});
        let reasons = planned.iter().map(|call| {
            let because = call.because.as_deref().unwrap_or("it needs an approval");
            format!("{}: {because}", call.tool)
        });
        let why = reasons.collect::<Vec<_>>().join("; ");
        self.trace.decide(Decision::new("approval", "asked", why).with(shown.clone()));
        let question = approval_question(planned, self.question.kind);
        self.wait(PendingKind::Approval, &question, shown, work, text, stage).await
    }

    /// Ends the turn with a question; what is needed to go on is kept with it.
    pub(super) async fn wait(
        &self,
        kind: PendingKind,
        question: &str,
        mut shown: serde_json::Value,
        work: Work,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let prefix = match kind {
            PendingKind::Approval => "apv",
            PendingKind::Plan => "pln",
            PendingKind::Clarification => "clr",
            PendingKind::Credential => "crd",
        };
        let id = format!("{prefix}_{}", nanoid());
        let suspended = Suspended {
            message: text.to_owned(),
            files: self.kept_files(),
            output_schema: self.expected().map(|it| it.schema().clone()),
            work,
        };
        let kept = serde_json::to_string(&suspended).map_err(|error| Failure::Model {
            message: format!("what the answer waits for cannot be kept: {error}"),
            retryable: false,
        })?;
        if kept.len() > STATE_BYTES_MAX {
            let message =
                format!("what the answer waits for has more than {STATE_BYTES_MAX} bytes");
            return Err(Failure::Model { message, retryable: false });
        }
        stage.send(Event::BeginAgain).await;
        stage.send(Event::Text(question.to_owned())).await;
        let options: Option<Vec<serde_json::Value>> = match kind {
            PendingKind::Approval | PendingKind::Plan => Some(vec![
                json!({"label": "Approve", "value": "yes"}),
                json!({"label": "Refuse", "value": "no"}),
            ]),
            PendingKind::Clarification => {
                shown["options"].as_array().filter(|it| !it.is_empty()).map(|options| {
                    options.iter().map(|it| json!({"label": it, "value": it})).collect()
                })
            }
            PendingKind::Credential => None,
        };
        if let Some(options) = options {
            let widget =
                json!({"id": format!("ui_{}", nanoid()), "type": "options", "options": options});
            shown["widget"] = widget.clone();
            stage.send(Event::Widget(widget)).await;
        }
        let waits = Waits { id, kind, shown, state: kept };
        Ok(Finish { reason: "waiting".to_owned(), structured: None, waits: Some(waits) })
    }

    /// What the model reads first: who it is, what was said, and what is asked.
    fn messages(
        &self,
        agent: &Agent,
        toolbox: &Toolbox,
        begun: &BegunTurn,
        text: &str,
    ) -> Vec<Message> {
        let (limits, model) = (&self.context.limits, agent.model_for(&self.files()));
        let history_bytes =
            if model.is_local { limits.history_bytes_local } else { limits.history_bytes };
        let task = self.task(agent, toolbox, begun.is_tainted);
        let question = files::attached(text, &self.files(), toolbox.boundary());
        prompt::compose(
            &self.context.soul,
            Some(&task),
            &begun.history,
            question,
            history_bytes,
            toolbox.boundary(),
        )
    }

    /// What the agent is and has, below the soul.
    pub(super) fn task(&self, agent: &Agent, toolbox: &Toolbox, is_tainted: bool) -> String {
        let wanted = self.expected().map(|it| it.instruction());
        let behaviour = agent.config.system_behavior.instructions();
        let has_foreign = toolbox.has_foreign() || is_tainted || self.brings_words_of_others();
        let today = has_foreign.then(|| {
            let today = self.context.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
            format!("Today is {today}.\n\n{}", fence::TAINT_NOTICE)
        });
        let parts = [
            agent.config.system_message.as_deref(),
            behaviour.as_deref(),
            toolbox.catalogue(),
            today.as_deref(),
            wanted.as_deref().or(self.context.team.form),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    }

    pub(super) async fn toolbox(&self, agent: &Arc<Agent>, text: &str) -> Toolbox {
        let toolbox = self.context.team.toolbox(agent, &self.caller(), text).await;
        for fault in &toolbox.faults {
            self.trace.warn(fault.clone());
        }
        toolbox
    }

    /// Webhooks, documents and what background jobs left were written elsewhere.
    pub(super) fn brings_words_of_others(&self) -> bool {
        self.question.kind.is_of_others() || !self.files().is_empty()
    }

    /// What the answer must be, if not just words: as the message says, else the one that it goes on with.
    pub(super) fn expected(&self) -> Option<&Arc<Expected>> {
        self.question.expected.as_ref().or_else(|| self.earlier_expected.get())
    }

    /// Those of the message, and of the one that it goes on with.
    pub(super) fn files(&self) -> Cow<'_, [File]> {
        let own = self.question.files.as_slice();
        match self.earlier_files.get() {
            Some(earlier) if !earlier.is_empty() => {
                earlier.iter().chain(own).cloned().collect::<Vec<_>>().into()
            }
            Some(_) | None => own.into(),
        }
    }

    /// As much of them as can be kept beside what a turn waits for.
    fn kept_files(&self) -> Vec<File> {
        let mut room = KEPT_FILES_BYTES_MAX;
        let (kept, left): (Vec<File>, Vec<File>) = self.files().iter().cloned().partition(|file| {
            let fits = file.bytes.len() <= room;
            room -= if fits { file.bytes.len() } else { 0 };
            fits
        });
        for file in left {
            let name = file.name;
            self.trace
                .warn(format!("`{name}` is too large to be kept until it goes on; send it again"));
        }
        kept
    }
}

// === private helpers ===

/// An answer that does not fit its schema is asked for so many times more.
const CORRECTIONS_MAX: u32 = 1;
/// Of what a turn needs to go on.
const STATE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Of these as they are; they are kept as text, which is a third longer.
const KEPT_FILES_BYTES_MAX: usize = 3 * 1024 * 1024;
const ARGUMENTS_CHARS_MAX: usize = 600;

fn approval_question(planned: &[Planned], kind: RequestKind) -> String {
    let calls = planned.iter().map(|call| {
        let arguments = serde_json::Value::Object(call.arguments.clone()).to_string();
        let mut shown: String = arguments.chars().take(ARGUMENTS_CHARS_MAX).collect();
        if shown.len() < arguments.len() {
            shown.push('…');
        }
        let because = call.because.as_deref().unwrap_or("it needs an approval");
        format!("- `{}` with `{shown}` ({because})", call.tool)
    });
    let calls = calls.collect::<Vec<_>>().join("\n");
    if kind == RequestKind::Chat {
        format!(
            "Before I go on, please approve:\n\n{calls}\n\nReply **yes** to allow it or **no** to refuse."
        )
    } else {
        format!(
            "Before this goes on, a person must allow it through the formation's approvals:\n\n{calls}"
        )
    }
}

pub(super) fn word(reason: FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop".to_owned(),
        FinishReason::Length => "length".to_owned(),
        FinishReason::ToolCalls => "tool_calls".to_owned(),
        FinishReason::ContentFilter => "content_filter".to_owned(),
        FinishReason::Other(word) => word,
    }
}
