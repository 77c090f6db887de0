//! One agent asks another in the middle of its work.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_llm::{Attachment, Message};
use muxi_orchestration::fence;
use muxi_tools::{Call, Content, Outcome};
use serde_json::Value;

use super::acting::{Handed, Made, Ran, Run};
use super::running::Running;
use super::speaking::Stage;
use crate::agents::Agent;
use crate::conversation::ledger::Purpose;
use crate::conversation::tool_loop::{Next, ToolLoop};
use crate::toolbox::Toolbox;
use crate::tools::Caller;

// === impl Running ===

impl Running {
    /// What the other agent comes to, to whom the words of others go on with the task. Boxed, since it may
    /// ask the next one.
    pub(super) fn ask_colleague<'a>(
        &'a self,
        agent: &'a str,
        call: &'a Call,
        handed: Handed,
        stage: &'a Stage,
    ) -> BoxFuture<'a, Made> {
        async move {
            let Some(Value::String(task)) = call.arguments.get("task") else {
                return refused("`task` must be a text that says what is to be done.");
            };
            let Some(agent) = self.context.team.agents.find(agent) else {
                return refused("That agent is no longer there.");
            };
            let caller = Caller { depth: call.depth + 1, ..self.caller() };
            let toolbox = self.context.team.toolbox(&agent, &caller, task).await;
            let guard = toolbox.guard(self.now_ms());
            let (mut tool_loop, next) = if let Some(mut deeper) = handed.deeper {
                let next = deeper.resumed(guard);
                (deeper, next)
            } else {
                let question = (task.to_owned(), Vec::new());
                let messages = self.isolated(&agent, &toolbox, question, handed.is_tainted);
                (Box::new(ToolLoop::new(messages, guard)), Next::Ask)
            };
            if handed.is_tainted {
                // Who asks may only pass on what it was told by others.
                tool_loop.taint();
            }
            let run = Run {
                agent: &agent,
                model: &agent.text,
                toolbox: &toolbox,
                shape: None,
                purpose: Purpose::Task,
                depth: caller.depth,
            };
            match self.act(&run, &mut tool_loop, next, &stage.silent()).await {
                Ok(Ran::Said { text, .. }) => Made::Over(Outcome {
                    is_error: false,
                    content: vec![Content::Text(text)],
                    structured: None,
                    is_trusted: !tool_loop.is_tainted(),
                }),
                Ok(Ran::Held(_)) => Made::Waits(tool_loop),
                Err(failure) => refused(&format!("It could not answer: {failure}.")),
            }
        }
        .boxed()
    }

    /// For an agent that sees nothing but its task and the files that belong to it.
    pub(super) fn isolated(
        &self,
        agent: &Arc<Agent>,
        toolbox: &Toolbox,
        (task, attachments): (String, Vec<Attachment>),
        is_tainted: bool,
    ) -> Vec<Message> {
        let system = self.task(agent, toolbox, is_tainted || fence::holds(&task));
        let system = (!system.is_empty()).then(|| Message::system(system));
        let question = Message { attachments, ..Message::user(task) };
        system.into_iter().chain([question]).collect()
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            user: self.question.user.clone(),
            session: self.question.session.clone(),
            depth: self.question.depth,
        }
    }
}

// === private helpers ===

fn refused(why: &str) -> Made {
    Made::Over(Outcome::refused(why))
}
