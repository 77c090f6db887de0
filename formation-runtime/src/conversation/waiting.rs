//! What a session waits for, and how its turn goes on when somebody has answered.

use muxi_contract::RequestId;
use muxi_memory::PendingKind;
use muxi_orchestration::clarification;
use muxi_orchestration::graph::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::File;
use super::tool_loop::ToolLoop;

/// A turn that ended with a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Waits {
    /// `apv_…`, `pln_…` or `clr_…`.
    pub id: String,
    pub kind: PendingKind,
    /// What people are shown of it.
    pub shown: Value,
    /// A [`Suspended`] as JSON.
    pub state: String,
}

/// What has to be known to go on, by whatever process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Suspended {
    /// The message that began it.
    pub message: String,
    /// That came with it, as far as there was room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    #[serde(default)]
    pub output_schema: Option<Value>,
    pub work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// An agent wants to make calls that somebody must allow.
    Agent { agent: String, tool_loop: Box<ToolLoop> },
    /// The same within a plan; what is done is kept.
    Plan { running: RunningPlan, held: Vec<HeldTask> },
    /// A plan that nobody has begun.
    Proposed { running: RunningPlan },
    /// A question back to the user.
    Clarification { asked: clarification::State },
}

/// A plan, where it comes from, and what is done of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningPlan {
    /// Of a plan, which is checked again when it is taken up.
    pub tasks: Vec<Task>,
    /// The procedure that it was made of.
    #[serde(default)]
    pub procedure: Option<String>,
    #[serde(default)]
    pub results: Vec<TaskResult>,
    pub complexity: f64,
    /// Another call makes one answer of the results; else the last one's words are the answer.
    pub synthesises: bool,
    /// Somebody elsewhere has had a word in it.
    #[serde(default)]
    pub is_tainted: bool,
    /// Plans that were made because the one before failed.
    #[serde(default)]
    pub replans: u32,
}

/// The name under which a plan is kept beside the results of its tasks; no task has it.
pub const PLAN_PART: &str = "@plan";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub task: String,
    pub text: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldTask {
    pub task: String,
    pub agent: String,
    pub tool_loop: Box<ToolLoop>,
}

/// A question that was answered, as the turn that goes on reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resumes {
    pub id: String,
    /// The request that asked.
    pub original: RequestId,
    pub verdict: Answered,
    pub suspended: Suspended,
}

/// What somebody said to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    Yes,
    /// With the words that were said besides.
    No(Option<String>),
    /// Something else.
    Words(String),
    /// The plan's tasks, as they were edited.
    Edited(Vec<Task>),
}
