//! Runs turns: the one place of a conversation that waits for the model, the memory and the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, stream};
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_llm::{Chunk, ChunkStream, CompletionRequest, LlmError};
use muxi_memory::{NewTurn, Store, StoreError, TurnEnd, TurnId, UserStore};
use muxi_service::{Clock, Shutdown, TaskGroup, TaskKind};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

use super::prompt;
use super::queue::{Place, QueueFull, SessionQueues};
use super::turn::{Effect, End, Event, Failure, Turn, Update};
use crate::agents::Agent;
use crate::limits::Limits;

/// Starts turns and knows how many there are.
#[derive(Debug)]
pub struct Conversations {
    context: TurnContext,
    queues: SessionQueues,
    turns: Arc<Semaphore>,
    started: AtomicU64,
    turns_max: usize,
}

/// What every turn needs.
#[derive(Debug, Clone)]
pub struct TurnContext {
    pub store: Store,
    pub soul: Arc<str>,
    /// Earlier messages of the session that a prompt may hold.
    pub history_messages: u32,
    pub clock: Clock,
    pub limits: Limits,
    pub tasks: TaskGroup,
    pub shutdown: Shutdown,
}

/// A message that is to be answered.
#[derive(Debug, Clone)]
pub struct Question {
    pub user: UserId,
    pub session: SessionId,
    pub request_id: RequestId,
    pub agent: Arc<Agent>,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    SessionFull(#[from] QueueFull),
    #[error("the formation answers {0} messages already")]
    Full(usize),
    #[error("the formation is stopping")]
    Stopping,
}

/// One turn from its place in the queue to its end on the disk.
struct Running {
    context: TurnContext,
    store: UserStore,
    question: Question,
    updates: mpsc::Sender<Update>,
    place: Place,
    _permit: OwnedSemaphorePermit,
}

// === impl Conversations ===

impl Conversations {
    pub fn new(context: TurnContext) -> Self {
        let limits = context.limits;
        Self {
            context,
            queues: SessionQueues::new(limits.turns_per_session),
            turns: Arc::new(Semaphore::new(limits.turns)),
            started: AtomicU64::new(0),
            turns_max: limits.turns,
        }
    }

    /// Begins a turn. Dropping the receiver means that the caller left, which ends the model call.
    pub fn start(&self, question: Question) -> Result<mpsc::Receiver<Update>, StartError> {
        if self.context.shutdown.closing.is_cancelled() {
            return Err(StartError::Stopping);
        }
        let permit = Arc::clone(&self.turns).try_acquire_owned();
        let permit = permit.map_err(|_| StartError::Full(self.turns_max))?;
        let place = self.queues.join(question.user.clone(), question.session.clone())?;
        self.started.fetch_add(1, Ordering::Relaxed);
        // The last update has a place of its own, so that a reader that is stuck cannot keep a turn
        // that is over from leaving its session.
        let (updates, receiver) = mpsc::channel(self.context.limits.updates_queued + 1);
        let last = updates.clone().try_reserve_owned().expect("a new channel has room");
        let turn = Running {
            context: self.context.clone(),
            store: self.context.store.for_user(&question.user),
            question,
            updates,
            place,
            _permit: permit,
        };
        // A task of its own: it must write its end down even when the connection is gone.
        self.context.tasks.spawn(TaskKind::Connection, "turn", turn.run(last));
        Ok(receiver)
    }

    /// Turns since the start.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Turns at work or waiting.
    pub fn active(&self) -> usize {
        self.turns_max - self.turns.available_permits()
    }
}

// === impl Running ===

impl Running {
    async fn run(self, last: OwnedPermit<Update>) {
        let closing = &self.context.shutdown.closing;
        let speaking = tokio::select! {
            biased;
            // Nothing is written yet, so these ends need no trace. All arms are cancel-safe.
            () = closing.cancelled() => {
                last.send(Update::Failed(Failure::Stopping));
                return;
            }
            () = self.updates.closed() => return,
            speaking = self.place.wait() => speaking,
        };
        match self.begin().await {
            Ok((id, request)) => self.answer(id, request, last).await,
            Err(error) => {
                tracing::error!(error = %chain(&error), "a question could not be written down");
                last.send(Update::Failed(memory_failed(&error)));
            }
        }
        drop(speaking);
    }

    async fn begin(&self) -> Result<(TurnId, CompletionRequest), StoreError> {
        let Question { session, request_id, agent, text, .. } = &self.question;
        let turn = NewTurn {
            session: session.clone(),
            request_id: request_id.clone(),
            agent: agent.config.id.clone(),
            text: text.clone(),
            at_ms: self.context.clock.now_ms(),
        };
        let begun = self.store.begin_turn(turn, self.context.history_messages).await?;
        let limits = &self.context.limits;
        let history_bytes =
            if agent.is_local { limits.history_bytes_local } else { limits.history_bytes };
        let messages = prompt::compose(
            &self.context.soul,
            agent.config.system_message.as_deref(),
            &begun.history,
            text,
            history_bytes,
        );
        #[expect(clippy::cast_possible_truncation, reason = "a value from 0 to 2")]
        let temperature = agent.temperature as f32;
        let request = CompletionRequest {
            messages,
            temperature: Some(temperature),
            max_tokens: Some(agent.max_tokens),
        };
        Ok((begun.id, request))
    }

    async fn answer(&self, id: TurnId, request: CompletionRequest, last: OwnedPermit<Update>) {
        let limits = &self.context.limits;
        let time_max = limits.turn.max(self.question.agent.silence_max);
        let mut turn = Turn::new(limits.answer_bytes);
        let mut deadline = std::pin::pin!(sleep_until(Instant::now() + time_max));
        let mut chunks = std::pin::pin!(self.chunks(&request));
        let mut pending = self.tell(Update::Asked, deadline.as_mut()).await;
        while !turn.is_over() {
            let event = match pending.take() {
                Some(event) => event,
                None => self.next(chunks.as_mut(), deadline.as_mut()).await,
            };
            for effect in turn.step(event) {
                match effect {
                    Effect::Save(end) => {
                        if let Err(error) = self.save(id, end).await {
                            tracing::error!(error = %chain(&error), "an answer could not be written down");
                            last.send(Update::Failed(memory_failed(&error)));
                            return;
                        }
                    }
                    Effect::Tell(update) if turn.is_over() => {
                        last.send(update);
                        return;
                    }
                    Effect::Tell(update) => {
                        pending = self.tell(update, deadline.as_mut()).await;
                    }
                }
            }
        }
    }

    async fn next(
        &self,
        mut chunks: Pin<&mut impl stream::Stream<Item = Result<Chunk, LlmError>>>,
        deadline: Pin<&mut Sleep>,
    ) -> Event {
        tokio::select! {
            biased;
            // The stop first, so that a fast model cannot delay it. All arms are cancel-safe.
            () = self.context.shutdown.closing.cancelled() => Event::Stopping,
            // The caller next: tokens that nobody reads cost money.
            () = self.updates.closed() => Event::CallerLeft,
            // Before the model, which may send a little for ever.
            () = deadline => out_of_time(),
            chunk = chunks.next() => event(chunk),
        }
    }

    /// The model's answer; dropping it ends the call, whether it has begun to answer or not.
    fn chunks<'a>(
        &'a self,
        request: &'a CompletionRequest,
    ) -> impl stream::Stream<Item = Result<Chunk, LlmError>> + 'a {
        let opening = async {
            match self.question.agent.llm.stream(request).await {
                Ok((chunks, served)) => {
                    tracing::debug!(model = %served.model, attempts = served.attempts, "answering");
                    chunks
                }
                Err(error) => Box::pin(stream::iter([Err(error)])) as ChunkStream,
            }
        };
        stream::once(opening).flatten()
    }

    async fn save(&self, id: TurnId, end: End) -> Result<(), StoreError> {
        let End { outcome, text, usage } = end;
        let end = TurnEnd {
            outcome,
            text,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            at_ms: self.context.clock.now_ms(),
        };
        self.store.end_turn(id, end).await
    }

    /// Waits while the reader is slow; what came in between is the next event.
    async fn tell(&self, update: Update, deadline: Pin<&mut Sleep>) -> Option<Event> {
        tokio::select! {
            biased;
            // The ends first, as in the wait for the model. Both arms are cancel-safe.
            () = self.context.shutdown.closing.cancelled() => Some(Event::Stopping),
            () = deadline => Some(out_of_time()),
            // Cancel-safe enough: a piece that is lost here belongs to a turn that ends now.
            sent = self.updates.send(update) => sent.is_err().then_some(Event::CallerLeft),
        }
    }
}

// === private helpers ===

fn event(chunk: Option<Result<Chunk, LlmError>>) -> Event {
    match chunk {
        Some(Ok(Chunk::Text(text))) => Event::Text(text),
        Some(Ok(Chunk::Finished { reason, usage })) => Event::Finished { reason, usage },
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

fn memory_failed(error: &StoreError) -> Failure {
    Failure::Memory { is_gone: matches!(error, StoreError::Gone) }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
