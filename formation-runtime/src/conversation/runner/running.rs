//! One turn from its place in the queue to its end on the disk.

use std::pin::Pin;
use std::sync::{Mutex, OnceLock};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use muxi_llm::{Chunk, ChunkStream, CompletionRequest, LlmError, Message, Usage};
use muxi_memory::{
    BegunTurn, HistoryMessage, NewTurn, NewUsage, Outcome, StoreError, TurnEnd, TurnId, UserStore,
};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Question, TurnContext};
use crate::agents::Model;
use crate::conversation::active::Entry;
use crate::conversation::files;
use crate::conversation::prompt;
use crate::conversation::queue::Place;
use crate::conversation::report::{self, Reported};
use crate::conversation::structured::Expected;
use crate::conversation::turn::{AnswerLimits, Effect, End, Event, Failure, Turn, Update};
use crate::events::{Event as Happening, EventKind};

/// One turn from its place in the queue to its end on the disk.
pub(super) struct Running {
    pub(super) context: TurnContext,
    pub(super) store: UserStore,
    pub(super) question: Question,
    pub(super) updates: mpsc::Sender<Update>,
    pub(super) place: Place,
    pub(super) entry: Entry,
    /// The model that answers, which may be the fallback.
    pub(super) served: OnceLock<String>,
    /// What writing down the recordings used.
    pub(super) heard: Mutex<Vec<NewUsage>>,
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

// === impl Running ===

impl Running {
    pub(super) async fn run(self, last: OwnedPermit<Update>) {
        let last = Last { place: last, turn: &self };
        let closing = &self.context.shutdown.closing;
        let speaking = tokio::select! {
            biased;
            // Nothing is written yet, or only that it waits, so these ends need no trace. All arms
            // are cancel-safe.
            () = closing.cancelled() => {
                last.tell(Update::Failed(Failure::Stopping));
                return;
            }
            () = self.updates.closed() => return,
            () = self.entry.cancelled() => {
                self.cancel_waiting(last).await;
                return;
            }
            speaking = self.place.wait() => speaking,
        };
        if let Some(failure) = self.over_budget().await {
            self.refuse(failure, last).await;
            return;
        }
        match self.begin().await {
            Ok(begun) => self.answer(begun.id, &begun.history, last).await,
            Err(error) => {
                tracing::error!(error = %chain(&error), "a question could not be written down");
                last.tell(Update::Failed(memory_failed(&error)));
            }
        }
        drop(speaking);
    }

    async fn cancel_waiting(&self, last: Last<'_>) {
        let told = Update::Cancelled(String::new());
        self.end_before_it_began(Outcome::Cancelled, told, last).await;
    }

    async fn refuse(&self, failure: Failure, last: Last<'_>) {
        self.end_before_it_began(failure.outcome(), Update::Failed(failure), last).await;
    }

    /// Only a request that was accepted for later has left a trace by now.
    async fn end_before_it_began(&self, outcome: Outcome, update: Update, last: Last<'_>) {
        let Some(seq) = self.question.accepted else {
            last.tell(update);
            return;
        };
        let now_ms = self.context.clock.now_ms();
        let delivery = self.reported().map(|it| report::of_end(it, &outcome, "", &[], now_ms));
        match self.store.end_request(seq, outcome, delivery, now_ms).await {
            Ok(_) => last.tell(update),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the end of a request could not be written down");
                last.tell(Update::Failed(memory_failed(&error)));
            }
        }
    }

    fn reported(&self) -> Option<Reported<'_>> {
        let Question { user, request_id, webhook_url, created_ms, .. } = &self.question;
        webhook_url.as_deref().map(|url| Reported {
            formation: &self.context.formation,
            user,
            request: request_id,
            url,
            began_ms: *created_ms,
        })
    }

    async fn begin(&self) -> Result<BegunTurn, StoreError> {
        let Question { session, request_id, agent, text, kind, mode, accepted, files, .. } =
            &self.question;
        let turn = NewTurn {
            session: session.clone(),
            request_id: request_id.clone(),
            agent: agent.config.id.clone(),
            text: text.clone(),
            files: files::remember(files, self.context.limits.file_text_kept_bytes),
            kind: *kind,
            mode: *mode,
            accepted: *accepted,
            at_ms: self.context.clock.now_ms(),
        };
        let begun = self.store.begin_turn(turn, self.context.history_messages).await?;
        self.entry.is_stored_as(begun.request);
        Ok(begun)
    }

    /// What the model is asked.
    fn request(&self, history: &[HistoryMessage], text: &str) -> CompletionRequest {
        let Question { agent, expected, files, .. } = &self.question;
        let (limits, model) = (&self.context.limits, self.model());
        let history_bytes =
            if model.is_local { limits.history_bytes_local } else { limits.history_bytes };
        let wanted = expected.as_ref().map(|it| it.instruction());
        let tasks = [agent.config.system_message.as_deref(), wanted.as_deref()];
        let task = tasks.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        let question = files::attached(text, files);
        let messages =
            prompt::compose(&self.context.soul, Some(&task), history, question, history_bytes);
        #[expect(clippy::cast_possible_truncation, reason = "a value from 0 to 2")]
        let temperature = model.temperature as f32;
        CompletionRequest {
            messages,
            temperature: Some(temperature),
            max_tokens: Some(model.max_tokens),
            ..CompletionRequest::default()
        }
    }

    pub(super) fn model(&self) -> &Model {
        self.question.agent.model_for(&self.question.files)
    }

    async fn answer(&self, id: TurnId, history: &[HistoryMessage], last: Last<'_>) {
        let limits = &self.context.limits;
        let time_max = limits.turn.max(self.model().silence_max);
        let mut turn =
            Turn::new(AnswerLimits { text_bytes: limits.answer_bytes, files: limits.answer_files });
        let mut keeping = FuturesUnordered::new();
        let mut deadline = std::pin::pin!(sleep_until(Instant::now() + time_max));
        let mut request = CompletionRequest::default();
        let mut chunks: Pin<Box<Chunks<'_>>> = Box::pin(stream::pending());
        let mut pending = match self.words(id, deadline.as_mut()).await {
            Ok(text) => {
                request = self.request(history, &text);
                chunks = self.chunks(request.clone());
                turn.asks();
                self.tell(Update::Asked, deadline.as_mut()).await
            }
            Err(event) => Some(event),
        };
        let mut corrections_left = CORRECTIONS_MAX;
        while !turn.is_over() {
            if matches!(pending, Some(Event::CallerLeft)) {
                let left = "the caller left before the answer was whole".to_owned();
                self.context.events.tell(self.event(EventKind::ChatCancelled, left));
            }
            let event = if let Some(event) = pending.take() {
                event
            } else {
                let chunks = (!turn.is_said()).then_some(chunks.as_mut());
                let next = next(chunks, &mut keeping);
                self.until(deadline.as_mut(), next).await.unwrap_or_else(|end| end)
            };
            let event = match self.checked(event, turn.text()) {
                Ok(event) => event,
                Err((faults, used)) if corrections_left > 0 => {
                    corrections_left -= 1;
                    request.messages.push(Message::assistant(turn.text()));
                    request.messages.push(Message::user(Expected::correction(&faults)));
                    turn.begin_again(used);
                    chunks = self.chunks(request.clone());
                    turn.asks();
                    continue;
                }
                Err((faults, used)) => {
                    turn.begin_again(used);
                    let message = format!("the answer does not fit the schema: {faults}");
                    Event::ModelFailed { message, retryable: true }
                }
            };
            for effect in turn.step(event) {
                match effect {
                    Effect::Save(end) => {
                        if let Err(error) = self.save(id, end, &request).await {
                            tracing::error!(error = %chain(&error), "an answer could not be written down");
                            last.tell(Update::Failed(memory_failed(&error)));
                            return;
                        }
                    }
                    Effect::Keep(number, file) => {
                        keeping.push(self.keep(id, number, file).boxed());
                    }
                    Effect::Tell(update) if update.is_last() => {
                        last.tell(update);
                        return;
                    }
                    // Pieces of what may not fit are of no use to anybody.
                    Effect::Tell(Update::Text(_)) if self.question.expected.is_some() => {}
                    Effect::Tell(update) => {
                        pending = self.tell(update, deadline.as_mut()).await;
                    }
                }
            }
        }
    }

    /// What the work comes to, unless the turn has to end before.
    pub(super) async fn until<T>(
        &self,
        deadline: Pin<&mut Sleep>,
        work: impl Future<Output = T>,
    ) -> Result<T, Event> {
        tokio::select! {
            biased;
            // The stop first, so that a fast model cannot delay it. All arms are cancel-safe.
            () = self.context.shutdown.closing.cancelled() => Err(Event::Stopping),
            // The caller next: tokens that nobody reads cost money.
            () = self.updates.closed() => Err(Event::CallerLeft),
            () = self.entry.cancelled() => Err(Event::Cancelled),
            // Before the model, which may send a little for ever.
            () = deadline => Err(out_of_time()),
            done = work => Ok(done),
        }
    }

    /// An answer that must have a shape has it, or what is wrong with it and what it used.
    fn checked(&self, event: Event, text: &str) -> Result<Event, (String, Option<Usage>)> {
        let (Some(expected), Event::Finished { reason, usage, .. }) =
            (&self.question.expected, &event)
        else {
            return Ok(event);
        };
        match expected.read(text) {
            Ok(value) => Ok(Event::Finished {
                reason: reason.clone(),
                usage: *usage,
                structured: Some(value),
            }),
            Err(faults) => Err((faults, *usage)),
        }
    }

    /// The model's answer; dropping it ends the call, whether it has begun to answer or not.
    fn chunks(&self, request: CompletionRequest) -> Pin<Box<Chunks<'_>>> {
        let opening = async move {
            match self.model().llm.stream(&request).await {
                Ok((chunks, served)) => {
                    tracing::debug!(model = %served.model, attempts = served.attempts, "answering");
                    // The first of a turn's calls; a correction is asked of the same agent.
                    let _first = self.served.set(served.model);
                    chunks
                }
                Err(error) => Box::pin(stream::iter([Err(error)])) as ChunkStream,
            }
        };
        Box::pin(stream::once(opening).flatten())
    }

    async fn save(
        &self,
        id: TurnId,
        end: End,
        asked: &CompletionRequest,
    ) -> Result<(), StoreError> {
        let usage = self.used(&end, asked);
        let End { outcome, text, usage: told, artifacts, warnings, .. } = end;
        let now_ms = self.context.clock.now_ms();
        let delivery =
            self.reported().map(|it| report::of_end(it, &outcome, &text, &artifacts, now_ms));
        let warnings = (!warnings.is_empty()).then(|| serde_json::json!(warnings).to_string());
        let end = TurnEnd {
            outcome,
            text,
            prompt_tokens: told.prompt_tokens,
            completion_tokens: told.completion_tokens,
            usage,
            warnings,
            delivery,
            original_delivery: None,
            agent: None,
            decisions: Vec::new(),
            at_ms: now_ms,
        };
        self.store.end_turn(id, end).await
    }

    /// For those who follow the request or the formation.
    fn note(&self, update: &Update) {
        self.entry.tell(update);
        let agent = &self.question.agent.config.id;
        let (kind, message) = match update {
            Update::Asked => (EventKind::ChatStarted, format!("{agent} is answering")),
            // Of files it is told where they are kept.
            Update::Text(_) | Update::Thinking(_) | Update::Artifact(_) => return,
            Update::Warning(why) => (EventKind::ArtifactFailed, why.clone()),
            Update::Heard(_) => (
                EventKind::ChatTranscribed,
                "what was said in a recording was written down".to_owned(),
            ),
            Update::Completed(_) => (EventKind::ChatCompleted, format!("{agent} has answered")),
            Update::Cancelled(_) => {
                (EventKind::ChatCancelled, "the request was cancelled".to_owned())
            }
            Update::Failed(failure) => (EventKind::ChatFailed, failure.to_string()),
        };
        let mut event = self.event(kind, message);
        if let Update::Completed(answer) = update {
            event = event
                .with("finish_reason", answer.finish_reason.clone())
                .with("prompt_tokens", answer.usage.prompt_tokens)
                .with("completion_tokens", answer.usage.completion_tokens);
        }
        self.context.events.tell(event);
    }

    pub(super) fn event(&self, kind: EventKind, message: String) -> Happening {
        let Question { user, session, request_id, agent, .. } = &self.question;
        Happening {
            user: Some(user.clone()),
            session: Some(session.clone()),
            request: Some(request_id.clone()),
            agent: Some(agent.config.id.clone()),
            ..Happening::new(kind, self.context.clock.now(), message)
        }
    }

    /// Waits while the reader is slow; what came in between is the next event.
    pub(super) async fn tell(&self, update: Update, deadline: Pin<&mut Sleep>) -> Option<Event> {
        self.note(&update);
        tokio::select! {
            biased;
            // The ends first, as in the wait for the model. Both arms are cancel-safe.
            () = self.context.shutdown.closing.cancelled() => Some(Event::Stopping),
            () = self.entry.cancelled() => Some(Event::Cancelled),
            () = deadline => Some(out_of_time()),
            // Cancel-safe enough: a piece that is lost here belongs to a turn that ends now.
            sent = self.updates.send(update) => sent.is_err().then_some(Event::CallerLeft),
        }
    }
}

type Chunks<'a> = dyn stream::Stream<Item = Result<Chunk, LlmError>> + Send + 'a;

/// An answer that does not fit its schema is asked for so many times more.
const CORRECTIONS_MAX: u32 = 1;

/// The place of a turn's last word.
struct Last<'a> {
    place: OwnedPermit<Update>,
    turn: &'a Running,
}

// === impl Last ===

impl Last<'_> {
    fn tell(self, update: Update) {
        self.turn.note(&update);
        self.turn.entry.leave();
        self.place.send(update);
    }
}

// === private helpers ===

/// What comes first: the model's next chunk, unless it has said everything, or a file that is kept.
async fn next(
    mut chunks: Option<Pin<&mut Chunks<'_>>>,
    keeping: &mut FuturesUnordered<BoxFuture<'_, Event>>,
) -> Event {
    tokio::select! {
        biased;
        // Files first, since a model may say much while they wait. Both arms are cancel-safe.
        Some(kept) = keeping.next() => kept,
        chunk = async { chunks.as_mut()?.next().await }, if chunks.is_some() => event(chunk),
        // Nobody waits for a turn that has nothing to come.
        else => std::future::pending().await,
    }
}

fn event(chunk: Option<Result<Chunk, LlmError>>) -> Event {
    match chunk {
        Some(Ok(Chunk::Text(text))) => Event::Text(text),
        Some(Ok(Chunk::Thinking(text))) => Event::Thinking(text),
        Some(Ok(Chunk::File(Ok(file)))) => Event::File(file),
        Some(Ok(Chunk::File(Err(why)))) => Event::NoFile(why.to_string()),
        Some(Ok(Chunk::ToolCall(call))) => Event::ModelFailed {
            message: format!("the model asked for `{}`, which it was not offered", call.name),
            retryable: true,
        },
        Some(Ok(Chunk::Finished { reason, usage })) => {
            Event::Finished { reason, usage, structured: None }
        }
        Some(Err(error)) => {
            tracing::warn!(error = %chain(&error), "the model failed");
            Event::ModelFailed { message: error.to_string(), retryable: error.is_retryable() }
        }
        None => Event::ModelFailed {
            message: "the model's answer ended without an end".to_owned(),
            retryable: true,
        },
    }
}

fn out_of_time() -> Event {
    Event::ModelFailed {
        message: "the answer was not complete within the time for one message".to_owned(),
        retryable: true,
    }
}

pub(super) fn memory_failed(error: &StoreError) -> Failure {
    Failure::Memory { is_gone: matches!(error, StoreError::Gone) }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
