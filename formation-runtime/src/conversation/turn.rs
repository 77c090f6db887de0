//! One turn as a pure machine: what came in decides what is written down and what is told.
//!
//! Invariants: the end is written down ([`Effect::Save`]) before it is told; an answer is not complete
//! before its files are kept.

mod files;

use muxi_contract::ErrorCode;
use muxi_contract::formation::artifacts::ArtifactRef;
use muxi_formation::manifest::Response;
use muxi_llm::{FinishReason, ModelFile, Usage};

use self::files::Files;

/// What the caller learns, in order; the last one is an [`Answer`] or a [`Failure`].
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// What was said in the recordings of the question.
    Heard(String),
    /// The question is on the disk and the model is being asked.
    Asked,
    /// What the model says to itself; no part of the answer.
    Thinking(String),
    /// The next piece of the answer.
    Text(String),
    /// A file of the answer is kept.
    Artifact(ArtifactRef),
    /// Something of the answer is missing.
    Warning(String),
    Completed(Answer),
    Failed(Failure),
    /// Somebody asked for its end; the text is what there was.
    Cancelled(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// The text as the value that was asked for, if one was.
    pub structured: Option<serde_json::Value>,
    pub usage: Usage,
    /// `stop`, `length`, `content_filter` or the provider's word.
    pub finish_reason: String,
    /// The files that were made with it.
    pub artifacts: Vec<ArtifactRef>,
    /// What is missing of it.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The model could not answer, and whether the same request may work later.
    Model { message: String, retryable: bool },
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
    File(ModelFile),
    /// The model sent something that is no file.
    NoFile(String),
    /// What became of an [`Effect::Keep`].
    Kept(Result<ArtifactRef, String>),
    Finished {
        reason: FinishReason,
        usage: Option<Usage>,
        structured: Option<serde_json::Value>,
    },
    ModelFailed {
        message: String,
        retryable: bool,
    },
    NothingHeard,
    CallerLeft,
    Cancelled,
    Stopping,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Tell(Update),
    /// Keep the file, which is the answer's file of this number, and say what became of it.
    Keep(usize, ModelFile),
    Save(End),
}

/// How the turn is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub outcome: muxi_memory::Outcome,
    pub text: String,
    /// As far as providers told it.
    pub usage: Usage,
    pub untold: Untold,
    pub artifacts: Vec<ArtifactRef>,
    pub warnings: Vec<String>,
}

/// How much an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    pub text_bytes: usize,
    pub files: usize,
}

/// Calls that ended before their providers told what they used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Untold {
    pub calls: u32,
    /// What was said and thought in them.
    pub said_bytes: usize,
}

/// A turn whose model is answering.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    text: String,
    thought_bytes: usize,
    /// Of answers that did not fit.
    used_before: Usage,
    untold: Untold,
    /// A model is asked, and it did not say yet what that took.
    is_asking: bool,
    files: Files,
    /// The model has said everything, and its files are still being kept.
    said: Option<Said>,
    over: bool,
    limits: AnswerLimits,
}

/// What the model said at its end.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    reason: FinishReason,
    structured: Option<serde_json::Value>,
}

// === impl Update ===

impl Update {
    /// Whether the formation's streams tell it.
    pub const fn is_shown(&self, by: Response) -> bool {
        match self {
            // Files and warnings are in the last update, too.
            Self::Heard(_)
            | Self::Asked
            | Self::Thinking(_)
            | Self::Artifact(_)
            | Self::Warning(_) => by.progress,
            Self::Text(_) => by.stream_tokens,
            Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_) => true,
        }
    }

    /// Whether nothing follows it.
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Heard(_)
            | Self::Asked
            | Self::Thinking(_)
            | Self::Text(_)
            | Self::Artifact(_)
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
            used_before: Usage::default(),
            untold: Untold::default(),
            is_asking: false,
            files: Files::default(),
            said: None,
            over: false,
            limits,
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A call of the model begins.
    pub fn asks(&mut self) {
        self.is_asking = true;
    }

    /// The answer so far is thrown away, since another is needed; what it used counts.
    pub fn begin_again(&mut self, used: Option<Usage>) {
        self.count(used);
        self.text.clear();
        self.thought_bytes = 0;
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the model has nothing more to say.
    pub fn is_said(&self) -> bool {
        self.said.is_some()
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
                self.step(Event::ModelFailed { message, retryable: false })
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
            Event::Kept(result) => {
                let mut effects = vec![self.files.kept(result)];
                effects.extend(self.complete());
                effects
            }
            Event::Finished { reason, usage, structured } => {
                self.count(usage);
                self.said = Some(Said { reason, structured });
                self.complete()
            }
            Event::ModelFailed { message, retryable } => {
                self.fail(Failure::Model { message, retryable })
            }
            Event::NothingHeard => self.fail(Failure::NothingHeard),
            Event::CallerLeft => {
                self.count(None);
                self.end(Outcome::Cancelled, None)
            }
            Event::Cancelled => {
                self.count(None);
                let told = Update::Cancelled(self.text.clone());
                self.end(Outcome::Cancelled, Some(told))
            }
            Event::Stopping => {
                self.count(None);
                self.end(Outcome::Interrupted, Some(Update::Failed(Failure::Stopping)))
            }
        }
    }

    /// Ends the turn if the model has said everything and all files are kept.
    fn complete(&mut self) -> Vec<Effect> {
        let Some(Said { reason, structured }) = self.said.take_if(|_| self.files.are_kept()) else {
            return Vec::new();
        };
        let answer = Answer {
            text: self.text.clone(),
            structured,
            usage: self.used_before,
            finish_reason: word(reason),
            artifacts: self.files.artifacts.clone(),
            warnings: self.files.warnings.clone(),
        };
        self.end(muxi_memory::Outcome::Completed, Some(Update::Completed(answer)))
    }

    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.count(None);
        self.end(failure.outcome(), Some(Update::Failed(failure)))
    }

    /// A call is over; `None` if its provider did not tell what it used.
    fn count(&mut self, used: Option<Usage>) {
        if !std::mem::take(&mut self.is_asking) {
            return;
        }
        if let Some(used) = used {
            self.used_before = self.used_before.plus(used);
        } else {
            self.untold.calls += 1;
            self.untold.said_bytes += self.said_bytes();
        }
    }

    fn said_bytes(&self) -> usize {
        self.text.len() + self.thought_bytes
    }

    fn end(&mut self, outcome: muxi_memory::Outcome, told: Option<Update>) -> Vec<Effect> {
        self.over = true;
        let text = std::mem::take(&mut self.text);
        let (usage, untold) = (self.used_before, self.untold);
        let Files { artifacts, warnings, .. } = std::mem::take(&mut self.files);
        let end = End { outcome, text, usage, untold, artifacts, warnings };
        let mut effects = vec![Effect::Save(end)];
        effects.extend(told.map(Effect::Tell));
        effects
    }
}

// === private helpers ===

fn word(reason: FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop".to_owned(),
        FinishReason::Length => "length".to_owned(),
        FinishReason::ToolCalls => "tool_calls".to_owned(),
        FinishReason::ContentFilter => "content_filter".to_owned(),
        FinishReason::Other(word) => word,
    }
}

#[cfg(test)]
mod tests {
    use muxi_memory::Outcome;

    use super::*;

    fn saved(effects: &[Effect]) -> (&Outcome, &str) {
        match &effects[0] {
            Effect::Save(end) => (&end.outcome, &end.text),
            other @ (Effect::Tell(_) | Effect::Keep(..)) => {
                panic!("done before it was saved: {other:?}")
            }
        }
    }

    fn after_two_words() -> Turn {
        let mut turn = Turn::new(AnswerLimits { text_bytes: 100, files: 2 });
        turn.asks();
        for word in ["Once ", "upon"] {
            let told = Effect::Tell(Update::Text(word.to_owned()));
            assert_eq!(turn.step(Event::Text(word.to_owned())), [told]);
        }
        turn
    }

    #[test]
    fn every_end_is_saved_first_and_with_the_text_that_there_was() {
        let usage = Usage { prompt_tokens: 5, completion_tokens: 2 };
        let failed = Event::ModelFailed { message: "HTTP 500".to_owned(), retryable: true };
        let ends = [
            (
                Event::Finished {
                    reason: FinishReason::Stop,
                    usage: Some(usage),
                    structured: None,
                },
                true,
            ),
            (failed, true),
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
        let effects = turn.step(Event::Finished {
            reason: FinishReason::Length,
            usage: None,
            structured: None,
        });
        let answer = Answer {
            text: "Once upon".to_owned(),
            structured: None,
            usage: Usage::default(),
            finish_reason: "length".to_owned(),
            artifacts: Vec::new(),
            warnings: Vec::new(),
        };
        assert_eq!(effects[1], Effect::Tell(Update::Completed(answer)));
    }

    #[test]
    fn what_is_thought_is_told_and_is_no_part_of_the_answer() {
        let mut turn = after_two_words();
        let thought = || "Hm. ".to_owned();
        let told = turn.step(Event::Thinking(thought()));
        assert_eq!(told, [Effect::Tell(Update::Thinking(thought()))]);
        let effects = turn.step(Event::Cancelled);
        let Effect::Save(end) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(
            (end.text.as_str(), end.untold),
            ("Once upon", Untold { calls: 1, said_bytes: 13 })
        );
        let mut turn = after_two_words();
        let effects = turn.step(Event::Thinking("x".repeat(92)));
        assert!(matches!(saved(&effects), (Outcome::Failed { .. }, "Once upon")));
    }
}
