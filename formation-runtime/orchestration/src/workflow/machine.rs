//! The steps of a workflow.

use super::outcome::{End, Missing, Outcome};
use super::{
    Assignment, Effect, Event, FailureKind, Phase, Policy, Recovery, Replan, TaskState, Upstream,
    Workflow,
};
use crate::graph::{Plan, Task, likeness};
use crate::text::{cut, line};

/// More of a fault is not told.
const FAULT_BYTES: usize = 500;

// === impl Workflow ===

impl Workflow {
    /// `agents` may take over from each other; `started_at_ms` is when the time of all of it began.
    pub fn new(plan: Plan, policy: Policy, agents: Vec<String>, started_at_ms: u64) -> Self {
        let time_ms = policy.workflow_timeout_ms.min(policy.ceiling_ms);
        let mut workflow = Self {
            plan,
            agents,
            tasks: std::collections::BTreeMap::new(),
            phase: Phase::Working,
            deadline_ms: started_at_ms.saturating_add(time_ms),
            replans: 0,
            failed_plans: Vec::new(),
            replaced: Vec::new(),
            notes: Vec::new(),
            policy,
        };
        workflow.forget_progress();
        workflow
    }

    /// After a restart: these tasks are done already, and so many replans were made.
    #[must_use]
    pub fn resumed(
        mut self,
        done: impl IntoIterator<Item = (String, String)>,
        replans: u32,
    ) -> Self {
        for (id, text) in done {
            if let Some(progress) = self.tasks.get_mut(&id) {
                progress.state = TaskState::Done { text };
            }
        }
        self.replans = replans;
        self
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn replans(&self) -> u32 {
        self.replans
    }

    /// What is done of the plan, as [`Self::resumed`] takes it.
    pub fn done(&self) -> impl Iterator<Item = (String, String)> {
        self.results().into_iter().map(|it| (it.task.id, it.text))
    }

    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.is_finished() {
            return effects;
        }
        match event {
            Event::Tick => {}
            Event::TaskDone { id, attempt, text } => {
                if self.is_running(&id, attempt) {
                    self.set(&id, TaskState::Done { text });
                }
            }
            Event::TaskFailed { id, attempt, fault, kind } => {
                if self.is_running(&id, attempt) {
                    self.fail(&id, &line(&fault, FAULT_BYTES), kind, now_ms, &mut effects);
                }
            }
            Event::TaskHeld { id, attempt } => {
                if self.is_running(&id, attempt) {
                    self.set(&id, TaskState::Held);
                }
            }
            Event::Replanned(plan) => self.replan(plan),
            Event::ReplanFailed { why } => self.refuse_replan(&line(&why, FAULT_BYTES)),
            Event::Cancelled => {
                self.stop_all("it was cancelled", &mut effects);
                effects.push(self.finish(Some(End::Cancelled)));
                return effects;
            }
        }
        self.advance(now_ms, &mut effects);
        effects
    }

    fn advance(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if now_ms >= self.deadline_ms && !self.is_all_done() {
            self.time_out(effects);
            effects.push(self.finish(None));
            return;
        }
        for id in self.overdue(now_ms) {
            let attempt = self.attempt(&id);
            // One before it may have stopped everything.
            if !self.is_running(&id, attempt) {
                continue;
            }
            effects.push(Effect::Stop { id: id.clone(), attempt });
            let seconds = self.policy.task_timeout_ms / 1_000;
            let fault = format!("it took more than {seconds} seconds");
            self.fail(&id, &fault, FailureKind::Timeout, now_ms, effects);
        }
        if let Phase::Replanning { until_ms } = self.phase
            && now_ms >= until_ms
        {
            self.refuse_replan("no other plan came in time");
        }
        if self.phase == Phase::Working {
            self.skip_what_cannot_start(effects);
            self.start_what_can(now_ms, effects);
            if self.is_settled() {
                let Some(replan) = self.ask_replan(now_ms) else {
                    effects.push(self.finish(None));
                    return;
                };
                effects.push(Effect::AskReplan(replan));
            }
        }
        effects.push(Effect::WakeAt(self.next_wake_ms(now_ms)));
    }

    /// Tries again, or gives up and ends what cannot go on.
    fn fail(
        &mut self,
        id: &str,
        fault: &str,
        kind: FailureKind,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((agent, until_ms)) = self.next_attempt(id, kind, now_ms) {
            effects.push(Effect::Retry {
                id: id.to_owned(),
                attempt: self.attempt(id) + 1,
                at_ms: until_ms,
                because: fault.to_owned(),
            });
            self.set(id, TaskState::Delayed { agent, until_ms });
            return;
        }
        self.set(id, TaskState::Failed { because: fault.to_owned() });
        effects.push(Effect::GaveUp { id: id.to_owned(), because: fault.to_owned() });
        if self.halts(id) {
            let name = self.plan.task(id).map(Task::label).unwrap_or_default();
            self.stop_all(&format!("\"{name}\" failed, and nothing goes on without it"), effects);
        }
    }

    /// Whether nothing may go on after this task failed.
    fn halts(&self, id: &str) -> bool {
        self.policy.recovery == Recovery::FailFast
            || self.plan.task(id).is_some_and(|task| task.critical)
    }

    /// Who tries again and when.
    fn next_attempt(&self, id: &str, kind: FailureKind, now_ms: u64) -> Option<(String, u64)> {
        let tried = &self.tasks.get(id)?.tried;
        let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        if attempts >= self.policy.retry.max_attempts {
            return None;
        }
        let passes = self.policy.retry.retry_on.contains(&kind);
        let again = || {
            let delay_ms = self.policy.retry.delay_ms(attempts.saturating_sub(1));
            let until_ms = now_ms.saturating_add(delay_ms);
            // What could only start when all is over is given up now.
            (passes && until_ms < self.deadline_ms)
                .then(|| Some((tried.last()?.clone(), until_ms)))?
        };
        match self.policy.recovery {
            Recovery::FailFast | Recovery::SkipAndContinue => None,
            Recovery::RetryWithBackoff => again(),
            Recovery::RetryWithAlternate => {
                let other = self.agents.iter().find(|agent| !tried.contains(agent));
                other.map(|agent| (agent.clone(), now_ms)).or_else(again)
            }
        }
    }

    fn skip_what_cannot_start(&mut self, effects: &mut Vec<Effect>) {
        // In order, so that one pass reaches whatever depends on what was skipped just now.
        let order: Vec<Task> = self.plan.order().into_iter().cloned().collect();
        for task in order {
            let is_waiting = matches!(self.state(&task.id), Some(TaskState::Waiting));
            let missing = task.depends_on.iter().find(|on| {
                matches!(
                    self.state(on),
                    Some(TaskState::Failed { .. } | TaskState::Skipped { .. }) | None
                )
            });
            if let (true, Some(missing)) = (is_waiting, missing) {
                let name = self.plan.task(missing).map(Task::label).unwrap_or_default();
                self.skip(&task.id, &format!("it needs \"{name}\", which is missing"), effects);
            }
        }
    }

    fn start_what_can(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.is_held() {
            return;
        }
        let most = self.policy.max_parallel_tasks.max(1);
        let mut free = most.saturating_sub(self.counts().running);
        let order: Vec<Task> = self.plan.order().into_iter().cloned().collect();
        for task in order {
            if free == 0 {
                return;
            }
            let agent = match self.state(&task.id) {
                Some(TaskState::Waiting) if self.is_ready(&task) => task.agent.clone(),
                Some(TaskState::Delayed { agent, until_ms }) if *until_ms <= now_ms => {
                    agent.clone()
                }
                _ => continue,
            };
            let task_deadline_ms = now_ms.saturating_add(self.policy.task_timeout_ms);
            let deadline_ms = task_deadline_ms.min(self.deadline_ms);
            if let Some(progress) = self.tasks.get_mut(&task.id) {
                progress.tried.push(agent.clone());
                progress.state = TaskState::Running { deadline_ms };
            }
            let attempt = self.attempt(&task.id);
            let upstream = self.upstream(&task);
            effects.push(Effect::Start(Assignment { task, agent, attempt, deadline_ms, upstream }));
            free -= 1;
        }
    }

    fn is_ready(&self, task: &Task) -> bool {
        task.depends_on.iter().all(|on| matches!(self.state(on), Some(TaskState::Done { .. })))
    }

    fn upstream(&self, task: &Task) -> Vec<Upstream> {
        let on = task.depends_on.iter().filter_map(|id| {
            let Some(TaskState::Done { text }) = self.state(id) else { return None };
            let (shown, is_cut) = cut(text, self.policy.upstream_bytes);
            let label = self.plan.task(id).map(Task::label).unwrap_or_default();
            Some(Upstream { id: id.clone(), label, text: shown.to_owned(), is_cut })
        });
        on.collect()
    }

    /// Everything that runs is stopped, and what did not start never does.
    fn stop_all(&mut self, because: &str, effects: &mut Vec<Effect>) {
        let ids: Vec<String> = self.tasks.keys().cloned().collect();
        for id in ids {
            match self.state(&id) {
                Some(TaskState::Running { .. } | TaskState::Held) => {
                    effects.push(Effect::Stop { id: id.clone(), attempt: self.attempt(&id) });
                    self.skip(&id, because, effects);
                }
                Some(TaskState::Waiting | TaskState::Delayed { .. }) => {
                    self.skip(&id, because, effects);
                }
                _ => {}
            }
        }
    }

    fn time_out(&mut self, effects: &mut Vec<Effect>) {
        let running: Vec<String> = self.running().map(|(id, _)| id.clone()).collect();
        for id in running {
            effects.push(Effect::Stop { id: id.clone(), attempt: self.attempt(&id) });
            let because = "the time for all of it was over before it was done".to_owned();
            self.set(&id, TaskState::Failed { because: because.clone() });
            effects.push(Effect::GaveUp { id, because });
        }
        self.stop_all("the time for all of it was over before it started", effects);
    }

    // === replanning ===

    fn ask_replan(&mut self, now_ms: u64) -> Option<Replan> {
        let policy = self.policy.replanning.clone()?;
        let missing = self.missing();
        let failed: Vec<&Missing> = missing.iter().filter(|missing| !missing.is_skipped).collect();
        if failed.is_empty() || self.replans >= policy.max_attempts {
            return None;
        }
        let hopeless = failed.iter().find_map(|missing| {
            let fault = missing.because.to_lowercase();
            let mut patterns = policy.non_replannable.iter();
            patterns.find(|pattern| fault.contains(&pattern.to_lowercase()))
        });
        if let Some(pattern) = hopeless {
            let note = format!("no other plan was made: the fault has `{pattern}` in it");
            self.notes.push(note);
            return None;
        }
        self.replans += 1;
        let until_ms = now_ms.saturating_add(policy.timeout_ms).min(self.deadline_ms);
        self.phase = Phase::Replanning { until_ms };
        let done = if policy.preserve_successful_outputs { self.results() } else { Vec::new() };
        Some(Replan { number: self.replans, done, missing, deadline_ms: until_ms })
    }

    fn replan(&mut self, plan: Plan) {
        let Phase::Replanning { .. } = self.phase else { return };
        let Some(policy) = self.policy.replanning.clone() else { return };
        let kept: Vec<(String, String)> = self
            .results()
            .into_iter()
            .filter(|result| {
                policy.preserve_successful_outputs
                    && plan.task(&result.task.id) == Some(&result.task)
            })
            .map(|result| (result.task.id, result.text))
            .collect();
        let is_new = |task: &&Task| !kept.iter().any(|(id, _)| *id == task.id);
        let new: Vec<Task> = plan.tasks().iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            self.refuse_replan("the other plan has nothing new in it");
            return;
        }
        let unfinished: Vec<Task> = self
            .plan
            .tasks()
            .iter()
            .filter(|task| !matches!(self.state(&task.id), Some(TaskState::Done { .. })))
            .cloned()
            .collect();
        self.failed_plans.push(unfinished);
        let closest = self.failed_plans.iter().map(|old| likeness(old, &new)).fold(0.0, f64::max);
        if closest >= policy.plan_similarity_threshold {
            // Asking once more is up to the number of attempts.
            self.failed_plans.push(new);
            self.refuse_replan(&format!(
                "the other plan was too much like one that failed ({closest:.2})"
            ));
            return;
        }
        self.replaced.extend(self.missing());
        self.plan = plan;
        self.forget_progress();
        for (id, text) in kept {
            self.set(&id, TaskState::Done { text });
        }
        self.phase = Phase::Working;
    }

    /// Back to work, where nothing is left to do: another replan is asked for, or all ends.
    fn refuse_replan(&mut self, why: &str) {
        if matches!(self.phase, Phase::Replanning { .. }) {
            self.notes.push(format!("plan {}: {why}", self.replans + 1));
            self.phase = Phase::Working;
        }
    }

    // === the end ===

    fn finish(&mut self, end: Option<End>) -> Effect {
        self.phase = Phase::Finished;
        let results = self.results();
        let missing = self.missing();
        let halted = missing.iter().any(|missing| !missing.is_skipped && self.halts(&missing.id));
        let end = end.unwrap_or({
            if missing.is_empty() {
                End::Completed
            } else if results.is_empty() || halted || !self.policy.partial_results {
                End::Failed
            } else {
                End::Partial
            }
        });
        Effect::Finish(Outcome {
            end,
            results,
            missing,
            replans: self.replans,
            replaced: std::mem::take(&mut self.replaced),
            notes: std::mem::take(&mut self.notes),
        })
    }
}
