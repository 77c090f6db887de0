//! Where each task of a workflow stands.

use super::outcome::{Missing, TaskResult};
use super::{Counts, Effect, Phase, Progress, TaskState, Workflow};

// === impl Workflow ===

impl Workflow {
    pub fn counts(&self) -> Counts {
        let mut counts =
            Counts { total: self.tasks.len(), running: 0, done: 0, failed: 0, skipped: 0 };
        for progress in self.tasks.values() {
            match progress.state {
                TaskState::Waiting | TaskState::Delayed { .. } | TaskState::Held => {}
                TaskState::Running { .. } => counts.running += 1,
                TaskState::Done { .. } => counts.done += 1,
                TaskState::Failed { .. } => counts.failed += 1,
                TaskState::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }

    pub(super) fn results(&self) -> Vec<TaskResult> {
        let order = self.plan.order().into_iter();
        let done = order.filter_map(|task| match self.state(&task.id)? {
            TaskState::Done { text } => Some(TaskResult { task: task.clone(), text: text.clone() }),
            TaskState::Waiting
            | TaskState::Delayed { .. }
            | TaskState::Running { .. }
            | TaskState::Held
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. } => None,
        });
        done.collect()
    }

    pub(super) fn missing(&self) -> Vec<Missing> {
        let order = self.plan.order().into_iter();
        let missing = order.filter_map(|task| {
            let (because, is_skipped) = match self.state(&task.id)? {
                TaskState::Failed { because } => (because, false),
                TaskState::Skipped { because } => (because, true),
                TaskState::Waiting
                | TaskState::Delayed { .. }
                | TaskState::Running { .. }
                | TaskState::Held
                | TaskState::Done { .. } => return None,
            };
            let (id, label) = (task.id.clone(), task.label());
            Some(Missing { id, label, because: because.clone(), is_skipped })
        });
        missing.collect()
    }

    pub(super) fn forget_progress(&mut self) {
        let tasks = self.plan.tasks().iter();
        let fresh = || Progress { state: TaskState::Waiting, tried: Vec::new() };
        self.tasks = tasks.map(|task| (task.id.clone(), fresh())).collect();
    }

    pub(super) fn state(&self, id: &str) -> Option<&TaskState> {
        self.tasks.get(id).map(|progress| &progress.state)
    }

    pub(super) fn set(&mut self, id: &str, state: TaskState) {
        if let Some(progress) = self.tasks.get_mut(id) {
            progress.state = state;
        }
    }

    pub(super) fn skip(&mut self, id: &str, because: &str, effects: &mut Vec<Effect>) {
        self.set(id, TaskState::Skipped { because: because.to_owned() });
        effects.push(Effect::Skipped { id: id.to_owned(), because: because.to_owned() });
    }

    pub(super) fn attempt(&self, id: &str) -> u32 {
        let tried = self.tasks.get(id).map_or(0, |progress| progress.tried.len());
        u32::try_from(tried).unwrap_or(u32::MAX)
    }

    pub(super) fn is_running(&self, id: &str, attempt: u32) -> bool {
        matches!(self.state(id), Some(TaskState::Running { .. })) && self.attempt(id) == attempt
    }

    /// Whether somebody must be asked before anything new is begun.
    pub(super) fn is_held(&self) -> bool {
        self.tasks.values().any(|progress| progress.state == TaskState::Held)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (&String, u64)> {
        self.tasks.iter().filter_map(|(id, progress)| match progress.state {
            TaskState::Running { deadline_ms } => Some((id, deadline_ms)),
            TaskState::Waiting
            | TaskState::Delayed { .. }
            | TaskState::Held
            | TaskState::Done { .. }
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. } => None,
        })
    }

    pub(super) fn overdue(&self, now_ms: u64) -> Vec<String> {
        self.running()
            .filter(|(_, until_ms)| *until_ms <= now_ms)
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn is_all_done(&self) -> bool {
        self.tasks.values().all(|progress| matches!(progress.state, TaskState::Done { .. }))
    }

    /// Nothing runs and nothing will.
    pub(super) fn is_settled(&self) -> bool {
        self.tasks.values().all(|progress| match progress.state {
            TaskState::Done { .. } | TaskState::Failed { .. } | TaskState::Skipped { .. } => true,
            TaskState::Waiting
            | TaskState::Delayed { .. }
            | TaskState::Running { .. }
            | TaskState::Held => false,
        })
    }

    pub(super) fn next_wake_ms(&self, now_ms: u64) -> u64 {
        let replanning = match self.phase {
            Phase::Replanning { until_ms } => Some(until_ms),
            Phase::Working | Phase::Finished => None,
        };
        let delayed = self.tasks.values().filter_map(|progress| match &progress.state {
            // One whose time has come waits for a free place and not for a time.
            TaskState::Delayed { until_ms, .. } => Some(*until_ms).filter(|it| *it > now_ms),
            TaskState::Waiting
            | TaskState::Running { .. }
            | TaskState::Held
            | TaskState::Done { .. }
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. } => None,
        });
        let running = self.running().map(|(_, until_ms)| until_ms);
        delayed.chain(running).chain(replanning).fold(self.deadline_ms, u64::min)
    }
}
