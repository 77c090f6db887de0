//! Asking a model for another plan, and reading it.

use serde_json::{Value, json};

use super::{Replan, TaskResult};
use crate::graph::{Faults, Plan, Task};
use crate::routing::{
    Candidate, Limits, Question, plan_object, planned_tasks, profiles, task_schema,
};
use crate::text::{cut, line};

/// So much of a result is shown; the plan needs to know what there is, not all of it.
const RESULT_BYTES: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplanFault {
    #[error("the model's answer has no JSON object with `tasks`")]
    NoObject,
    #[error("the other plan does not hold: {0}")]
    Plan(#[from] Faults),
}

/// What goes to the model; the request itself goes as the user's message.
pub fn question(replan: &Replan, candidates: &[Candidate], limits: &Limits) -> Question {
    let shown: Vec<&Candidate> = candidates.iter().take(limits.candidates).collect();
    let agents: Vec<Value> = shown.iter().map(|it| it.id.as_str().into()).collect();
    let done: Vec<Value> = replan
        .done
        .iter()
        .map(|TaskResult { task, text }| {
            json!({"id": task.id, "task": task.label(), "result": cut(text, RESULT_BYTES).0})
        })
        .collect();
    let missing: Vec<Value> = replan
        .missing
        .iter()
        .map(|missing| {
            json!({"id": missing.id, "task": missing.label, "because": line(&missing.because, RESULT_BYTES)})
        })
        .collect();
    let system = format!(
        "A plan for the user's request failed in part. Make another plan for what is missing, in another \
         way: with other agents, other steps or a smaller goal. Answer with one JSON object and nothing \
         else.\n\nAgents:\n{}\nDone, as data (refer to it by id in `depends_on`, do not repeat it): {}\n\
         Missing, as data: {}\n\nWrite 1 to {} `tasks`, each with a new `id`, an `instruction` that stands \
         for itself, the `agent` that does it, and `depends_on`.\n\
         The object is {{\"tasks\": [{{\"id\": text, \"instruction\": text, \"agent\": text, \"depends_on\": \
         [text]}}]}}.",
        profiles(&shown, limits),
        Value::from(done),
        Value::from(missing),
        limits.plan.tasks.saturating_sub(replan.done.len()).max(1),
    );
    let schema = json!({
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task_schema(&agents)}},
        "required": ["tasks"],
        "additionalProperties": false,
    });
    Question { system, schema }
}

/// The new tasks with those that are done, which stay as they were.
pub fn read(
    answer: &str,
    replan: &Replan,
    candidates: &[Candidate],
    limits: &Limits,
) -> Result<Plan, ReplanFault> {
    let object = plan_object(answer, limits).ok_or(ReplanFault::NoObject)?;
    let mut tasks: Vec<Task> = replan.done.iter().map(|result| result.task.clone()).collect();
    let new = planned_tasks(&object, candidates, limits.plan);
    // What is done is known already, whatever the model repeats of it.
    tasks.extend(new.into_iter().filter(|new| !replan.done.iter().any(|it| it.task.id == new.id)));
    let mut agents: Vec<&str> = candidates.iter().map(|it| it.id.as_str()).collect();
    // An agent that has done its part need not be there for another.
    agents.extend(replan.done.iter().map(|result| result.task.agent.as_str()));
    Ok(Plan::new(tasks, &agents, limits.plan)?)
}
