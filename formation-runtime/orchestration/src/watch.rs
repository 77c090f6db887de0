//! When a job elsewhere is done, and what comes after each look at it.
//!
//! The rule is that of every poller that survived: look in steady steps, believe only what is plainly there,
//! give up after errors in a row or when the time is over, and look once more before saying so.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json_path::{InvalidJsonPath, JsonPath};

/// What must stand where for the job to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    path: JsonPath,
    any_of: Vec<Value>,
}

/// A condition as a model writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrittenCondition(pub Map<String, Value>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    #[error("`path` is missing; say where in the tool's answer the state stands")]
    NoPath,
    #[error("`path` {0}")]
    Path(#[from] InvalidJsonPath),
    #[error("needs either `equals` or `in`, and not both")]
    Test,
    #[error("`in` must be a list of 1 to {VALUES_MAX} values")]
    Values,
    #[error("`{0}` is not known; there are `path`, `equals` and `in`")]
    Unknown(String),
}

/// How often and how long one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    pub interval_ms: i64,
    pub timeout_ms: i64,
    /// So many looks that fail in a row are the end.
    pub failures_max: u32,
}

/// A job as it is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    pub condition: &'a Condition,
    /// The part of the last answer that is of interest; without it all of it.
    pub result: Option<&'a JsonPath>,
    pub pace: Pace,
    pub since_ms: i64,
    /// In a row, up to now.
    pub failures: u32,
}

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen<'a> {
    Answer(&'a Value),
    /// The tool failed; it may work the next time.
    Failed(&'a str),
    /// Nobody may look any more.
    Refused(&'a str),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Look { at_ms: i64, failures: u32 },
    Done { result: Value },
    TimedOut,
    Failed { reason: String },
}

/// In a list of values.
const VALUES_MAX: usize = 50;

// === impl Condition ===

impl Condition {
    pub fn path(&self) -> &JsonPath {
        &self.path
    }

    /// What stands at the path.
    pub fn found<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        self.path.find(answer)
    }

    /// Whether the answer says that the job is done. What is not there is not done.
    pub fn holds(&self, answer: &Value) -> bool {
        let Some(found) = self.found(answer) else { return false };
        self.any_of.iter().any(|wanted| is_same(found, wanted))
    }
}

impl TryFrom<&WrittenCondition> for Condition {
    type Error = InvalidCondition;

    fn try_from(written: &WrittenCondition) -> Result<Self, InvalidCondition> {
        let WrittenCondition(written) = written;
        if let Some(name) =
            written.keys().find(|it| !["path", "equals", "in"].contains(&it.as_str()))
        {
            return Err(InvalidCondition::Unknown(name.clone()));
        }
        let path = written.get("path").and_then(Value::as_str).ok_or(InvalidCondition::NoPath)?;
        let any_of = match (written.get("equals"), written.get("in")) {
            (Some(value), None) => vec![value.clone()],
            (None, Some(Value::Array(values))) if (1..=VALUES_MAX).contains(&values.len()) => {
                values.clone()
            }
            (None, Some(_)) => return Err(InvalidCondition::Values),
            (None, None) | (Some(_), Some(_)) => return Err(InvalidCondition::Test),
        };
        Ok(Self { path: path.parse()?, any_of })
    }
}

// === impl Watched ===

impl Watched<'_> {
    pub fn next(&self, seen: Seen<'_>, now_ms: i64) -> Next {
        let failures = match seen {
            Seen::Answer(answer) if self.condition.holds(answer) => {
                let result = match self.result {
                    Some(path) => path.find(answer).cloned().unwrap_or(Value::Null),
                    None => answer.clone(),
                };
                return Next::Done { result };
            }
            Seen::Answer(_) => 0,
            Seen::Failed(fault) => {
                let failures = self.failures.saturating_add(1);
                if failures >= self.pace.failures_max {
                    let reason = format!("{failures} looks in a row failed, the last one: {fault}");
                    return Next::Failed { reason };
                }
                failures
            }
            Seen::Refused(reason) => return Next::Failed { reason: reason.to_owned() },
        };
        let deadline_ms = self.since_ms.saturating_add(self.pace.timeout_ms);
        if now_ms >= deadline_ms {
            return Next::TimedOut;
        }
        // The last look is at the very end.
        let at_ms = now_ms.saturating_add(self.pace.interval_ms).min(deadline_ms);
        Next::Look { at_ms, failures }
    }
}

// === private helpers ===

/// By type first; else as people write both down, so that `3` is `"3"`. A truth value is never a word.
fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => {
            found == wanted || found.as_f64() == wanted.as_f64()
        }
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => number.to_string() == text.trim(),
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests;
