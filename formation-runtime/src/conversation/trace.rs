//! Why a turn did what it did: kept with its request, and told in its answer.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// What one turn decided and did.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Told>);

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

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolUse {
    pub tool: String,
    pub agent: String,
    pub is_error: bool,
    pub took_ms: u64,
}

/// More decisions of one turn are not kept.
const DECISIONS_MAX: usize = 100;
const TOOLS_MAX: usize = 200;

// === impl Trace ===

impl Trace {
    pub fn decide(&self, decision: Decision) {
        let mut told = self.lock();
        if told.decisions.len() < DECISIONS_MAX {
            told.decisions.push(decision);
        }
    }

    pub fn agent(&self, id: &str) {
        let mut told = self.lock();
        if !told.agents.iter().any(|it| it == id) {
            told.agents.push(id.to_owned());
        }
    }

    pub fn tool(&self, used: ToolUse) {
        let mut told = self.lock();
        if told.tools.len() < TOOLS_MAX {
            told.tools.push(used);
        }
    }

    pub fn taint(&self, is_tainted: bool) {
        self.lock().is_tainted |= is_tainted;
    }

    pub fn warn(&self, why: String) {
        let mut told = self.lock();
        if !told.warnings.contains(&why) {
            told.warnings.push(why);
        }
    }

    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        // Lists are whole even if a holder panicked: nothing here can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
