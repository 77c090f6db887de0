//! The answer to the one question, read as data of no trust.

use serde_json::{Map, Value};

use super::{Asking, Candidate, Decision, Limits, Route, score};
use crate::clarification::Kind;
use crate::graph::{self, Plan, Task};
use crate::text::{cut, line};

/// So many places where an object may begin are tried.
const BEGINNINGS: usize = 64;
/// Something this complex is work, whatever the model calls it.
const DIRECT_COMPLEXITY: f64 = 4.0;

/// Why an answer decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("there is no agent to choose")]
    NoCandidate,
    #[error("the model's answer has more than {0} bytes")]
    TooLong(usize),
    #[error("the model's answer has no JSON object with a `kind`")]
    NoObject,
    #[error("the model's answer has the kind `{0}`, which was not offered")]
    Kind(String),
}

/// What the scorer alone decides: the best candidate, the first when nothing speaks for any.
pub fn fallback(
    message: &str,
    candidates: &[Candidate],
    last_agent: Option<&str>,
) -> Option<Decision> {
    let best = score(message, candidates, last_agent).into_iter().next()?;
    Some(Decision {
        because: format!("scorer: {} ({})", best.id, best.because),
        route: Route::Agent { id: best.id },
        complexity: None,
        topics: Vec::new(),
    })
}

/// A decision that holds. What the model got wrong in part is decided by the scorer, and the decision says
/// so; only an answer that is none at all is a fault.
pub fn read(answer: &str, asking: &Asking<'_>) -> Result<Decision, Fault> {
    if asking.candidates.is_empty() {
        return Err(Fault::NoCandidate);
    }
    if answer.len() > asking.limits.reply_bytes {
        return Err(Fault::TooLong(asking.limits.reply_bytes));
    }
    let object = last_object(answer, "kind").ok_or(Fault::NoObject)?;
    let kind = text(&object, "kind").unwrap_or_default();
    let complexity = object.get("complexity").and_then(number).map(|it| it.clamp(0.0, 10.0));
    let read = match kind {
        "direct" => direct(&object, complexity, asking),
        "agent" => agent(&object, asking),
        "procedure" if !asking.procedures.is_empty() => procedure(&object, asking),
        "workflow" if asking.may_split => workflow(&object, asking),
        "clarify" if asking.may_clarify => clarify(&object, asking),
        // What was not offered is still an opinion about size, not about who.
        "workflow" | "clarify" => Err(format!("model said {kind}, which is switched off")),
        other => return Err(Fault::Kind(line(other, 40))),
    };
    let (route, because) = match read {
        Ok(route) => {
            let because = match &route {
                Route::Agent { id } | Route::Procedure { id } => format!("model: {id}"),
                Route::Direct { .. } | Route::Workflow { .. } | Route::Clarify { .. } => {
                    format!("model: {}", route.kind())
                }
            };
            (route, because)
        }
        Err(why) => {
            let scored = fallback(asking.message, asking.candidates, asking.last_agent);
            let scored = scored.ok_or(Fault::NoCandidate)?;
            (scored.route, format!("{why}; {}", scored.because))
        }
    };
    Ok(Decision { route, complexity, topics: topics(&object, asking.limits), because })
}

fn direct(
    object: &Map<String, Value>,
    complexity: Option<f64>,
    asking: &Asking<'_>,
) -> Result<Route, String> {
    let answer = text(object, "answer").unwrap_or_default();
    if answer.is_empty() {
        return Err("model said direct without an answer".to_owned());
    }
    if answer.len() > asking.limits.direct_bytes {
        return Err("model said direct with an answer too long for one".to_owned());
    }
    if complexity.is_some_and(|complexity| complexity >= DIRECT_COMPLEXITY) {
        return Err("model said direct of something that is work".to_owned());
    }
    Ok(Route::Direct { answer: answer.to_owned() })
}

fn agent(object: &Map<String, Value>, asking: &Asking<'_>) -> Result<Route, String> {
    let named = text(object, "agent").ok_or("model named no agent")?;
    let id = known(named, asking.candidates).ok_or_else(|| unknown("agent", named))?;
    Ok(Route::Agent { id })
}

fn procedure(object: &Map<String, Value>, asking: &Asking<'_>) -> Result<Route, String> {
    let named = text(object, "procedure").ok_or("model named no procedure")?;
    let found = asking.procedures.iter().find(|procedure| procedure.id == named);
    let id = found.ok_or_else(|| unknown("procedure", named))?.id.clone();
    Ok(Route::Procedure { id })
}

fn clarify(object: &Map<String, Value>, asking: &Asking<'_>) -> Result<Route, String> {
    let limits = asking.limits;
    let clarification = object.get("clarification").and_then(Value::as_object);
    let question = clarification.and_then(|it| text(it, "question")).unwrap_or_default();
    if question.is_empty() {
        return Err("model wants to ask without a question".to_owned());
    }
    let mut options: Vec<String> = Vec::new();
    let offered = clarification.and_then(|it| it.get("options")).and_then(Value::as_array);
    for option in offered.into_iter().flatten().filter_map(Value::as_str) {
        let option = line(option, limits.option_bytes);
        if !option.is_empty() && !options.contains(&option) && options.len() < limits.options {
            options.push(option);
        }
    }
    // One answer to choose from is no choice.
    if options.len() < 2 {
        options.clear();
    }
    let about = clarification.and_then(|it| it.get("about")).cloned().unwrap_or_default();
    let about = serde_json::from_value(about).unwrap_or(Kind::Direct);
    Ok(Route::Clarify {
        about,
        question: cut(question, limits.question_bytes).0.to_owned(),
        options,
    })
}

fn workflow(object: &Map<String, Value>, asking: &Asking<'_>) -> Result<Route, String> {
    let limits = asking.limits.plan;
    let listed = object.get("tasks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if listed.len() > limits.tasks {
        return Err(format!("model planned {} tasks, more than {}", listed.len(), limits.tasks));
    }
    let tasks = planned_tasks(object, asking.candidates, limits);
    if let [only] = tasks.as_slice() {
        return Ok(Route::Agent { id: only.agent.clone() });
    }
    let agents: Vec<&str> = asking.candidates.iter().map(|it| it.id.as_str()).collect();
    let plan = Plan::new(tasks, &agents, limits).map_err(|faults| {
        format!("model's plan does not hold: {}", line(&faults.to_string(), 300))
    })?;
    Ok(Route::Workflow { plan })
}

/// The object of a plan that was asked for alone.
pub(crate) fn plan_object(answer: &str, limits: &Limits) -> Option<Map<String, Value>> {
    (answer.len() <= limits.reply_bytes).then(|| last_object(answer, "tasks"))?
}

/// The tasks of an object, with the agents that the scorer takes where the named ones are not there.
pub(crate) fn planned_tasks(
    object: &Map<String, Value>,
    candidates: &[Candidate],
    limits: graph::Limits,
) -> Vec<Task> {
    let listed = object.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let objects = listed.take(limits.tasks + 1).filter_map(Value::as_object).zip(1..);
    objects.map(|(task, number)| planned(task, number, candidates, limits)).collect()
}

fn planned(
    task: &Map<String, Value>,
    number: usize,
    candidates: &[Candidate],
    limits: graph::Limits,
) -> Task {
    let instruction = text(task, "instruction").unwrap_or_default();
    let instruction = cut(instruction, limits.instruction_bytes).0.to_owned();
    let agent = text(task, "agent").and_then(|named| known(named, candidates));
    let agent = agent.unwrap_or_else(|| {
        let scored = score(&instruction, candidates, None).into_iter().next();
        scored.map(|scored| scored.id).unwrap_or_default()
    });
    let on = task.get("depends_on").and_then(Value::as_array).into_iter().flatten();
    Task {
        id: task.get("id").and_then(id).unwrap_or_else(|| number.to_string()),
        title: text(task, "title").map(|title| line(title, limits.title_bytes)),
        instruction,
        agent,
        depends_on: on.take(limits.tasks).filter_map(id).collect(),
        critical: false,
    }
}

/// Models write numbers where they were asked for names, and spaces in them.
fn id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.trim().replace(|it: char| it.is_whitespace() || it == '.', "_"),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    graph::is_id(&id).then_some(id)
}

fn known(named: &str, candidates: &[Candidate]) -> Option<String> {
    let named = named.trim_start_matches('@');
    let exact = candidates.iter().find(|candidate| candidate.id == named);
    let found = exact.or_else(|| candidates.iter().find(|it| it.id.eq_ignore_ascii_case(named)));
    found.map(|candidate| candidate.id.clone())
}

fn unknown(what: &str, named: &str) -> String {
    format!("model named the {what} `{}`, which is not there", line(named, 64))
}

fn topics(object: &Map<String, Value>, limits: &Limits) -> Vec<String> {
    let mut topics = Vec::new();
    let listed = object.get("topics").and_then(Value::as_array).into_iter().flatten();
    for topic in listed.take(limits.topics * 4).filter_map(Value::as_str) {
        let lower = cut(topic, 400).0.to_lowercase();
        let words = lower.split(|it: char| !it.is_alphanumeric()).filter(|word| !word.is_empty());
        let topic = words.collect::<Vec<_>>().join("-");
        let topic = cut(&topic, limits.topic_bytes).0.trim_matches('-').to_owned();
        if !topic.is_empty() && !topics.contains(&topic) && topics.len() < limits.topics {
            topics.push(topic);
        }
    }
    topics
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|it: &f64| it.is_finite())
}

/// The last object with that key: models put fences and sentences around it and think aloud before it.
fn last_object(answer: &str, key: &str) -> Option<Map<String, Value>> {
    let mut found = None;
    let mut from = 0;
    for _ in 0..BEGINNINGS {
        let Some(at) = answer[from..].find('{') else { break };
        let start = from + at;
        let mut values = serde_json::Deserializer::from_str(&answer[start..]).into_iter::<Value>();
        from = match values.next() {
            Some(Ok(Value::Object(object))) => {
                if object.contains_key(key) {
                    found = Some(object);
                }
                start + values.byte_offset()
            }
            _ => start + 1,
        };
    }
    found
}
