//! Plans of accepted requests are kept part by part, so that the process that takes one over repeats
//! nothing that is done.

use muxi_memory::{BegunTurn, RequestSeq, TaskResult as Kept, TaskResultStatus};
use serde::{Deserialize, Serialize};

use super::Question;
use super::running::{Running, chain};
use crate::conversation::trace::Decision;
use crate::conversation::waiting::{PLAN_PART, RunningPlan, TaskResult};

/// A plan as it is kept; its results are parts of their own.
#[derive(Debug, Serialize, Deserialize)]
struct KeptPlan {
    /// The message that it was made for, which need not be the one that is answered.
    message: String,
    running: RunningPlan,
}

/// What a process that died had of a request's plan.
#[derive(Debug)]
pub(super) struct TakenOver {
    pub(super) message: String,
    pub(super) running: RunningPlan,
}

// === impl Running ===

impl Running {
    /// From here on a process that takes the request over goes on with the plan instead of failing it.
    /// What this message answered is answered: calls that were allowed and are not done are asked for
    /// again, since nobody knows how far they came.
    pub(super) async fn keep_plan(&self, running: &RunningPlan, message: &str, seq: RequestSeq) {
        if self.question.accepted.is_none() {
            return;
        }
        let results = running.results.iter().map(|it| self.part(&it.task, it.text.clone()));
        let results = results.collect();
        let running = RunningPlan { results: Vec::new(), ..running.clone() };
        let kept = KeptPlan { message: message.to_owned(), running };
        let text = serde_json::to_string(&kept).expect("our own types always serialise");
        let work = super::work(&Question { resumes: None, ..self.question.clone() });
        let plan = self.part(PLAN_PART, text);
        if let Err(error) = self.store.keep_plan(seq, work, plan, results).await {
            tracing::warn!(error = %chain(&error), "a plan is lost if this process dies");
        }
    }

    /// How a task ended: for those who ask why, and what is done for whoever takes the request over.
    pub(super) async fn keep_end(
        &self,
        request: RequestSeq,
        task: &str,
        status: TaskResultStatus,
        text: &str,
    ) {
        let part = Kept { status, ..self.part(task, text.to_owned()) };
        if let Err(error) = self.store.keep_task_result(request, part).await {
            tracing::warn!(error = %chain(&error), "a part of a plan could not be written down");
        }
    }

    fn part(&self, name: &str, text: String) -> Kept {
        let (task, at_ms) = (name.to_owned(), self.context.clock.now_ms());
        Kept { task, status: TaskResultStatus::Completed, text, at_ms }
    }

    /// What a process that died had of this request's plan. An answer that no process has taken up yet
    /// goes first.
    pub(super) async fn plan_taken_over(&self, begun: &BegunTurn) -> Option<TakenOver> {
        self.question.accepted?;
        if self.question.resumes.is_some() {
            return None;
        }
        let (plans, done): (Vec<_>, Vec<_>) = match self.store.task_results(begun.request).await {
            Ok(kept) => kept.into_iter().partition(|it| it.task == PLAN_PART),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a plan that was kept cannot be read");
                return None;
            }
        };
        let kept: KeptPlan = serde_json::from_str(&plans.first()?.text).ok()?;
        let done = done.into_iter().filter(|it| it.status == TaskResultStatus::Completed);
        let done = done.map(|it| TaskResult { task: it.task, text: it.text });
        let running = RunningPlan { results: done.collect(), ..kept.running };
        let why = format!("{} tasks were done before its process ended", running.results.len());
        self.trace.decide(Decision::new("plan", "taken over", why));
        self.find_original(begun.request).await;
        Some(TakenOver { message: kept.message, running })
    }

    /// Who is to be told of the end of the request whose question the dead process took up.
    async fn find_original(&self, request: RequestSeq) {
        match self.store.taken_up_by(request).await {
            Ok(Some(pending)) if pending.request != request => {
                if let Some(url) = pending.webhook_url {
                    let told = (pending.request_id, url, pending.request_created_ms);
                    // Nothing was taken up in this process.
                    drop(self.original.set(told));
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = %chain(&error), "what a plan answers cannot be read");
            }
        }
    }
}
