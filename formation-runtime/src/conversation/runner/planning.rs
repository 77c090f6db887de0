//! Where plans come from, and who says yes to them: the routing call, a procedure, or an edit.

use muxi_formation::manifest::PlanApproval;
use muxi_formation::{Procedure, ProcedureMode};
use muxi_llm::Message;
use muxi_memory::{BegunTurn, PendingKind, RequestKind};
use muxi_orchestration::fence;
use muxi_orchestration::graph::{Plan, Task};
use muxi_orchestration::procedure;
use muxi_orchestration::routing::Limits;
use muxi_orchestration::workflow;
use serde_json::{Map, json};

use super::running::Running;
use super::speaking::{Asked, Stage};
use super::working::Held;
use crate::conversation::ledger::{OVERLORD, Purpose};
use crate::conversation::trace::Decision;
use crate::conversation::turn::{Failure, Finish, Update};
use crate::conversation::waiting::{Answered, RunningPlan, Work};
use crate::procedures;

// === impl Running ===

impl Running {
    /// A plan of the routing call: proposed where the formation wants a yes, else begun.
    pub(super) async fn begin_plan(
        &self,
        plan: Plan,
        complexity: f64,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let running = RunningPlan {
            tasks: plan.tasks().to_vec(),
            procedure: None,
            results: Vec::new(),
            complexity,
            synthesises: true,
            is_tainted: begun.is_tainted,
            replans: 0,
        };
        let threshold = self.context.team.workflow.plan_approval_threshold;
        let asks = match threshold {
            PlanApproval::Never => false,
            PlanApproval::Always => true,
            PlanApproval::At(threshold) => complexity >= threshold,
        };
        // Nobody sits before a trigger or a job.
        if asks && self.question.kind == RequestKind::Chat {
            let why = format!("a plan of {complexity:.1} of 10 waits for a yes");
            self.trace.decide(Decision::new("plan", "proposed", why));
            return self.propose(running, message, stage).await;
        }
        self.start_plan(running, begun, message, stage).await
    }

    pub(super) async fn start_plan(
        &self,
        running: RunningPlan,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let plan: Vec<_> = running.tasks.iter().map(|it| json!(it)).collect();
        let more = Map::from_iter([("tasks".to_owned(), plan.into())]);
        let message_shown = format!("{} tasks", running.tasks.len());
        stage
            .note(Update::Planning { stage: "workflow_start", message: message_shown, more })
            .await;
        self.run_plan(running, Held::new(), begun.request, message, stage).await
    }

    async fn propose(
        &self,
        running: RunningPlan,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let plan = self.checked_plan(&running.tasks)?;
        let question = format!(
            "This is what I would do:\n\n{}\n\nReply **yes** to go ahead, **no** to leave it, or tell me \
             what to change.",
            plan.to_text()
        );
        let shown = json!({"plan": plan.to_json(), "complexity": running.complexity});
        let work = Work::Proposed { running };
        self.wait(PendingKind::Plan, &question, shown, work, message, stage).await
    }

    /// What the user said to a plan.
    pub(super) async fn answer_proposal(
        &self,
        mut running: RunningPlan,
        verdict: Answered,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        match verdict {
            Answered::Yes => self.start_plan(running, begun, message, stage).await,
            Answered::Edited(tasks) => {
                running.tasks = self.changed_plan(&running, tasks)?;
                self.start_plan(running, begun, message, stage).await
            }
            Answered::No(_) => {
                Ok(self.say("All right, I leave it at that. Nothing was done.", stage).await)
            }
            Answered::Words(words) => {
                let tasks = self.revised(&running.tasks, &words, message, stage).await?;
                match self.changed_plan(&running, tasks) {
                    Ok(tasks) => running.tasks = tasks,
                    Err(fault) => self.trace.warn(format!("the plan is as it was: {fault}")),
                }
                self.propose(running, message, stage).await
            }
        }
    }

    /// The plan as the user wants it changed; what cannot be read leaves it as it was.
    async fn revised(
        &self,
        tasks: &[Task],
        words: &str,
        message: &str,
        stage: &Stage,
    ) -> Result<Vec<Task>, Failure> {
        let plan = self.checked_plan(tasks)?;
        let candidates = self.context.team.candidates();
        let limits = Limits::default();
        let question = workflow::revision_question(&plan, words, &candidates, &limits);
        let voices = self.context.team.agents.voices();
        let system = fence::noticed(question.system, &[message]);
        let asked = Asked {
            model: &voices.base,
            messages: vec![Message::system(system), Message::user(message)],
            tools: Vec::new(),
            needs_tools: false,
            shape: Some(std::sync::Arc::new(question.schema)),
            purpose: Purpose::Replanning,
            agent: OVERLORD,
        };
        let spoken = self.speak(asked, &stage.silent()).await?;
        match workflow::read_revision(&spoken.text, &candidates, &limits) {
            Ok(plan) => {
                self.trace.decide(Decision::new("plan", "revised", words));
                Ok(plan.tasks().to_vec())
            }
            Err(fault) => {
                self.trace.warn(format!(
                    "the plan is as it was, since the changed one was none: {fault}"
                ));
                Ok(tasks.to_vec())
            }
        }
    }

    /// A procedure keeps its order and its critical steps, whoever changes its plan.
    fn changed_plan(
        &self,
        running: &RunningPlan,
        mut tasks: Vec<Task>,
    ) -> Result<Vec<Task>, Failure> {
        if running.procedure.is_some() {
            tasks = procedure::changed(&running.tasks, tasks);
        }
        Ok(self.checked_plan(&tasks)?.tasks().to_vec())
    }

    fn checked_plan(&self, tasks: &[Task]) -> Result<Plan, Failure> {
        let candidates = self.context.team.candidates();
        let agents: Vec<&str> = candidates.iter().map(|it| it.id.as_str()).collect();
        Plan::new(tasks.to_vec(), &agents, Limits::default().plan).map_err(|faults| {
            let message = format!("the plan does not hold: {faults}");
            Failure::Model { message, retryable: false }
        })
    }

    /// A procedure: its steps one by one, or as a guide for one agent.
    pub(super) async fn follow(
        &self,
        id: &str,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let procedure = self.context.team.procedures.find(id).ok_or(Failure::Nobody)?;
        let more = Map::from_iter([("sop".to_owned(), json!(procedure.id))]);
        let told = format!("following the procedure {}", procedure.name);
        stage.note(Update::Planning { stage: "sop_matched", message: told, more }).await;
        match procedure.mode {
            ProcedureMode::Template => self.follow_steps(procedure, begun, message, stage).await,
            ProcedureMode::Guide => self.follow_guide(procedure, begun, message, stage).await,
        }
    }

    /// Exactly what is written, in its order.
    async fn follow_steps(
        &self,
        procedure: &Procedure,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let steps: Vec<_> = procedure.steps.iter().map(procedures::step).collect();
        let candidates = self.context.team.candidates();
        let template = procedure::template(&steps, &candidates, Limits::default().plan);
        let plan = template.map(|template| template.plan).map_err(|faults| {
            let message = format!("the procedure `{}` has no plan: {faults}", procedure.id);
            Failure::Model { message, retryable: false }
        })?;
        let running = RunningPlan {
            tasks: plan.tasks().to_vec(),
            procedure: Some(procedure.id.clone()),
            results: Vec::new(),
            complexity: 0.0,
            synthesises: procedure.synthesis,
            is_tainted: begun.is_tainted,
            replans: 0,
        };
        if !procedure.bypass_approval && self.question.kind == RequestKind::Chat {
            let why = "the procedure wants a yes to its plan";
            self.trace.decide(Decision::new("plan", "proposed", why));
            return self.propose(running, message, stage).await;
        }
        self.start_plan(running, begun, message, stage).await
    }

    /// The whole text, for one agent that makes of it what the message needs.
    async fn follow_guide(
        &self,
        procedure: &Procedure,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let named = procedure.steps.iter().find_map(|step| step.agent.as_deref());
        let agents = &self.context.team.agents;
        let agent = named.and_then(|id| agents.find(id)).or_else(|| agents.default_agent());
        let agent = agent.ok_or(Failure::Nobody)?;
        let steps: Vec<_> = procedure.steps.iter().map(procedures::step).collect();
        let guide = procedure::guide(&procedure.name, &steps);
        let text = format!("{guide}\n\nThe request: {message}");
        self.answer_as(agent, begun, &text, stage).await
    }
}
