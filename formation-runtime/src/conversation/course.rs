//! Which way a turn goes: a pure machine that is told facts one after another and asks for the next.
//!
//! The order is a contract: what the session waits for, an agent that the caller names, a procedure, the
//! only agent, and then one call that routes. Each choice is a [`Decision`] with its reason.

use muxi_orchestration::clarification::Kind;
use muxi_orchestration::graph::Plan;
use muxi_orchestration::routing::Route;
use serde_json::{Value, json};

use super::trace::Decision;

/// What is known before any model is asked.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    /// The agent that the request names.
    pub explicit_agent: Option<String>,
    /// The agent that the message begins with (`@agent`).
    pub mentioned_agent: Option<String>,
    /// The procedure that the message begins with (`/name`).
    pub named_procedure: Option<String>,
    /// Whether there are procedures to compare the message with.
    pub has_procedures: bool,
    /// Agents that may answer, the best first, with how well they fit.
    pub ranked: Vec<Ranked>,
    /// Nothing but a greeting or thanks.
    pub is_small_talk: bool,
    /// What the routing call said to the same question not long ago.
    pub remembered: Option<Route>,
    /// Several agents may work on one message.
    pub may_decompose: bool,
    /// There is somebody who can be asked back.
    pub may_ask: bool,
    pub complexity_threshold: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    pub agent: String,
    pub score: f64,
    pub because: String,
}

/// A procedure that the message may be about.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    pub procedure: String,
    pub score: f64,
    pub threshold: f64,
    /// `embedding` or `lexical`.
    pub method: &'static str,
}

/// What the routing call said, with the complexity as the formation's method counts it.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    pub route: Route,
    pub complexity: f64,
    pub complexity_because: String,
    pub topics: Vec<String>,
    pub because: String,
}

/// What has to happen next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    MatchProcedure,
    Route,
    Go(Way),
}

/// What the turn does.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// The words are there already.
    Direct {
        answer: String,
    },
    Agent {
        id: String,
    },
    Procedure {
        id: String,
    },
    Workflow {
        plan: Plan,
        complexity: f64,
    },
    Clarify {
        about: Kind,
        question: String,
        options: Vec<String>,
    },
    /// Nobody may answer.
    Nobody,
}

/// The machine.
#[derive(Debug)]
pub struct Course {
    facts: Facts,
    has_matched: bool,
    decisions: Vec<Decision>,
}

// === impl Course ===

impl Course {
    pub fn new(facts: Facts) -> Self {
        Self { facts, has_matched: false, decisions: Vec::new() }
    }

    /// What was decided since this was asked last.
    pub fn take_decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decisions)
    }

    pub fn step(&mut self) -> Step {
        let facts = &self.facts;
        if let Some(agent) = facts.explicit_agent.clone() {
            return self.go_to(&agent, "the request names this agent");
        }
        if let Some(agent) = facts.mentioned_agent.clone() {
            return self.go_to(&agent, "the message begins with this agent's name");
        }
        if let Some(procedure) = facts.named_procedure.clone() {
            let reason = "the message begins with this procedure's name";
            self.decide(Decision::new("procedure", procedure.as_str(), reason));
            return Step::Go(Way::Procedure { id: procedure });
        }
        if facts.has_procedures && !self.has_matched && !facts.is_small_talk {
            return Step::MatchProcedure;
        }
        match &facts.ranked[..] {
            [] => Step::Go(Way::Nobody),
            [only] => {
                let only = only.agent.clone();
                self.go_to(&only, "it is the only agent that may answer")
            }
            [best, ..] if !facts.may_decompose => {
                let (agent, because) = (best.agent.clone(), best.because.clone());
                self.go_to(
                    &agent,
                    &format!("one agent answers always, and it fits best: {because}"),
                )
            }
            _ => match facts.remembered.clone() {
                Some(Route::Agent { id }) => {
                    self.go_to(&id, "the same question was routed to this agent before")
                }
                Some(Route::Procedure { id }) => {
                    let reason = "the same question was routed to this procedure before";
                    self.decide(Decision::new("procedure", id.as_str(), reason));
                    Step::Go(Way::Procedure { id })
                }
                Some(Route::Direct { .. } | Route::Workflow { .. } | Route::Clarify { .. })
                | None => Step::Route,
            },
        }
    }

    /// The best match, if anything was like the message at all.
    pub fn matched(&mut self, best: Option<&Matched>) -> Step {
        self.has_matched = true;
        let Some(best) = best else {
            self.decide(Decision::new("procedure", "none", "no procedure is like the message"));
            return self.step();
        };
        let Matched { procedure, score, threshold, method } = best;
        let detail = json!({
            "procedure": procedure, "score": score, "threshold": threshold, "method": method,
        });
        if score < threshold {
            let reason = format!("the best match scores {score:.2}, less than {threshold:.2}");
            self.decide(Decision::new("procedure", "none", reason).with(detail));
            return self.step();
        }
        let reason = format!("its {method} match scores {score:.2} of at least {threshold:.2}");
        self.decide(Decision::new("procedure", procedure.as_str(), reason).with(detail));
        Step::Go(Way::Procedure { id: procedure.clone() })
    }

    /// What the routing call said, or why it said nothing that can be used.
    pub fn routed(&mut self, routed: Result<Routed, String>) -> Step {
        let Routed { route, complexity, complexity_because, topics, because } = match routed {
            Ok(routed) => routed,
            Err(fault) => return self.go_to_best(&fault),
        };
        let threshold = self.facts.complexity_threshold;
        let reason = format!(
            "{complexity:.1} of 10 ({complexity_because}); from {threshold:.1} on several agents work"
        );
        let detail = json!({"complexity": complexity, "threshold": threshold, "topics": topics});
        let word = if complexity >= threshold { "several steps" } else { "one step" };
        self.decide(Decision::new("complexity", word, reason).with(detail));
        match route {
            Route::Direct { answer } => {
                self.decide(Decision::new(
                    "agent",
                    "none",
                    format!("no agent is needed: {because}"),
                ));
                Step::Go(Way::Direct { answer })
            }
            Route::Clarify { about, question, options } if self.facts.may_ask => {
                self.decide(Decision::new("clarification", "asked", because));
                Step::Go(Way::Clarify { about, question, options })
            }
            Route::Workflow { plan } if complexity >= threshold => {
                let tasks = plan.tasks().len();
                let reason = format!("the message was split into {tasks} tasks: {because}");
                self.decide(Decision::new("plan", "workflow", reason));
                Step::Go(Way::Workflow { plan, complexity })
            }
            Route::Agent { id } => self.go_to(&id, &because),
            Route::Procedure { id } => {
                self.decide(Decision::new("procedure", id.as_str(), because));
                Step::Go(Way::Procedure { id })
            }
            Route::Clarify { .. } => self.go_to_best("nobody is there to be asked back"),
            Route::Workflow { .. } => self.go_to_best("one agent is enough for it"),
        }
    }

    fn go_to_best(&mut self, why: &str) -> Step {
        let Some(best) = self.facts.ranked.first().cloned() else {
            return Step::Go(Way::Nobody);
        };
        self.go_to(&best.agent, &format!("{why}; it fits best: {}", best.because))
    }

    fn go_to(&mut self, agent: &str, reason: &str) -> Step {
        let ranked = self.facts.ranked.iter();
        let scores: Vec<Value> = ranked
            .map(|it| json!({"agent": it.agent, "score": it.score, "because": it.because}))
            .collect();
        let detail = if scores.len() > 1 { json!({"candidates": scores}) } else { Value::Null };
        self.decide(Decision::new("agent", agent, reason).with(detail));
        Step::Go(Way::Agent { id: agent.to_owned() })
    }

    fn decide(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }
}

#[cfg(test)]
mod tests;
