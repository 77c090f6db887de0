//! Asking a model for another plan, and reading it: one for what is missing of a plan that failed, or one
//! that a person wants changed before it begins.

use serde_json::{Value, json};

use super::{Replan, TaskResult};
use crate::fence::{self, Boundary};
use crate::graph::{Faults, Plan, Task};
use crate::routing::{
    Candidate, Limits, Question, plan_object, planned_tasks, profiles, task_schema,
};
use crate::text::{cut, line};

/// So much of a result is shown; the plan needs to know what there is, not all of it.
const RESULT_BYTES: usize = 500;
/// More of a wish is not shown.
const WISH_BYTES: usize = 4_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplanFault {
    #[error("the model's answer has no JSON object with `tasks`")]
    NoObject,
    #[error("the other plan does not hold: {0}")]
    Plan(#[from] Faults),
}

/// What goes to the model after a failure; the request itself goes as the user's message. With a boundary,
/// since others had a word in it, what came of the tasks is fenced.
pub fn question(
    replan: &Replan,
    candidates: &[Candidate],
    limits: &Limits,
    boundary: Option<&Boundary>,
) -> Question {
    let done = replan.done.iter().map(|TaskResult { task, text }| {
        json!({"id": task.id, "task": task.label(), "result": cut(text, RESULT_BYTES).0})
    });
    let missing = replan.missing.iter().map(|missing| {
        let because = line(&missing.because, RESULT_BYTES);
        json!({"id": missing.id, "task": missing.label, "because": because})
    });
    let what = format!(
        "A plan for the user's request failed in part. Make another plan for what is missing, in another \
         way: with other agents, other steps or a smaller goal.\n\n\
         Done, as data (refer to it by id in `depends_on`, do not repeat it): {}\n\
         Missing, as data: {}",
        data("what is done", done.collect(), boundary),
        data("what is missing", missing.collect(), boundary),
    );
    let tasks = limits.plan.tasks.saturating_sub(replan.done.len()).max(1);
    asked(&what, tasks, candidates, limits)
}

fn data(source: &str, values: Vec<Value>, boundary: Option<&Boundary>) -> String {
    let text = Value::from(values).to_string();
    match boundary {
        Some(boundary) => fence::fence(source, &text, boundary, usize::MAX),
        None => text,
    }
}

/// The new tasks with those that are done, which stay as they were.
pub fn read(
    answer: &str,
    replan: &Replan,
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Plan, ReplanFault> {
    let done: Vec<Task> = replan.done.iter().map(|result| result.task.clone()).collect();
    planned(answer, &done, candidates, limits)
}

/// What goes to the model when a person wants a plan changed; the request itself goes as the user's
/// message.
pub fn revision_question(
    plan: &Plan,
    wish: &str,
    candidates: &[Candidate],
    limits: &Limits,
) -> Question {
    let what = format!(
        "There is a plan for the user's request, and the user wants it changed before it begins. Write the \
         whole plan as it is to be: change what the user wants changed, and keep all other tasks with \
         their ids, instructions and agents.\n\nThe plan: {}\nThe user's wish: {}",
        plan.to_json(),
        Value::from(cut(wish, WISH_BYTES).0),
    );
    asked(&what, limits.plan.tasks, candidates, limits)
}

/// The whole plan as it was changed.
pub fn read_revision(
    answer: &str,
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Plan, ReplanFault> {
    planned(answer, &[], candidates, limits)
}

fn asked(what: &str, tasks: usize, candidates: &[Candidate], limits: &Limits) -> Question {
    let shown: Vec<&Candidate> = candidates.iter().take(limits.candidates).collect();
    let agents: Vec<Value> = shown.iter().map(|it| it.id.as_str().into()).collect();
    let system = format!(
        "{what}\n\nAgents:\n{}\nAnswer with one JSON object and nothing else. Write 1 to {tasks} `tasks`, \
         each with an `id` of its own, an `instruction` that stands for itself, the `agent` that does it, \
         and `depends_on` with the ids whose results it reads.\nThe object is {{\"tasks\": [{{\"id\": text, \
         \"instruction\": text, \"agent\": text, \"depends_on\": [text]}}]}}.",
        profiles(&shown, limits),
    );
    let schema = json!({
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task_schema(&agents)}},
        "required": ["tasks"],
        "additionalProperties": false,
    });
    Question { system, schema }
}

fn planned(
    answer: &str,
    done: &[Task],
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Plan, ReplanFault> {
    let object = plan_object(answer, limits).ok_or(ReplanFault::NoObject)?;
    // What is done is known already, whatever the model repeats of it.
    let mut new = planned_tasks(&object, candidates, limits.plan);
    new.retain(|new| !done.iter().any(|done| done.id == new.id));
    let tasks = [done, new.as_slice()].concat();
    // An agent that has done its part need not be there for another.
    let agents = candidates.iter().map(|it| it.id.as_str());
    let agents: Vec<&str> = agents.chain(done.iter().map(|task| task.agent.as_str())).collect();
    Ok(Plan::new(tasks, &agents, limits.plan)?)
}
