//! A question to the user and what the next message means for it.
//!
//! Rules of dialogue systems: one question at a time, so many rounds and then the work goes ahead with what
//! is known; a message that says that it is about something else drops the question instead of being forced
//! into its answer. Every other one is an answer, however it begins: a model reads it together with the request
//! next, and can tell a new request from an answer where a list of words cannot.

use serde::{Deserialize, Serialize};

use crate::text::{cut, normalised};

/// What the question is for; each has its own number of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Direct,
    Brainstorm,
    Planning,
    Execution,
    Other,
}

/// How often may be asked, and how much of each text goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub direct: u32,
    pub brainstorm: u32,
    pub planning: u32,
    pub execution: u32,
    pub other: u32,
    pub message_bytes: usize,
    pub answer_bytes: usize,
}

/// A question that waits for its answer; all that a restart needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub kind: Kind,
    /// What the user asked for in the first place.
    pub message: String,
    pub question: String,
    /// Answers to choose from, if they can be listed.
    pub options: Vec<String>,
    /// So many questions were asked, this one included.
    pub rounds: u32,
    pub answered: Vec<Exchange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub question: String,
    pub answer: String,
}

/// The next message of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    pub text: &'a str,
    /// What was chosen in the widget of this very question; the caller compared the ids.
    pub pinned: Option<&'a str>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The same question once more, since nothing was said.
    Ask(State),
    /// The request with the answer is decided about again; [`State::ask`] if that needs another question.
    GoOn { state: State, message: String },
    /// No more rounds: the work goes ahead with what is known.
    TooManyRounds { message: String },
    /// The user wants no more of it.
    Cancelled,
    /// The message says that it is about something else.
    TopicSwitch,
}

const CANCEL: &[&str] = &[
    "cancel",
    "cancel it",
    "cancel that",
    "never mind",
    "nevermind",
    "forget it",
    "forget about it",
    "stop",
    "abort",
    "leave it",
    "abbrechen",
    "vergiss es",
    "lass es",
    "egal",
    "annuler",
    "laisse tomber",
    "cancelar",
    "olvídalo",
    "déjalo",
    "annulla",
    "lascia stare",
    "esquece",
    "отмена",
];
/// Beginnings that say that something new begins.
const SWITCH: &[&str] = &[
    "new topic",
    "different topic",
    "something else",
    "different question",
    "another question",
    "unrelated",
    "changing topic",
    "change of topic",
    "anderes thema",
    "andere frage",
    "autre question",
    "otra pregunta",
    "otro tema",
    "cambiando de tema",
];
impl Default for Limits {
    fn default() -> Self {
        Self {
            direct: 3,
            brainstorm: 10,
            planning: 7,
            execution: 3,
            other: 3,
            message_bytes: 16 * 1024,
            answer_bytes: 4 * 1024,
        }
    }
}

// === impl Limits ===

impl Limits {
    pub fn rounds(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Direct => self.direct,
            Kind::Brainstorm => self.brainstorm,
            Kind::Planning => self.planning,
            Kind::Execution => self.execution,
            Kind::Other => self.other,
        }
    }
}

// === impl State ===

impl State {
    /// The first question about a message; nothing when none may be asked.
    pub fn first(
        kind: Kind,
        message: &str,
        question: String,
        options: Vec<String>,
        limits: &Limits,
    ) -> Option<Self> {
        let message = cut(message, limits.message_bytes).0.to_owned();
        (limits.rounds(kind) > 0).then_some(Self {
            kind,
            message,
            question,
            options,
            rounds: 1,
            answered: Vec::new(),
        })
    }

    pub fn next(self, reply: &Reply<'_>, limits: &Limits) -> Next {
        if let Some(pinned) = reply.pinned.and_then(|value| self.option(value)) {
            return self.answer(&pinned, limits);
        }
        let text = reply.text.trim();
        if text.is_empty() {
            let question = self.question.clone();
            let options = self.options.clone();
            return self.ask(question, options, limits);
        }
        if let Some(chosen) = self.option(text).or_else(|| self.numbered(text)) {
            return self.answer(&chosen, limits);
        }
        if CANCEL.contains(&normalised(text).as_str()) {
            return Next::Cancelled;
        }
        if is_other_topic(text) {
            return Next::TopicSwitch;
        }
        self.answer(text, limits)
    }

    /// Another question about the same request, if there is a round left for it.
    pub fn ask(self, question: String, options: Vec<String>, limits: &Limits) -> Next {
        if self.rounds >= limits.rounds(self.kind) {
            let known = self.request();
            let message = format!(
                "{known}\n\nNo more questions can be asked. Go ahead with what is known, choose what is most \
                 likely, and say what was assumed."
            );
            return Next::TooManyRounds { message };
        }
        Next::Ask(Self { question, options, rounds: self.rounds + 1, ..self })
    }

    /// The request with all that was answered so far.
    pub fn request(&self) -> String {
        let mut parts = vec![self.message.clone()];
        for Exchange { question, answer } in &self.answered {
            parts.push(format!("Asked \"{question}\", the user answered: {answer}"));
        }
        parts.join("\n\n")
    }

    fn answer(mut self, answer: &str, limits: &Limits) -> Next {
        let answer = cut(answer, limits.answer_bytes).0.to_owned();
        self.answered.push(Exchange { question: self.question.clone(), answer });
        let message = self.request();
        Next::GoOn { state: self, message }
    }

    fn option(&self, value: &str) -> Option<String> {
        let value = normalised(value);
        self.options.iter().find(|option| normalised(option) == value).cloned()
    }

    /// `2` or `2.` for the second option.
    fn numbered(&self, text: &str) -> Option<String> {
        let number: usize = text.trim_end_matches(['.', ')']).parse().ok()?;
        self.options.get(number.checked_sub(1)?).cloned()
    }
}

// === private helpers ===

/// Whether a message says that it begins something else.
fn is_other_topic(text: &str) -> bool {
    let plain = normalised(text);
    SWITCH.iter().any(|start| {
        plain.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

#[cfg(test)]
mod tests;
