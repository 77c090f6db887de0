//! A turn as server-sent events, in either dialect.
//!
//! The head waits a moment for the model's first word: until then a failure is still an HTTP error.
//! After it, silence is filled with comments and a failure is an `error` event.

use std::collections::VecDeque;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use muxi_contract::chat::{StreamFormat, TurnEvent, TurnEventKind};
use muxi_service::sse::{self, frame};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::chat::{Exchange, usage};
use super::error::Problem;
use crate::conversation::{Answer, Failure, Update};

pub(crate) async fn respond(
    exchange: Exchange,
    format: StreamFormat,
    mut updates: mpsc::Receiver<Update>,
) -> Result<Response, Problem> {
    let early = early(&mut updates, exchange.app.limits.head_hold).await?;
    let keepalive = exchange.app.limits.keepalive;
    Ok(sse::response(frames(Writer { exchange, format }, early, updates), keepalive))
}

/// What came before the head: at least the model's first word, unless it is slow.
async fn early(
    updates: &mut mpsc::Receiver<Update>,
    hold: std::time::Duration,
) -> Result<VecDeque<Update>, Problem> {
    let mut early = VecDeque::new();
    let waiting = async {
        loop {
            match updates.recv().await {
                Some(Update::Failed(failure)) => return Err(failure.into()),
                None => return Err(Failure::Stopping.into()),
                Some(
                    update @ (Update::Heard(_)
                    | Update::Asked { .. }
                    | Update::Planning { .. }
                    | Update::Progress { .. }
                    | Update::Thinking(_)),
                ) => early.push_back(update),
                Some(
                    update @ (Update::Text(_)
                    | Update::ToolCall { .. }
                    | Update::Widget(_)
                    | Update::Artifact(_)
                    | Update::Warning(_)
                    | Update::Completed(_)
                    | Update::Cancelled(_)),
                ) => {
                    early.push_back(update);
                    return Ok(());
                }
            }
        }
    };
    // Cancel-safe: what was received is in `early` before the next wait begins.
    if let Ok(Err(problem)) = tokio::time::timeout(hold, waiting).await {
        return Err(problem);
    }
    Ok(early)
}

/// The only key of a frame without an event name.
#[derive(Serialize)]
struct Token<T> {
    token: T,
}

struct Writer {
    exchange: Exchange,
    format: StreamFormat,
}

/// Ends after the frame of the last update.
fn frames(
    writer: Writer,
    early: VecDeque<Update>,
    updates: mpsc::Receiver<Update>,
) -> impl Stream<Item = Bytes> {
    let opening = stream::once(async { Bytes::from_static(sse::KEEPALIVE) });
    let state = Some((writer, early, updates));
    let turn = stream::unfold(state, async |state| {
        let (writer, mut early, mut updates) = state?;
        loop {
            let update = match early.pop_front() {
                Some(update) => update,
                // A turn that goes without a word was cut off by the stop of the process.
                None => updates.recv().await.unwrap_or(Update::Failed(Failure::Stopping)),
            };
            let is_last = update.is_last();
            let bytes = writer.write(update);
            if is_last {
                return Some((bytes, None));
            }
            if !bytes.is_empty() {
                return Some((bytes, Some((writer, early, updates))));
            }
        }
    });
    futures_util::StreamExt::chain(opening, turn)
}

// === impl Writer ===

impl Writer {
    /// No bytes where the dialect has no words for the update.
    fn write(&self, update: Update) -> Bytes {
        let shown = self.exchange.app.manifest.overlord.response;
        match (self.format, update) {
            (format, Update::Failed(failure)) => {
                let problem = Problem::from(failure);
                let mut bytes = BytesMut::new();
                if format == StreamFormat::Events {
                    let (text, mut extra) = (problem.message.clone(), self.warnings());
                    extra.insert("status".to_owned(), "error".into());
                    extra.insert("code".to_owned(), json!(problem.code));
                    bytes.extend(self.event(TurnEventKind::Failed, "failed", text, extra));
                }
                bytes.extend(error_frame(problem));
                bytes.freeze()
            }
            (StreamFormat::Events, Update::Cancelled(text)) => {
                let mut bytes = BytesMut::from(
                    self.event(TurnEventKind::Cancelled, "cancelled", text, self.warnings())
                        .as_ref(),
                );
                bytes.extend_from_slice(&done());
                bytes.freeze()
            }
            (StreamFormat::Tokens, update) => self.token(update),
            (_, update) if !update.is_shown(shown) => Bytes::new(),
            (StreamFormat::Events, Update::Heard(text)) => {
                self.event(TurnEventKind::Progress, "audio_transcription", text, Map::new())
            }
            (StreamFormat::Events, Update::Thinking(text)) => {
                self.event(TurnEventKind::Thinking, "response_generation", text, Map::new())
            }
            (StreamFormat::Events, Update::Asked { agent, name }) => {
                let content = format!("{name} is answering");
                let mut extra = self.warnings();
                extra.insert("agent_id".to_owned(), agent.into());
                extra.insert("agent_name".to_owned(), name.into());
                self.event(TurnEventKind::Progress, "init", content, extra)
            }
            (StreamFormat::Events, Update::Progress { stage, message, more }) => {
                self.event(TurnEventKind::Progress, stage, message, more)
            }
            (StreamFormat::Events, Update::Planning { stage, message, more }) => {
                self.event(TurnEventKind::Planning, stage, message, more)
            }
            (StreamFormat::Events, Update::ToolCall { stage, message, more }) => {
                self.event(TurnEventKind::ToolCall, stage, message, more)
            }
            // All of them come together, after the last words.
            (StreamFormat::Events, Update::Widget(_)) => Bytes::new(),
            (StreamFormat::Events, Update::Text(text)) => {
                self.event(TurnEventKind::Content, "response_generation", text, Map::new())
            }
            (StreamFormat::Events, Update::Artifact(artifact)) => {
                let content = format!("{} is kept", artifact.name);
                let extra = Map::from_iter([("artifact".to_owned(), json!(artifact))]);
                self.event(TurnEventKind::Progress, "artifact_created", content, extra)
            }
            (StreamFormat::Events, Update::Warning(why)) => {
                self.event(TurnEventKind::Progress, "artifact_failed", why, Map::new())
            }
            (StreamFormat::Events, Update::Completed(answer)) => {
                let widgets = if shown.widgets { answer.widgets.clone() } else { Vec::new() };
                let mut bytes = BytesMut::from(self.completed(&answer).as_ref());
                if !widgets.is_empty() {
                    bytes.extend_from_slice(&frame(Some("ui"), &json!({"ui": widgets})));
                }
                bytes.extend_from_slice(&done());
                bytes.freeze()
            }
        }
    }

    /// The words of the answer and nothing else: all at once where the formation shows no pieces.
    fn token(&self, update: Update) -> Bytes {
        let in_pieces = self.exchange.app.manifest.overlord.response.streams_pieces();
        let token = |text: String| frame(None, &Token { token: text });
        match update {
            Update::Text(text) if in_pieces => token(text),
            Update::Completed(answer) if !in_pieces && !answer.text.is_empty() => {
                [token(self.exchange.formatted(&answer)), done()].concat().into()
            }
            Update::Cancelled(text) if !in_pieces && !text.is_empty() => {
                [token(text), done()].concat().into()
            }
            Update::Completed(_) | Update::Cancelled(_) => done(),
            Update::Failed(failure) => error_frame(failure.into()),
            // Its words are text alone; files are at the request.
            Update::Heard(_)
            | Update::Asked { .. }
            | Update::Progress { .. }
            | Update::Planning { .. }
            | Update::ToolCall { .. }
            | Update::Widget(_)
            | Update::Thinking(_)
            | Update::Text(_)
            | Update::Artifact(_)
            | Update::Warning(_) => Bytes::new(),
        }
    }

    fn completed(&self, answer: &Answer) -> Bytes {
        let warnings = [self.exchange.warnings.clone(), answer.warnings.clone()].concat();
        let mut extra = warned(&warnings);
        if !answer.artifacts.is_empty() {
            extra.insert("artifacts".to_owned(), json!(answer.artifacts));
        }
        let more = [
            ("status", json!("success")),
            ("processing_time_ms", json!(self.exchange.processing_time_ms())),
            ("agent_used", json!(answer.about.agent)),
            ("finish_reason", json!(answer.finish_reason)),
            ("usage", json!(usage(answer))),
        ];
        extra.extend(more.map(|(name, value)| (name.to_owned(), value)));
        extra.extend(super::chat::about(answer));
        let text = self.exchange.formatted(answer);
        self.event(TurnEventKind::Completed, "final_response", text, extra)
    }

    fn event(
        &self,
        kind: TurnEventKind,
        stage: &str,
        content: String,
        extra: Map<String, Value>,
    ) -> Bytes {
        let Exchange { app, user, session, request, .. } = &self.exchange;
        let event = TurnEvent {
            request_id: request.clone(),
            user_id: user.named.clone(),
            session_id: session.clone(),
            kind,
            content,
            stage: stage.to_owned(),
            timestamp: app.clock.now().as_duration().as_secs_f64(),
            extra,
        };
        frame(None, &Token { token: event })
    }

    fn warnings(&self) -> Map<String, Value> {
        warned(&self.exchange.warnings)
    }
}

// === private helpers ===

fn warned(warnings: &[String]) -> Map<String, Value> {
    let entry = (!warnings.is_empty()).then(|| ("warnings".to_owned(), json!(warnings)));
    entry.into_iter().collect()
}

/// Published clients show the text on one line.
const ERROR_CHARS_MAX: usize = 200;

fn done() -> Bytes {
    frame(Some("done"), &json!({"finished": true}))
}

fn error_frame(problem: Problem) -> Bytes {
    let line = problem.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(ERROR_CHARS_MAX).collect();
    let Problem { code, message, .. } = problem;
    // The same name under both keys: published clients read one or the other.
    let data = json!({"error": short, "type": code, "code": code, "message": message});
    frame(Some("error"), &data)
}
