//! What was found, a line each.

use console::Style;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::terminal::Terminal;
use crate::terminal::format::one_line;

#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

#[derive(Debug)]
pub(super) struct Finding {
    state: State,
    what: &'static str,
    text: String,
    mends: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Right,
    Unsure,
    Wrong,
}

// === impl Findings ===

impl Findings {
    pub(super) fn right(&mut self, what: &'static str, text: impl Into<String>) -> &mut Finding {
        self.found(State::Right, what, text.into())
    }

    pub(super) fn unsure(&mut self, what: &'static str, text: impl Into<String>) -> &mut Finding {
        self.found(State::Unsure, what, text.into())
    }

    pub(super) fn wrong(&mut self, what: &'static str, text: impl Into<String>) -> &mut Finding {
        self.found(State::Wrong, what, text.into())
    }

    pub(super) fn fault(&mut self, what: &'static str, fault: &Fault) {
        let told = fault.to_json();
        let finding = self.wrong(what, fault.message());
        for mend in told["error"]["mend"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            finding.mend(mend);
        }
    }

    pub(super) fn has_wrong(&self) -> bool {
        self.0.iter().any(|it| it.state == State::Wrong)
    }

    pub(super) fn to_text(&self, terminal: &Terminal) -> String {
        let width = self.0.iter().map(|it| it.what.len()).max().unwrap_or_default();
        let mut text = String::new();
        for Finding { state, what, text: told, mends } in &self.0 {
            let mark = match state {
                State::Right => terminal.tick(),
                State::Unsure => Style::new().yellow().apply_to("!").to_string(),
                State::Wrong => terminal.cross(),
            };
            text += &format!("{mark} {what:width$}  {}\n", one_line(told));
            for mend in mends {
                text += &format!("  {:width$}  → {mend}\n", "");
            }
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let finding = |it: &Finding| {
            let state = match it.state {
                State::Right => "right",
                State::Unsure => "unsure",
                State::Wrong => "wrong",
            };
            json!({"what": it.what, "state": state, "text": it.text, "mend": it.mends})
        };
        json!({"findings": self.0.iter().map(finding).collect::<Vec<_>>(), "healthy": !self.has_wrong()})
    }

    fn found(&mut self, state: State, what: &'static str, text: String) -> &mut Finding {
        self.0.push(Finding { state, what, text, mends: Vec::new() });
        self.0.last_mut().expect("just pushed")
    }
}

// === impl Finding ===

impl Finding {
    pub(super) fn mend(&mut self, mend: impl Into<String>) -> &mut Self {
        self.mends.push(mend.into());
        self
    }
}
