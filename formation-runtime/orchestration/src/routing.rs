//! Who answers: a scorer that always has an answer, and one question to a model that may know better.
//!
//! Invariants:
//! - Only candidates are ever chosen; whoever is not in the list cannot be told from a word.
//! - One question settles everything that is not the work itself, a plan included, so that a routed turn
//!   costs two calls and a workflow one a task and two.
//! - What the model answers is checked; where it does not hold, the scorer decides, and the decision says so.

mod cache;
mod mention;
mod question;
mod read;
mod score;
mod small_talk;

use std::hash::{DefaultHasher, Hash, Hasher};

pub use self::cache::{Cache, Key};
pub use self::mention::mention;
pub use self::question::{Asking, Question, question};
pub(crate) use self::question::{profiles, task_schema};
pub use self::read::{Fault, fallback, read};
pub(crate) use self::read::{plan_object, planned_tasks};
pub use self::score::{Scored, is_follow_up, score};
pub use self::small_talk::small_talk;
use crate::clarification::Kind;
use crate::graph::Plan;

/// An agent that may answer this caller. The first of a list is the one that answers when nothing speaks
/// for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Candidate {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `specialist`, `generalist` or another word of its maker.
    pub role: String,
    pub specialties: Vec<String>,
    pub keywords: Vec<String>,
    /// Names of the tools that it may use.
    pub tools: Vec<String>,
}

/// A written procedure that may be followed for this caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Procedure {
    pub id: String,
    pub name: String,
    pub description: String,
}

/// What is to be done with a message, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub route: Route,
    /// How big the request is, 0–10; nothing when nobody judged it.
    pub complexity: Option<f64>,
    /// At most five, in lower case, words joined by `-`.
    pub topics: Vec<String>,
    /// For people: who decided and on what grounds.
    pub because: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// Nothing is to be done; this is the answer.
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
    },
    /// The request cannot be handled before this is answered.
    Clarify {
        /// What it is asked for, which says how often may be asked.
        about: Kind,
        question: String,
        options: Vec<String>,
    },
}

/// How much is shown to the model and how much of its answer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The best of them by score, when there are more.
    pub candidates: usize,
    pub procedures: usize,
    pub tools_of_candidate: usize,
    pub description_bytes: usize,
    /// Of the persona, for the words that users read.
    pub voice_bytes: usize,
    pub history_bytes: usize,
    /// More of a model's answer is not read.
    pub reply_bytes: usize,
    /// A direct answer is a sentence or two; what is longer is work for an agent.
    pub direct_bytes: usize,
    pub question_bytes: usize,
    pub options: usize,
    pub option_bytes: usize,
    pub topics: usize,
    pub topic_bytes: usize,
    pub plan: crate::graph::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            candidates: 40,
            procedures: 40,
            tools_of_candidate: 12,
            description_bytes: 400,
            voice_bytes: 4_000,
            history_bytes: 6_000,
            reply_bytes: 64 * 1024,
            direct_bytes: 1_000,
            question_bytes: 1_000,
            options: 8,
            option_bytes: 120,
            topics: 5,
            topic_bytes: 40,
            plan: crate::graph::Limits::default(),
        }
    }
}

impl Route {
    /// One word for events and metadata.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Direct { .. } => "direct",
            Self::Agent { .. } => "agent",
            Self::Procedure { .. } => "procedure",
            Self::Workflow { .. } => "workflow",
            Self::Clarify { .. } => "clarify",
        }
    }
}

/// One number for all that a decision was made from besides the message.
fn fingerprint(candidates: &[Candidate], procedures: &[Procedure]) -> u64 {
    let mut hasher = DefaultHasher::new();
    candidates.hash(&mut hasher);
    procedures.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
