//! Why a turn did what it did: kept with its request, and told in its answer.

use std::sync::{Mutex, PoisonError};

use muxi_memory::Decision as Row;
use muxi_service::Clock;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What one turn decided and did.
#[derive(Debug)]
pub struct Trace {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    told: Told,
    /// The same as it is written down, each with its own time.
    rows: Vec<Row>,
    /// So many of them are on the disk.
    written: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    pub decisions: Vec<Decision>,
    /// In the order in which they began, each once.
    pub agents: Vec<String>,
    pub tools: Vec<ToolUse>,
    /// What the caller should know besides the answer.
    pub warnings: Vec<String>,
    /// Words of others were read.
    pub is_tainted: bool,
}

/// One choice, and its reason in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Such as `agent` or `procedure`.
    pub step: &'static str,
    pub choice: String,
    pub reason: String,
    /// What it was chosen from, with scores.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// A call of a tool that may change something, before it is made.
#[derive(Debug, Clone, Copy)]
pub struct ToolBegun<'a> {
    /// Of this call alone.
    pub call: &'a str,
    pub tool: &'a str,
    pub agent: &'a str,
    /// The part of a plan that it is made for.
    pub task: Option<&'a str>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolUse {
    pub tool: String,
    pub agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What a call that was written down before it was made is told by.
    #[serde(skip)]
    pub call: Option<String>,
    pub is_error: bool,
    pub took_ms: u64,
}

/// More decisions of one turn are not kept.
const DECISIONS_MAX: usize = 100;
const TOOLS_MAX: usize = 200;
/// The step under which calls of tools are written down.
pub const TOOL: &str = "tool";
/// What is written down of a call before it is made.
pub const TOOL_BEGUN: &str = "it was called, and its end is not known";

// === impl Trace ===

impl Trace {
    pub fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    pub fn decide(&self, decision: Decision) {
        let mut kept = self.lock();
        if kept.told.decisions.len() < DECISIONS_MAX {
            kept.rows.push(Row {
                step: decision.step.to_owned(),
                choice: decision.choice.clone(),
                reason: decision.reason.clone(),
                detail_json: (!decision.detail.is_null()).then(|| decision.detail.to_string()),
                at_ms: self.clock.now_ms(),
            });
            kept.told.decisions.push(decision);
        }
    }

    pub fn agent(&self, id: &str) {
        let told = &mut self.lock().told;
        if !told.agents.iter().any(|it| it == id) {
            told.agents.push(id.to_owned());
        }
    }

    /// To be written down before the call is made.
    pub fn tool_begun(&self, begun: ToolBegun<'_>) {
        let ToolBegun { call, tool, agent, task } = begun;
        let mut kept = self.lock();
        if kept.told.tools.len() < TOOLS_MAX {
            let mut detail = Map::from_iter([
                ("call".to_owned(), json!(call)),
                ("agent".to_owned(), json!(agent)),
            ]);
            detail.extend(task.map(|task| ("task".to_owned(), json!(task))));
            let row = self.tool_row(tool, TOOL_BEGUN, &Value::Object(detail));
            kept.rows.push(row);
        }
    }

    pub fn tool(&self, used: ToolUse) {
        let mut kept = self.lock();
        if kept.told.tools.len() < TOOLS_MAX {
            let mut detail = json!(used);
            if let Some(call) = &used.call {
                detail["call"] = json!(call);
            }
            let outcome = if used.is_error { "it failed" } else { "it answered" };
            let row = self.tool_row(&used.tool, outcome, &detail);
            kept.rows.push(row);
            kept.told.tools.push(used);
        }
    }

    fn tool_row(&self, tool: &str, outcome: &str, detail: &Value) -> Row {
        Row {
            step: TOOL.to_owned(),
            choice: tool.to_owned(),
            reason: outcome.to_owned(),
            detail_json: Some(detail.to_string()),
            at_ms: self.clock.now_ms(),
        }
    }

    pub fn taint(&self, is_tainted: bool) {
        self.lock().told.is_tainted |= is_tainted;
    }

    pub fn warn(&self, why: String) {
        let told = &mut self.lock().told;
        if !told.warnings.contains(&why) {
            told.warnings.push(why);
        }
    }

    pub fn told(&self) -> Told {
        self.lock().told.clone()
    }

    /// What is not on the disk yet, in its order.
    pub fn unwritten(&self) -> Vec<Row> {
        let kept = self.lock();
        kept.rows[kept.written..].to_vec()
    }

    /// The next so many are on the disk.
    pub fn written(&self, rows: usize) {
        self.lock().written += rows;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Lists are whole even if a holder panicked: nothing here can stop halfway.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Decision ===

impl Decision {
    pub fn new(step: &'static str, choice: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { step, choice: choice.into(), reason: reason.into(), detail: Value::Null }
    }

    #[must_use]
    pub fn with(mut self, detail: impl Into<Value>) -> Self {
        self.detail = detail.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_written_once_and_has_its_own_time() {
        let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
        let clock = Clock::from_fn(move || {
            let ms = time.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            jiff::Timestamp::from_millisecond(ms).unwrap()
        });
        let trace = Trace::new(clock);
        trace.decide(Decision::new("agent", "helper", "it is the only one"));
        let begun = ToolBegun { call: "c1", tool: "post", agent: "helper", task: Some("a") };
        trace.tool_begun(begun);
        assert_eq!(trace.unwritten().len(), 2);
        trace.written(2);
        trace.tool(ToolUse {
            tool: "post".to_owned(),
            agent: "helper".to_owned(),
            task: Some("a".to_owned()),
            call: Some("c1".to_owned()),
            is_error: false,
            took_ms: 5,
        });
        let [row] = &trace.unwritten()[..] else { panic!("{:?}", trace.unwritten()) };
        assert_eq!((row.step.as_str(), row.reason.as_str(), row.at_ms), (TOOL, "it answered", 2));
        let detail: Value = serde_json::from_str(row.detail_json.as_ref().unwrap()).unwrap();
        let told = json!({"tool": "post", "agent": "helper", "task": "a", "call": "c1",
            "is_error": false, "took_ms": 5});
        assert_eq!(detail, told);
        assert_eq!(trace.told().tools.len(), 1);
    }
}
