//! A plan being carried out: what starts when, what is tried again, and what is told at the end.
//!
//! The machine of every workflow engine, kept to what one answer needs. Invariants:
//! - Never more tasks run than the policy allows, and none starts before all that it depends on succeeded.
//! - A task counts as done only by its own success in its latest attempt; what comes late from an attempt
//!   that was given up changes nothing.
//! - It ends: attempts, replans and time are bounded, and whatever happens, one [`Effect::Finish`] comes.
//! - What failed is named in the outcome with its reason, and is never among the results.

mod machine;
mod outcome;
mod progress;
mod replan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::outcome::{End, Missing, Outcome, TaskResult};
pub use self::replan::{
    ReplanFault, question as replan_question, read as read_replan, read_revision, revision_question,
};
use crate::graph::{Plan, Task};

/// How failures are met and how long everything may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// One for one after another.
    pub max_parallel_tasks: usize,
    pub recovery: Recovery,
    pub retry: Retry,
    pub task_timeout_ms: u64,
    pub workflow_timeout_ms: u64,
    /// No setting goes above it.
    pub ceiling_ms: u64,
    /// Whether what there is counts when something is missing.
    pub partial_results: bool,
    pub replanning: Option<Replanning>,
    /// So much of a result is shown to each task that depends on it.
    pub upstream_bytes: usize,
}

/// What follows when a task fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Everything ends.
    FailFast,
    /// The same again after a growing wait, for kinds of failures that pass; then as skipping.
    RetryWithBackoff,
    /// Another agent at once; the same again when there is no other and the failure may pass.
    RetryWithAlternate,
    /// Once is enough: what depends on it is skipped, the rest goes on.
    SkipAndContinue,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// With the first.
    pub max_attempts: u32,
    pub initial_delay_ms: u64,
    pub max_delay_ms: u64,
    pub backoff_factor: f64,
    pub retry_on: Vec<FailureKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Timeout,
    RateLimit,
    TemporaryFailure,
    /// The same again would fail again.
    Permanent,
}

/// Another plan when the first one failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replanning {
    pub max_attempts: u32,
    /// A plan that is this close to one that failed is refused; 1 is the same plan.
    pub plan_similarity_threshold: f64,
    /// Whether tasks that are done stay done.
    pub preserve_successful_outputs: bool,
    pub timeout_ms: u64,
    /// No plan helps against faults with one of these in their words.
    pub non_replannable: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time has passed; the first one starts the work.
    Tick,
    TaskDone {
        id: String,
        attempt: u32,
        text: String,
    },
    TaskFailed {
        id: String,
        attempt: u32,
        fault: String,
        kind: FailureKind,
    },
    /// Somebody must be asked before the task goes on: its time stands still, nothing new is begun, and
    /// what runs is worked to its end.
    TaskHeld {
        id: String,
        attempt: u32,
    },
    /// What an [`Effect::AskReplan`] brought.
    Replanned(Plan),
    ReplanFailed {
        why: String,
    },
    Cancelled,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Start(Assignment),
    /// End this attempt; nothing that it says counts any more.
    Stop {
        id: String,
        attempt: u32,
    },
    /// For progress: the task is tried again at that time.
    Retry {
        id: String,
        attempt: u32,
        at_ms: u64,
        because: String,
    },
    /// For progress: the task is not done and will not be.
    GaveUp {
        id: String,
        because: String,
    },
    /// For progress: the task never starts.
    Skipped {
        id: String,
        because: String,
    },
    /// Ask for another plan; the answer is an event.
    AskReplan(Replan),
    /// Send a [`Event::Tick`] then, unless another time comes before it.
    WakeAt(u64),
    /// The last one.
    Finish(Outcome),
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub task: Task,
    /// The plan's agent, or another one in its place.
    pub agent: String,
    /// From 1.
    pub attempt: u32,
    pub deadline_ms: u64,
    /// What it depends on, in that order.
    pub upstream: Vec<Upstream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub id: String,
    pub label: String,
    pub text: String,
    /// More was there than is shown.
    pub is_cut: bool,
}

/// What another plan is to be made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Replan {
    /// From 1.
    pub number: u32,
    /// What stays done; the new plan has these tasks unchanged.
    pub done: Vec<TaskResult>,
    pub missing: Vec<Missing>,
    pub deadline_ms: u64,
}

/// A plan on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    plan: Plan,
    policy: Policy,
    /// Those that may work for this caller, the preferred first.
    agents: Vec<String>,
    tasks: BTreeMap<String, Progress>,
    phase: Phase,
    /// When everything has to be over.
    deadline_ms: u64,
    replans: u32,
    /// The unfinished parts of plans that failed; a new one must differ from each.
    failed_plans: Vec<Vec<Task>>,
    /// What failed in plans that were replaced.
    replaced: Vec<Missing>,
    /// Why something was not tried, for people.
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Working,
    Replanning { until_ms: u64 },
    Finished,
}

#[derive(Debug, Clone, PartialEq)]
struct Progress {
    state: TaskState,
    /// Who tried, in order.
    tried: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum TaskState {
    Waiting,
    /// To be tried again by this agent.
    Delayed {
        agent: String,
        until_ms: u64,
    },
    Running {
        deadline_ms: u64,
    },
    /// Somebody must be asked first.
    Held,
    Done {
        text: String,
    },
    Failed {
        because: String,
    },
    Skipped {
        because: String,
    },
}

/// How far it is, for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub total: usize,
    pub running: usize,
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_parallel_tasks: 5,
            recovery: Recovery::RetryWithBackoff,
            retry: Retry::default(),
            task_timeout_ms: 300_000,
            workflow_timeout_ms: 3_600_000,
            ceiling_ms: 7_200_000,
            partial_results: true,
            replanning: None,
            upstream_bytes: 16 * 1024,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay_ms: 1_000,
            max_delay_ms: 60_000,
            backoff_factor: 2.0,
            retry_on: vec![
                FailureKind::Timeout,
                FailureKind::RateLimit,
                FailureKind::TemporaryFailure,
            ],
        }
    }
}

impl Default for Replanning {
    fn default() -> Self {
        let patterns = [
            "auth",
            "unauthorized",
            "forbidden",
            "permission",
            "credential",
            "configuration error",
            "invalid api key",
            "data corruption",
        ];
        Self {
            max_attempts: 3,
            plan_similarity_threshold: 0.7,
            preserve_successful_outputs: true,
            timeout_ms: 30_000,
            non_replannable: patterns.map(ToOwned::to_owned).to_vec(),
        }
    }
}

// === impl Retry ===

impl Retry {
    /// The wait before the retry of this number, counted from 0: it grows by the factor up to the most.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a product that is no number of milliseconds is the longest wait"
    )]
    pub fn delay_ms(&self, retry: u32) -> u64 {
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        let delay = self.initial_delay_ms as f64 * self.backoff_factor.powi(exponent);
        if delay.is_finite() && delay < self.max_delay_ms as f64 {
            delay as u64
        } else {
            self.max_delay_ms
        }
    }
}

#[cfg(test)]
mod tests;
