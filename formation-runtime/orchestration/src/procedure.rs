//! Written procedures: which one a message asks for, and what following it means.
//!
//! A procedure is followed in one of two ways. As a template its steps are the plan: in their order, with
//! neighbours that are marked parallel side by side, and nobody may change it. As a guide it is one text
//! that an agent reads and follows as fits.

mod changed;
mod matching;

use crate::graph::{Faults, Limits, Plan, Task};
use crate::routing::{Candidate, score};
use crate::text::line;

pub use self::changed::changed;
pub use self::matching::{
    Entry, LEXICAL_THRESHOLD, Match, Method, Slash, VECTOR_THRESHOLD, match_lexical, match_vectors,
    slash,
};

/// One step as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    pub number: u32,
    pub title: Option<String>,
    pub text: String,
    /// Who does it; whoever fits best when nobody is named.
    pub agent: Option<String>,
    /// Servers, and the tools of them that are meant.
    pub tools: Vec<(String, Option<String>)>,
    /// Skills, and the scripts of them that are to run.
    pub skills: Vec<(String, Option<String>)>,
    pub model: Option<String>,
    /// It may run beside its neighbours that say the same.
    pub is_parallel: bool,
    /// Nothing goes on without it, and it is never left out.
    pub is_critical: bool,
}

/// A procedure as a plan, with the steps that its tasks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub plan: Plan,
    steps: Vec<Step>,
}

/// The plan of a procedure that is followed as a template. It is the same whenever it is made from the same
/// steps and agents, so that a restart finds its tasks again.
pub fn template(
    steps: &[Step],
    candidates: &[Candidate],
    limits: Limits,
) -> Result<Template, Faults> {
    let mut tasks: Vec<Task> = Vec::with_capacity(steps.len());
    let mut before: Vec<String> = Vec::new();
    let mut beside: Vec<String> = Vec::new();
    let mut was_parallel = false;
    for (step, position) in steps.iter().zip(1..) {
        let joins = step.is_parallel && was_parallel;
        if !joins && !beside.is_empty() {
            before = std::mem::take(&mut beside);
        }
        was_parallel = step.is_parallel;
        // Numbers are the author's and may repeat; positions do not.
        let id = format!("step-{position}");
        beside.push(id.clone());
        tasks.push(Task {
            id,
            title: step.title.as_deref().map(|title| line(title, limits.title_bytes)),
            instruction: instruction(step),
            agent: step.agent.clone().unwrap_or_else(|| best(step, candidates)),
            depends_on: before.clone(),
            critical: step.is_critical,
        });
    }
    let agents: Vec<&str> = candidates.iter().map(|it| it.id.as_str()).collect();
    Ok(Template { plan: Plan::new(tasks, &agents, limits)?, steps: steps.to_vec() })
}

/// The text of a procedure that is followed as a guide, for the instructions of one agent.
pub fn guide(name: &str, steps: &[Step]) -> String {
    let mut lines = vec![format!(
        "Follow the procedure \"{}\" for this request. Its steps may be joined, and those that do not \
         depend on each other may be done in another order. Steps marked [must be done] are never left \
         out. Leave out another step only when it does not apply, and say so.",
        line(name, 200)
    )];
    for step in steps {
        let title = step.title.as_ref().map_or(String::new(), |title| format!("{title}: "));
        let mut marks = vec![step.text.trim().to_owned()];
        if step.is_critical {
            marks.push("[must be done]".to_owned());
        }
        marks.extend(step.agent.as_ref().map(|agent| format!("[work for the agent {agent}]")));
        for (what, names) in [("use the tool", &step.tools), ("use the skill", &step.skills)] {
            let named = names.iter().map(|(of, part)| match part {
                Some(part) => format!("[{what} {of}/{part}]"),
                None => format!("[{what} {of}]"),
            });
            marks.extend(named);
        }
        lines.push(format!("{}. {title}{}", step.number, marks.join(" ")));
    }
    lines.join("\n")
}

/// The place of the step, from 0, that a task of a template comes from.
pub fn step_position(task: &str) -> Option<usize> {
    let position: usize = task.strip_prefix("step-")?.parse().ok()?;
    position.checked_sub(1)
}

// === impl Template ===

impl Template {
    /// What a task of the plan comes from: its tools, skills and model.
    pub fn step(&self, task: &str) -> Option<&Step> {
        self.steps.get(step_position(task)?)
    }
}

fn instruction(step: &Step) -> String {
    let text = step.text.trim();
    match step.title.as_deref().map(str::trim) {
        Some(title) if text.is_empty() => title.to_owned(),
        Some(title) if title != text => format!("{title}\n\n{text}"),
        Some(_) | None => text.to_owned(),
    }
}

fn best(step: &Step, candidates: &[Candidate]) -> String {
    let scored = score(&instruction(step), candidates, None);
    scored.into_iter().next().map(|scored| scored.id).unwrap_or_default()
}

#[cfg(test)]
mod tests;
