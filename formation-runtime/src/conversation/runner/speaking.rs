//! One call of a model, passed on piece by piece.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use muxi_llm::{Chunk, CompletionRequest, FinishReason, LlmError, Message, ToolCall, ToolSpec};
use tokio::sync::mpsc;

use super::running::{Running, chain};
use crate::agents::Model;
use crate::conversation::ledger::{AskedFor, Purpose};
use crate::conversation::turn::{Event, Failure, MadeFile, Update};

/// Where the pieces of an answer go.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    said: mpsc::Sender<Event>,
    /// Whether words go there, too: those of a part of a plan do not.
    speaks: bool,
    /// The part of a plan that they are of.
    part: Option<Part>,
}

/// A task of a plan, over all its attempts.
#[derive(Debug, Clone)]
pub(super) struct Part {
    task: Arc<str>,
    /// The tools that were called for it, by whichever agent, and may have changed something.
    changed_by: Arc<Mutex<Vec<String>>>,
}

/// What a model is asked.
pub(super) struct Asked<'a> {
    pub(super) model: &'a Model,
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<ToolSpec>,
    /// Whether a model that takes no tools is of no use.
    pub(super) needs_tools: bool,
    pub(super) shape: Option<std::sync::Arc<serde_json::Value>>,
    pub(super) purpose: Purpose,
    /// In whose name; the formation itself is [`OVERLORD`](crate::conversation::ledger::OVERLORD).
    pub(super) agent: &'a str,
}

/// What it said.
pub(super) struct Spoken {
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) reason: FinishReason,
}

// === impl Stage ===

impl Stage {
    pub(super) fn new(said: mpsc::Sender<Event>) -> Self {
        Self { said, speaks: true, part: None }
    }

    /// The same without the words.
    pub(super) fn silent(&self) -> Self {
        Self { speaks: false, ..self.clone() }
    }

    /// The same for the work on a part of a plan.
    pub(super) fn of_part(&self, part: Part) -> Self {
        Self { part: Some(part), ..self.clone() }
    }

    /// The task of a plan that the work is for.
    pub(super) fn task(&self) -> Option<&str> {
        self.part.as_ref().map(|part| &*part.task)
    }

    /// A call that may change something is about to be made.
    pub(super) fn may_change(&self, tool: &str) {
        if let Some(part) = &self.part {
            let mut changed_by = part.lock();
            if !changed_by.iter().any(|it| it == tool) {
                changed_by.push(tool.to_owned());
            }
        }
    }

    /// Waits while the reader is slow.
    pub(super) async fn send(&self, event: Event) {
        let is_words = matches!(event, Event::Text(_) | Event::Thinking(_) | Event::BeginAgain);
        if self.speaks || !is_words {
            // Its reader goes only with the work itself.
            drop(self.said.send(event).await);
        }
    }

    pub(super) async fn note(&self, update: Update) {
        self.send(Event::Note(update)).await;
    }
}

// === impl Part ===

impl Part {
    pub(super) fn new(task: &str) -> Self {
        Self { task: task.into(), changed_by: Arc::default() }
    }

    pub(super) fn changed_by(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A list is whole even if a holder panicked: nothing here can stop halfway.
        self.changed_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Running ===

impl Running {
    /// Dropping it ends the call, whether the model has begun to answer or not.
    pub(super) async fn speak(&self, asked: Asked<'_>, stage: &Stage) -> Result<Spoken, Failure> {
        let Asked { model, messages, tools, needs_tools, shape, purpose, agent } = asked;
        #[expect(clippy::cast_possible_truncation, reason = "a value from 0 to 2")]
        let temperature = Some(model.temperature as f32);
        let max_tokens = Some(model.max_tokens);
        let mut request = CompletionRequest { messages, temperature, max_tokens, tools, shape };
        let asked_for = AskedFor { purpose, agent, at_ms: self.context.clock.now_ms() };
        let call = self.ledger.begin(&model.name, asked_for, &request);
        // Of a choice that is under way there is nothing to tell yet.
        if purpose != Purpose::Routing {
            drop(self.write_down());
        }
        let mut opened = model.llm.stream(&request).await;
        // Nobody asked for what this program offers by itself.
        if !needs_tools
            && !request.tools.is_empty()
            && opened.as_ref().is_err_and(LlmError::is_about_tools)
        {
            request.tools.clear();
            opened = model.llm.stream(&request).await;
        }
        let (mut chunks, served) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                call.refused();
                return Err(failed(&error));
            }
        };
        // An answer can take minutes, and thousands of them are under way at a time.
        drop(request);
        tracing::debug!(model = %served.model, attempts = served.attempts, "answering");
        call.served_by(&served.model);
        self.served_by(served.model);
        let mut spoken =
            Spoken { text: String::new(), calls: Vec::new(), reason: FinishReason::Stop };
        while let Some(chunk) = chunks.next().await {
            match chunk.map_err(|error| failed(&error))? {
                Chunk::Text(text) => {
                    call.said(text.len());
                    spoken.text.push_str(&text);
                    let max = self.context.limits.answer_bytes;
                    if spoken.text.len() > max {
                        return Err(too_long(max));
                    }
                    stage.send(Event::Text(text)).await;
                }
                Chunk::Thinking(text) => {
                    call.said(text.len());
                    stage.send(Event::Thinking(text)).await;
                }
                Chunk::File(Ok(file)) => {
                    stage.send(Event::File(MadeFile { name: None, file })).await;
                }
                Chunk::File(Err(why)) => stage.send(Event::NoFile(why.to_string())).await,
                Chunk::ToolCall(wanted) => {
                    call.said(wanted.arguments.len());
                    spoken.calls.push(wanted);
                }
                Chunk::Finished { reason, usage } => {
                    call.over(usage);
                    spoken.reason = reason;
                    return Ok(spoken);
                }
            }
        }
        let message = "the model's answer ended without an end".to_owned();
        Err(Failure::Model { message, retryable: true })
    }
}

// === private helpers ===

fn failed(error: &LlmError) -> Failure {
    tracing::warn!(error = %chain(error), "the model failed");
    Failure::Model { message: error.to_string(), retryable: error.is_retryable() }
}

fn too_long(bytes_max: usize) -> Failure {
    let message = format!("the answer has more than {bytes_max} bytes");
    Failure::Model { message, retryable: false }
}
