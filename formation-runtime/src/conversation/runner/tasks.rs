//! One task of a plan, and the answer that all of them come to.

use std::sync::Arc;

use muxi_formation::{Procedure, Step};
use muxi_llm::Message;
use muxi_orchestration::fence::{self, Boundary};
use muxi_orchestration::graph::Task;
use muxi_orchestration::procedure::step_position;
use muxi_orchestration::workflow::{FailureKind, Upstream};

use super::acting::{Ran, Run};
use super::running::Running;
use super::speaking::{Asked, Stage};
use crate::agents::Agent;
use crate::conversation::files;
use crate::conversation::ledger::{OVERLORD, Purpose};
use crate::conversation::tool_loop::{Next, Planned, ToolLoop};
use crate::conversation::turn::{Failure, Finish};
use crate::conversation::waiting::HeldTask;
use crate::toolbox::{Toolbox, new_boundary};

/// How the work on a task came to an end.
pub(super) enum Worked {
    Done {
        text: String,
        is_tainted: bool,
    },
    /// With what is kept of the work for another try.
    Failed {
        fault: String,
        kind: FailureKind,
        kept: Option<HeldTask>,
    },
    Held {
        task: HeldTask,
        planned: Vec<Planned>,
    },
}

/// What a task is a part of.
pub(super) struct Of<'a> {
    pub(super) message: &'a str,
    pub(super) procedure: Option<&'a Procedure>,
    /// Somebody elsewhere has had a word in it.
    pub(super) is_tainted: bool,
}

// === impl Of ===

impl<'a> Of<'a> {
    fn step(&self, task: &str) -> Option<&'a Step> {
        self.procedure?.steps.get(step_position(task)?)
    }
}

// === impl Running ===

impl Running {
    /// Works on a task from its beginning.
    pub(super) async fn begin_task(
        &self,
        task: &Task,
        of: &Of<'_>,
        upstream: &[Upstream],
        stage: &Stage,
    ) -> Worked {
        let Some(agent) = self.context.team.agents.find(&task.agent) else {
            return nobody(&task.agent);
        };
        let boundary = of.is_tainted.then(new_boundary);
        let instruction = instructed(task, of, upstream, boundary.as_ref());
        let toolbox = self.context.team.toolbox(&agent, &self.caller(), &instruction).await;
        for fault in &toolbox.faults {
            self.trace.warn(fault.clone());
        }
        let question = files::attached(&instruction, &self.files(), toolbox.boundary());
        let messages = self.isolated(&agent, &toolbox, question, of.is_tainted);
        let mut tool_loop = ToolLoop::new(messages, toolbox.guard(self.now_ms()));
        if of.is_tainted {
            tool_loop.taint();
        }
        self.go_on_with_task(task, of, (&agent, &toolbox), tool_loop, Next::Ask, stage).await
    }

    /// Goes on with a task whose calls somebody has decided about.
    pub(super) async fn resume_task(
        &self,
        task: &Task,
        of: &Of<'_>,
        held: HeldTask,
        next: Next,
        stage: &Stage,
    ) -> Worked {
        let Some(agent) = self.context.team.agents.find(&held.agent) else {
            return nobody(&held.agent);
        };
        let toolbox = self.context.team.toolbox(&agent, &self.caller(), &task.instruction).await;
        let mut tool_loop = *held.tool_loop;
        tool_loop.guard(toolbox.guard(self.now_ms()));
        tool_loop.attach(files::attachments(&self.files()));
        self.go_on_with_task(task, of, (&agent, &toolbox), tool_loop, next, stage).await
    }

    async fn go_on_with_task(
        &self,
        task: &Task,
        of: &Of<'_>,
        (agent, toolbox): (&Arc<Agent>, &Toolbox),
        mut tool_loop: ToolLoop,
        next: Next,
        stage: &Stage,
    ) -> Worked {
        let voices = self.context.team.agents.voices();
        let own = of.step(&task.id).and_then(|step| step.model.as_ref());
        let named = own.or_else(|| of.procedure?.model.as_ref());
        let named = named.and_then(|name| voices.named.get(name.as_str()));
        let run = Run {
            agent,
            model: named.unwrap_or_else(|| agent.model_for(&self.files())),
            toolbox,
            shape: None,
            purpose: Purpose::Task,
            depth: self.question.depth,
        };
        let ran = self.act(&run, &mut tool_loop, next, &stage.silent()).await;
        let is_tainted = tool_loop.is_tainted();
        let (id, agent) = (task.id.clone(), agent.config.id.clone());
        let task = HeldTask { task: id, agent, tool_loop: Box::new(tool_loop) };
        match ran {
            Ok(Ran::Said { text, .. }) if text.trim().is_empty() => {
                let (fault, kind) =
                    ("the agent said nothing".to_owned(), FailureKind::TemporaryFailure);
                Worked::Failed { fault, kind, kept: Some(task) }
            }
            Ok(Ran::Said { text, .. }) => Worked::Done { text, is_tainted },
            Ok(Ran::Held(planned)) => Worked::Held { task, planned },
            Err(failure) => {
                let kind = match &failure {
                    Failure::Model { retryable: true, .. } => FailureKind::TemporaryFailure,
                    Failure::Model { .. }
                    | Failure::Nobody
                    | Failure::NothingHeard
                    | Failure::Memory { .. }
                    | Failure::Budget { .. }
                    | Failure::Stopping => FailureKind::Permanent,
                };
                Worked::Failed { fault: failure.to_string(), kind, kept: Some(task) }
            }
        }
    }

    /// One answer of what the tasks came to, in the formation's voice.
    pub(super) async fn synthesise(&self, summary: &str, stage: &Stage) -> Result<Finish, Failure> {
        let voices = self.context.team.agents.voices();
        let wanted = self.expected().map(|it| it.instruction());
        let soul: &str = &self.context.soul;
        let parts = [Some(soul.trim()), wanted.as_deref().or(self.context.team.form)];
        let system = parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        let system = fence::noticed(system, &[summary]);
        let asked = Asked {
            model: &voices.synthesis,
            messages: vec![Message::system(system), Message::user(summary)],
            tools: Vec::new(),
            needs_tools: false,
            shape: self.expected().map(|it| Arc::new(it.schema().clone())),
            purpose: Purpose::Synthesis,
            agent: OVERLORD,
        };
        let spoken = self.speak(asked, stage).await?;
        let structured = match self.expected() {
            Some(expected) => {
                Some(expected.read(&spoken.text).map_err(|faults| Failure::Model {
                    message: format!("the answer does not fit the schema: {faults}"),
                    retryable: true,
                })?)
            }
            None if spoken.text.trim().is_empty() => {
                let message = "the model said nothing of them".to_owned();
                return Err(Failure::Model { message, retryable: true });
            }
            None => None,
        };
        let reason = super::answering::word(spoken.reason);
        Ok(Finish { reason, structured, waits: None })
    }
}

// === private helpers ===

fn nobody(agent: &str) -> Worked {
    let fault = format!("there is no agent `{agent}`");
    Worked::Failed { fault, kind: FailureKind::Permanent, kept: None }
}

/// With a boundary, since others had a word in it, what was found out before is fenced.
fn instructed(
    task: &Task,
    of: &Of<'_>,
    upstream: &[Upstream],
    boundary: Option<&Boundary>,
) -> String {
    let mut text = task.instruction.clone();
    if let Some(step) = of.step(&task.id) {
        for (what, names) in [("tool", &step.tools), ("skill", &step.skills)] {
            for (whose, part) in names {
                let name =
                    part.as_ref().map_or_else(|| whose.clone(), |it| format!("{whose}/{it}"));
                for part in ["\n\nUse the ", what, " ", &name, "."] {
                    text.push_str(part);
                }
            }
        }
    }
    if of.procedure.is_some() {
        // A procedure was written before anybody asked.
        text.push_str("\n\nThe user's request, for which this is a step:\n");
        text.push_str(of.message);
    }
    if !upstream.is_empty() {
        text.push_str("\n\nWhat was found out before:");
        for Upstream { id, label, text: found, .. } in upstream {
            let fenced = |boundary| fence::fence(id, found, boundary, usize::MAX);
            let found = boundary.map_or_else(|| found.clone(), fenced);
            for part in ["\n\n## ", label, "\n\n", &found] {
                text.push_str(part);
            }
        }
    }
    text
}
