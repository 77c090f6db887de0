//! The answer of one turn as a pure machine: what came in decides what is written down and what is told.
//! [`course`](super::course) decides before it who answers, and [`tool_loop`](super::tool_loop) what an
//! agent does on the way.
//!
//! Invariants: the end is written down ([`Effect::Save`]) before it is told; an answer is not complete
//! before its files are kept.

mod files;
mod widgets;

use std::time::Duration;

use muxi_contract::ErrorCode;
use muxi_contract::formation::artifacts::ArtifactRef;
use muxi_formation::manifest::Response;
use muxi_llm::{ModelFile, Usage};
use serde_json::{Map, Value};

use self::files::Files;
use self::widgets::Widgets;
use super::trace::Told;
use super::waiting::Waits;

/// What the caller learns, in order; the last one is an [`Answer`] or a [`Failure`].
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// What was said in the recordings of the question.
    Heard(String),
    /// The question is on the disk and this agent's model is being asked.
    Asked {
        agent: String,
        name: String,
    },
    /// What is being done, at which stage.
    Progress {
        stage: &'static str,
        message: String,
        more: Map<String, Value>,
    },
    /// The same of how the work is divided.
    Planning {
        stage: &'static str,
        message: String,
        more: Map<String, Value>,
    },
    /// The same of a call of a tool.
    ToolCall {
        stage: &'static str,
        message: String,
        more: Map<String, Value>,
    },
    /// What the model says to itself; no part of the answer.
    Thinking(String),
    /// The next piece of the answer.
    Text(String),
    /// A file of the answer is kept.
    Artifact(ArtifactRef),
    /// Something of the answer is missing.
    Warning(String),
    /// Something for the caller's screen.
    Widget(Value),
    /// Boxed: queues keep room for many updates, nearly all of them a few words.
    Completed(Box<Answer>),
    Failed(Failure),
    /// Somebody asked for its end; the text is what there was.
    Cancelled(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    /// The text as the value that was asked for, if one was.
    pub structured: Option<Value>,
    /// `stop`, `length`, `content_filter`, `waiting` or the provider's word.
    pub finish_reason: String,
    /// The files that were made with it.
    pub artifacts: Vec<ArtifactRef>,
    /// Things for the caller's screen.
    pub widgets: Vec<Value>,
    /// What is missing of it.
    pub warnings: Vec<String>,
    /// What the next message of the session is expected to answer.
    pub waits: Option<Waits>,
    /// Who answered, and how it came to that.
    pub about: About,
}

/// Who answered, and how it came to that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Empty if no agent had a part in it.
    pub agent: String,
    /// `provider/model` of the last words; empty if no model had a part in them.
    pub model: String,
    pub usage: Usage,
    /// What each call of a model was for.
    pub calls: Vec<&'static str>,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The model could not answer, and whether the same request may work later.
    Model { message: String, retryable: bool },
    /// Nobody may answer.
    Nobody,
    /// There are no words in the recordings of the question.
    NothingHeard,
    /// The memory refused, so the answer would have been lost; one that is gone refuses for ever.
    Memory { is_gone: bool },
    /// Nothing is left of a budget; no model is asked until the seconds are over.
    Budget { message: String, seconds: u32 },
    /// This process is stopping.
    Stopping,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Text(String),
    Thinking(String),
    File(MadeFile),
    /// The model sent something that is no file.
    NoFile(String),
    Widget(Value),
    /// Told to the caller, and no part of the answer.
    Note(Update),
    /// What was said is thrown away, since another answer is needed.
    BeginAgain,
    /// The way that was chosen takes longer than a plain answer.
    MoreTime(Duration),
    /// What became of an [`Effect::Keep`].
    Kept(Result<ArtifactRef, String>),
    Finished(Finish),
    Failed(Failure),
    CallerLeft,
    Cancelled,
    Stopping,
}

/// A file of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeFile {
    /// Models name no files; tools do.
    pub name: Option<String>,
    pub file: ModelFile,
}

/// How the work on an answer came to its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finish {
    /// `stop`, `length`, `content_filter`, `waiting` or the provider's word.
    pub reason: String,
    pub structured: Option<Value>,
    pub waits: Option<Waits>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Tell(Update),
    /// Keep the file, which is the answer's file of this number, and say what became of it.
    Keep(usize, MadeFile),
    /// From now on this much time is left.
    MoreTime(Duration),
    Save(End),
}

/// How the turn is to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub outcome: muxi_memory::Outcome,
    pub text: String,
    pub artifacts: Vec<ArtifactRef>,
    pub warnings: Vec<String>,
    pub waits: Option<Waits>,
}

/// How much an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    pub text_bytes: usize,
    pub files: usize,
}

/// A turn whose answer is being made.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    text: String,
    thought_bytes: usize,
    files: Files,
    widgets: Widgets,
    /// Everything is said, and its files are still being kept.
    finish: Option<Finish>,
    over: bool,
    limits: AnswerLimits,
}

// === impl Update ===

impl Update {
    /// Whether the formation's streams tell it.
    pub const fn is_shown(&self, by: Response) -> bool {
        match self {
            // Files and warnings are in the last update, too.
            Self::Heard(_)
            | Self::Asked { .. }
            | Self::Progress { .. }
            | Self::Planning { .. }
            | Self::ToolCall { .. }
            | Self::Thinking(_)
            | Self::Artifact(_)
            | Self::Warning(_) => by.progress,
            Self::Widget(_) => by.widgets,
            Self::Text(_) => by.streams_pieces(),
            Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_) => true,
        }
    }

    /// Whether nothing follows it.
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Heard(_)
            | Self::Asked { .. }
            | Self::Progress { .. }
            | Self::Planning { .. }
            | Self::ToolCall { .. }
            | Self::Thinking(_)
            | Self::Text(_)
            | Self::Artifact(_)
            | Self::Widget(_)
            | Self::Warning(_) => false,
            Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_) => true,
        }
    }
}

// === impl Failure ===

impl Failure {
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Model { .. } => ErrorCode::LlmError,
            Self::Nobody => ErrorCode::AgentNotFound,
            Self::NothingHeard => ErrorCode::UnprocessableEntity,
            Self::Budget { .. } => ErrorCode::BudgetExceeded,
            Self::Memory { is_gone: false } => ErrorCode::InternalError,
            Self::Memory { is_gone: true } | Self::Stopping => ErrorCode::ServiceUnavailable,
        }
    }

    /// As it is remembered.
    pub fn outcome(&self) -> muxi_memory::Outcome {
        muxi_memory::Outcome::Failed { error: self.to_string(), code: self.code() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Model { message, .. } | Self::Budget { message, .. } => message,
            Self::Nobody => "there is no agent that may answer",
            Self::NothingHeard => "no words were heard in what was sent",
            Self::Memory { .. } => "the conversation could not be written down",
            Self::Stopping => "the formation is stopping",
        })
    }
}

// === impl Turn ===

impl Turn {
    pub fn new(limits: AnswerLimits) -> Self {
        Self {
            text: String::new(),
            thought_bytes: 0,
            files: Files::default(),
            widgets: Widgets::default(),
            finish: None,
            over: false,
            limits,
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What follows from the event; nothing follows once the turn is over.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        use muxi_memory::Outcome;

        if self.over {
            return Vec::new();
        }
        match event {
            Event::Text(text) | Event::Thinking(text)
                if self.said_bytes() + text.len() > self.limits.text_bytes =>
            {
                let message = format!("the answer has more than {} bytes", self.limits.text_bytes);
                self.fail(Failure::Model { message, retryable: false })
            }
            Event::Text(text) => {
                self.text.push_str(&text);
                vec![Effect::Tell(Update::Text(text))]
            }
            Event::Thinking(text) => {
                self.thought_bytes += text.len();
                vec![Effect::Tell(Update::Thinking(text))]
            }
            Event::File(file) => self.files.came(file, self.limits.files).into_iter().collect(),
            Event::NoFile(why) => vec![self.files.warn(why)],
            Event::Widget(widget) => match self.widgets.came(widget) {
                Ok(widget) => vec![Effect::Tell(Update::Widget(widget))],
                Err(why) => vec![self.files.warn(why)],
            },
            Event::Note(update) => vec![Effect::Tell(update)],
            Event::BeginAgain => {
                self.text.clear();
                self.thought_bytes = 0;
                Vec::new()
            }
            Event::MoreTime(time) => vec![Effect::MoreTime(time)],
            Event::Kept(result) => {
                let mut effects = vec![self.files.kept(result)];
                effects.extend(self.complete());
                effects
            }
            Event::Finished(finish) => {
                self.finish = Some(finish);
                self.complete()
            }
            Event::Failed(failure) => self.fail(failure),
            Event::CallerLeft => self.end(Outcome::Cancelled, None),
            Event::Cancelled => {
                let told = Update::Cancelled(self.text.clone());
                self.end(Outcome::Cancelled, Some(told))
            }
            Event::Stopping => {
                self.end(Outcome::Interrupted, Some(Update::Failed(Failure::Stopping)))
            }
        }
    }

    /// Ends the turn if everything is said and all files are kept.
    fn complete(&mut self) -> Vec<Effect> {
        let Some(finish) = self.finish.take_if(|_| self.files.are_kept()) else {
            return Vec::new();
        };
        let Finish { reason, structured, waits } = finish;
        let outcome = if waits.is_some() {
            muxi_memory::Outcome::Waiting
        } else {
            muxi_memory::Outcome::Completed
        };
        let answer = Answer {
            text: self.text.clone(),
            structured,
            finish_reason: reason,
            artifacts: self.files.artifacts.clone(),
            widgets: std::mem::take(&mut self.widgets).all(),
            warnings: self.files.warnings.clone(),
            waits: waits.clone(),
            about: About::default(),
        };
        let mut effects = self.end(outcome, Some(Update::Completed(Box::new(answer))));
        if let Some(Effect::Save(end)) = effects.first_mut() {
            end.waits = waits;
        }
        effects
    }

    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.end(failure.outcome(), Some(Update::Failed(failure)))
    }

    fn said_bytes(&self) -> usize {
        self.text.len() + self.thought_bytes
    }

    fn end(&mut self, outcome: muxi_memory::Outcome, told: Option<Update>) -> Vec<Effect> {
        self.over = true;
        let text = std::mem::take(&mut self.text);
        let Files { artifacts, warnings, .. } = std::mem::take(&mut self.files);
        let mut effects =
            vec![Effect::Save(End { outcome, text, artifacts, warnings, waits: None })];
        effects.extend(told.map(Effect::Tell));
        effects
    }
}

#[cfg(test)]
mod tests {
    use muxi_memory::Outcome;

    use super::*;

    fn saved(effects: &[Effect]) -> (&Outcome, &str) {
        match &effects[0] {
            Effect::Save(end) => (&end.outcome, &end.text),
            other @ (Effect::Tell(_) | Effect::Keep(..) | Effect::MoreTime(_)) => {
                panic!("done before it was saved: {other:?}")
            }
        }
    }

    fn after_two_words() -> Turn {
        let mut turn = Turn::new(AnswerLimits { text_bytes: 100, files: 2 });
        for word in ["Once ", "upon"] {
            let told = Effect::Tell(Update::Text(word.to_owned()));
            assert_eq!(turn.step(Event::Text(word.to_owned())), [told]);
        }
        turn
    }

    #[test]
    fn every_end_is_saved_first_and_with_the_text_that_there_was() {
        let failure = Failure::Model { message: "HTTP 500".to_owned(), retryable: true };
        let ends = [
            (Event::Finished(Finish::default()), true),
            (Event::Failed(failure), true),
            (Event::Stopping, true),
            (Event::CallerLeft, false),
            (Event::Cancelled, true),
        ];
        let outcomes: Vec<_> = ends
            .into_iter()
            .map(|(event, is_told)| {
                let mut turn = after_two_words();
                let effects = turn.step(event);
                assert_eq!(effects.len(), 1 + usize::from(is_told));
                assert_eq!(saved(&effects).1, "Once upon");
                assert!(turn.is_over());
                assert!(turn.step(Event::Text("late".to_owned())).is_empty());
                saved(&effects).0.clone()
            })
            .collect();
        let error = "HTTP 500".to_owned();
        assert_eq!(
            outcomes,
            [
                Outcome::Completed,
                Outcome::Failed { error, code: ErrorCode::LlmError },
                Outcome::Interrupted,
                Outcome::Cancelled,
                Outcome::Cancelled
            ]
        );
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let mut turn = after_two_words();
        let effects = turn.step(Event::Text("x".repeat(92)));
        assert!(matches!(saved(&effects), (Outcome::Failed { .. }, "Once upon")));
        let told = &effects[1];
        assert!(matches!(told, Effect::Tell(Update::Failed(Failure::Model { .. }))), "{told:?}");
    }

    #[test]
    fn the_answer_is_whole() {
        let mut turn = after_two_words();
        let finish = Finish { reason: "length".to_owned(), ..Finish::default() };
        let effects = turn.step(Event::Finished(finish));
        let Effect::Tell(Update::Completed(answer)) = &effects[1] else { panic!("{effects:?}") };
        assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), ("Once upon", "length"));
    }

    #[test]
    fn a_turn_that_waits_is_neither_complete_nor_failed() {
        let mut turn = after_two_words();
        let waits = Waits {
            id: "apv_1".to_owned(),
            kind: muxi_memory::PendingKind::Approval,
            shown: serde_json::json!({}),
            state: String::new(),
        };
        let finish = Finish { waits: Some(waits.clone()), ..Finish::default() };
        let effects = turn.step(Event::Finished(finish));
        let Effect::Save(end) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!((&end.outcome, &end.waits), (&Outcome::Waiting, &Some(waits)));
    }

    #[test]
    fn an_answer_that_is_asked_for_again_begins_anew() {
        let mut turn = after_two_words();
        turn.step(Event::BeginAgain);
        let effects = turn.step(Event::Finished(Finish::default()));
        assert_eq!(saved(&effects).1, "");
    }

    #[test]
    fn what_is_thought_is_told_and_is_no_part_of_the_answer() {
        let mut turn = after_two_words();
        let thought = || "Hm. ".to_owned();
        let told = turn.step(Event::Thinking(thought()));
        assert_eq!(told, [Effect::Tell(Update::Thinking(thought()))]);
        let effects = turn.step(Event::Cancelled);
        assert_eq!(saved(&effects).1, "Once upon");
        let mut turn = after_two_words();
        let effects = turn.step(Event::Thinking("x".repeat(92)));
        assert!(matches!(saved(&effects), (Outcome::Failed { .. }, "Once upon")));
    }
}
