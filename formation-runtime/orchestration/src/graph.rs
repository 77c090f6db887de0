//! A plan: tasks that depend on each other, checked once and trusted from there on.
//!
//! The rule is that of every build system and workflow engine: a directed graph without a cycle, executed
//! along its edges. A plan comes from a model, from a procedure or from a person who edited it, so all its
//! faults are told at once, in words that help each of them to mend it.

mod similarity;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::similarity::likeness;
pub use self::similarity::similarity;
use crate::text::line;

/// Nobody mends more at once.
const FAULTS: usize = 50;

/// One piece of work for one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// 1–64 of letters, digits, `-` and `_`.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub instruction: String,
    pub agent: String,
    /// It starts when these have succeeded, and reads their results.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Nothing may go on without it.
    #[serde(default)]
    pub critical: bool,
}

/// Tasks that can be executed: each can start at some time, each by an agent that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    tasks: Vec<Task>,
}

/// How much a plan may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub tasks: usize,
    pub instruction_bytes: usize,
    pub title_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the plan is no JSON object with a list `tasks`: {0}")]
    Syntax(String),
    #[error("the plan has no task; give at least one")]
    Empty,
    #[error("the plan has {found} tasks; at most {limit} are allowed")]
    TooMany { found: usize, limit: usize },
    #[error("task {number}: `{id}` is no id; take 1–64 letters, digits, `-` or `_`")]
    Id { number: usize, id: String },
    #[error("task `{0}` is there twice; ids must differ")]
    Twice(String),
    #[error("task `{0}` has no instruction")]
    NoInstruction(String),
    #[error("task `{id}`: its {what} has more than {limit} bytes")]
    TooLong { id: String, what: &'static str, limit: usize },
    #[error("task `{id}`: there is no agent `{agent}`; there are {known}")]
    Agent { id: String, agent: String, known: String },
    #[error("task `{id}` depends on `{on}`, which is no task of the plan")]
    Dependency { id: String, on: String },
    #[error("tasks {0} wait for each other in a circle")]
    Cycle(String),
}

/// All that is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    tasks: Vec<Task>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tasks: 20, instruction_bytes: 8_000, title_bytes: 200 }
    }
}

// === impl Plan ===

impl Plan {
    /// Checks the tasks; `agents` are the ids of those that may work for this caller.
    pub fn new(mut tasks: Vec<Task>, agents: &[&str], limits: Limits) -> Result<Self, Faults> {
        for task in &mut tasks {
            // Said twice, it would be read twice.
            let mut seen = BTreeSet::new();
            task.depends_on.retain(|on| seen.insert(on.clone()));
        }
        let mut faults = faults(&tasks, agents, limits);
        faults.truncate(FAULTS);
        if faults.is_empty() { Ok(Self { tasks }) } else { Err(Faults(faults)) }
    }

    /// Reads what [`Plan::to_json`] wrote, or what a person made of it.
    pub fn from_json(text: &str, agents: &[&str], limits: Limits) -> Result<Self, Faults> {
        let draft: Draft = serde_json::from_str(text)
            .map_err(|error| Faults(vec![Fault::Syntax(line(&error.to_string(), 300))]))?;
        Self::new(draft.tasks, agents, limits)
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "tasks": self.tasks })
    }

    /// As they were written.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// The tasks so that each comes after those it depends on, otherwise as they were written.
    pub fn order(&self) -> Vec<&Task> {
        sorted(&self.tasks).0
    }

    /// The plan for a person: one numbered line a task, with its agent and what it waits for.
    pub fn to_text(&self) -> String {
        let order = self.order();
        let number: BTreeMap<&str, usize> =
            order.iter().zip(1..).map(|(task, number)| (task.id.as_str(), number)).collect();
        let mut lines = Vec::new();
        for (index, task) in order.iter().enumerate() {
            let after: BTreeSet<usize> =
                task.depends_on.iter().filter_map(|id| number.get(id.as_str()).copied()).collect();
            let after: Vec<String> = after.iter().map(ToString::to_string).collect();
            let after = if after.is_empty() {
                String::new()
            } else {
                format!(", after {}", after.join(" and "))
            };
            let critical = if task.critical { ", must succeed" } else { "" };
            lines.push(format!(
                "{}. {} ({}{after}{critical})",
                index + 1,
                task.label(),
                task.agent
            ));
        }
        lines.join("\n")
    }
}

// === impl Task ===

impl Task {
    /// Its title, or the beginning of its instruction.
    pub fn label(&self) -> String {
        line(self.title.as_deref().unwrap_or(&self.instruction), 160)
    }
}

// === impl Faults ===

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&texts.join("; "))
    }
}

/// Whether a text can be the id of a task.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn faults(tasks: &[Task], agents: &[&str], limits: Limits) -> Vec<Fault> {
    if tasks.is_empty() {
        return vec![Fault::Empty];
    }
    if tasks.len() > limits.tasks {
        return vec![Fault::TooMany { found: tasks.len(), limit: limits.tasks }];
    }
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    for (task, number) in tasks.iter().zip(1..) {
        if !is_id(&task.id) {
            faults.push(Fault::Id { number, id: line(&task.id, 64) });
        }
        let id = || line(&task.id, 64);
        if !seen.insert(task.id.as_str()) {
            faults.push(Fault::Twice(id()));
        }
        if task.instruction.trim().is_empty() {
            faults.push(Fault::NoInstruction(id()));
        }
        let mut bound = |what, found: usize, limit: usize| {
            if found > limit {
                faults.push(Fault::TooLong { id: id(), what, limit });
            }
        };
        bound("instruction", task.instruction.len(), limits.instruction_bytes);
        bound("title", task.title.as_ref().map_or(0, String::len), limits.title_bytes);
        if !agents.contains(&task.agent.as_str()) {
            let known: Vec<String> = agents.iter().map(|agent| format!("`{agent}`")).collect();
            let agent = line(&task.agent, 64);
            faults.push(Fault::Agent { id: id(), agent, known: line(&known.join(", "), 500) });
        }
        for on in &task.depends_on {
            if !ids.contains(on.as_str()) {
                faults.push(Fault::Dependency { id: id(), on: line(on, 64) });
            }
        }
    }
    // Ids that are there twice make edges that mean two things.
    if seen.len() == tasks.len() {
        let (_, circle) = sorted(tasks);
        if !circle.is_empty() {
            let names: Vec<String> =
                circle.iter().map(|task| format!("`{}`", line(&task.id, 64))).collect();
            faults.push(Fault::Cycle(names.join(", ")));
        }
    }
    faults
}

/// The tasks in an order in which they can be done, and those that never can.
fn sorted(tasks: &[Task]) -> (Vec<&Task>, Vec<&Task>) {
    let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let mut placed = BTreeSet::new();
    let mut order = Vec::new();
    let mut waiting: Vec<&Task> = tasks.iter().collect();
    // One at a time and from the front, so that what could be anywhere stays where it was written.
    while let Some(at) = waiting.iter().position(|task| {
        let mut on = task.depends_on.iter().map(String::as_str);
        // What is no task at all is another fault, and no reason to call it a circle.
        on.all(|on| placed.contains(on) || !ids.contains(on))
    }) {
        let task = waiting.remove(at);
        placed.insert(task.id.as_str());
        order.push(task);
    }
    (order, waiting)
}

#[cfg(test)]
mod tests;
