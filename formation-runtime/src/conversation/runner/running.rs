//! One turn from its place in the queue to its end on the disk.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_memory::{
    BegunTurn, NewPending, NewTurn, Outcome, StoreError, TurnEnd, TurnId, UserStore,
};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

use super::speaking::Stage;
use super::taking_over::TakenOver;
use super::working::Held;
use super::{Question, TurnContext};
use crate::agents::Agent;
use crate::conversation::active::Entry;
use crate::conversation::files;
use crate::conversation::ledger::{Ledger, Purpose};
use crate::conversation::queue::Place;
use crate::conversation::report::{self, Reported};
use crate::conversation::structured::Expected;
use crate::conversation::trace::{Told, Trace};
use crate::conversation::turn::{
    About, AnswerLimits, Effect, End, Event, Failure, Finish, Turn, Update,
};
use crate::events::{Event as Happening, EventKind};

/// One turn from its place in the queue to its end on the disk.
pub(super) struct Running {
    pub(super) context: TurnContext,
    pub(super) store: UserStore,
    pub(super) question: Question,
    pub(super) updates: mpsc::Sender<Update>,
    pub(super) place: Place,
    pub(super) entry: Entry,
    /// Who answers, once that is known.
    pub(super) lead: OnceLock<Arc<Agent>>,
    /// The model that said something last, which may be a fallback.
    pub(super) served: std::sync::Mutex<String>,
    /// Of the message that this one goes on with.
    pub(super) earlier_files: OnceLock<Vec<files::File>>,
    /// What the answer to that message must be.
    pub(super) earlier_expected: OnceLock<Arc<Expected>>,
    /// Where it is written down, from its beginning.
    pub(super) turn: OnceLock<TurnId>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) trace: Arc<Trace>,
    /// Held while what they have is being written down.
    pub(super) noting: Arc<tokio::sync::Mutex<()>>,
    /// The work goes on without whoever asked for this turn.
    pub(super) outlives_caller: AtomicBool,
    /// Who is to be told of the end of the request that asked what this one answers.
    pub(super) original: OnceLock<(muxi_contract::RequestId, String, i64)>,
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
            Ok(begun) => self.answer(&begun, last).await,
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

    fn original(&self) -> Option<Reported<'_>> {
        let (request, url, began_ms) = self.original.get()?;
        let (formation, user) = (&self.context.formation, &self.question.user);
        Some(Reported { formation, user, request, url, began_ms: *began_ms })
    }

    async fn begin(&self) -> Result<BegunTurn, StoreError> {
        let Question { session, request_id, text, kind, mode, accepted, files, .. } =
            &self.question;
        let turn = NewTurn {
            session: session.clone(),
            request_id: request_id.clone(),
            agent: self.lead().map_or_else(String::new, |agent| agent.config.id.clone()),
            text: text.clone(),
            files: files::remember(files, self.context.limits.file_text_kept_bytes),
            is_tainted: self.brings_words_of_others(),
            kind: *kind,
            mode: *mode,
            accepted: *accepted,
            at_ms: self.context.clock.now_ms(),
        };
        let begun = self.store.begin_turn(turn, self.context.history_messages).await?;
        self.entry.is_stored_as(begun.request);
        // A turn begins once.
        let _first = self.turn.set(begun.id);
        Ok(begun)
    }

    /// Who answers, or would if nobody else is found.
    pub(super) fn lead(&self) -> Option<Arc<Agent>> {
        let named = self.lead.get().or(self.question.agent.as_ref());
        named.cloned().or_else(|| self.context.team.agents.default_agent())
    }

    pub(super) fn served_by(&self, model: String) {
        *self.served.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = model;
    }

    async fn answer(&self, begun: &BegunTurn, last: Last<'_>) {
        let limits = &self.context.limits;
        let mut turn =
            Turn::new(AnswerLimits { text_bytes: limits.answer_bytes, files: limits.answer_files });
        let mut keeping = FuturesUnordered::new();
        let (said, mut pieces) = mpsc::channel(PIECES_QUEUED);
        let stage = Stage::new(said);
        let mut work = pin!(self.work(begun, &stage).boxed().fuse());
        let mut finished = None;
        let silence_max = self.lead().map_or(limits.turn, |agent| agent.text.silence_max);
        let mut deadline = pin!(sleep_until(Instant::now() + limits.turn.max(silence_max)));
        let mut interrupted = None;
        while !turn.is_over() {
            if matches!(interrupted, Some(Event::CallerLeft)) {
                let left = "the caller left before the answer was whole".to_owned();
                self.context.events.tell(self.event(EventKind::ChatCancelled, left));
            }
            let event = if let Some(event) = interrupted.take() {
                event
            } else {
                tokio::select! {
                    biased;
                    // The stop first, so that a fast model cannot delay it. All arms are cancel-safe.
                    () = self.context.shutdown.closing.cancelled() => Event::Stopping,
                    // The caller next: tokens that nobody reads cost money.
                    () = self.updates.closed(), if !self.outlives_caller() => Event::CallerLeft,
                    () = self.entry.cancelled() => Event::Cancelled,
                    // Before the work, which may say a little for ever.
                    () = deadline.as_mut() => out_of_time(),
                    // Files before words, since a model may say much while they wait.
                    Some(kept) = keeping.next() => kept,
                    Some(piece) = pieces.recv() => piece,
                    // Its last pieces come before its end.
                    () = std::future::ready(()), if finished.is_some() => match finished.take() {
                        Some(Ok(finish)) => Event::Finished(finish),
                        Some(Err(failure)) => Event::Failed(failure),
                        None => continue,
                    },
                    end = &mut work => {
                        finished = Some(end);
                        continue;
                    }
                }
            };
            // Nothing is asked any more of those who made what is thrown away with the turn.
            for effect in turn.step(event) {
                match effect {
                    Effect::Save(end) => {
                        if let Err(error) = self.save(begun, end).await {
                            tracing::error!(error = %chain(&error), "an answer could not be written down");
                            last.tell(Update::Failed(memory_failed(&error)));
                            return;
                        }
                    }
                    Effect::Keep(number, file) => {
                        keeping.push(self.keep(begun.id, number, file).boxed());
                    }
                    Effect::MoreTime(time) => {
                        // A part of a plan must not shorten the time of the whole.
                        let later = Instant::now() + time;
                        if later > deadline.deadline() {
                            deadline.as_mut().reset(later);
                        }
                    }
                    Effect::Tell(update) if update.is_last() => {
                        last.tell(self.described(update));
                        return;
                    }
                    // Pieces of what may not fit are of no use to anybody.
                    Effect::Tell(Update::Text(_)) if self.expected().is_some() => {}
                    Effect::Tell(update) => {
                        let left = self.tell(update, deadline.as_mut()).await;
                        interrupted = interrupted.or(left);
                    }
                }
            }
        }
    }

    /// From the words of the question to the last word of the answer; its pieces go to the stage.
    async fn work(&self, begun: &BegunTurn, stage: &Stage) -> Result<Finish, Failure> {
        let text = self.words(begun.id, stage).await?;
        if let Some(TakenOver { message, running }) = self.plan_taken_over(begun).await {
            return self.run_plan(running, Held::new(), begun.request, &message, stage).await;
        }
        if let Some(resumes) = self.resumed(begun, &text).await? {
            return self.go_on(resumes, begun, &text, stage).await;
        }
        let way = self.steer(begun, &text, stage).await?;
        self.go(way, begun, &text, stage).await
    }

    /// The last update with what only the whole turn knows.
    fn described(&self, update: Update) -> Update {
        let Update::Completed(mut answer) = update else { return update };
        let told = self.trace.told();
        answer.warnings.extend(told.warnings.iter().cloned());
        answer.about = About {
            agent: self.answered_by(&told),
            model: self.served.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            usage: self.ledger.told(),
            calls: self.ledger.calls().into_iter().map(Purpose::word).collect(),
            told,
        };
        Update::Completed(answer)
    }

    /// Of a plan, whoever worked on it last; empty where no agent had a part in the answer.
    fn answered_by(&self, told: &Told) -> String {
        match self.lead.get() {
            Some(agent) => agent.config.id.clone(),
            None => told.agents.last().cloned().unwrap_or_default(),
        }
    }

    async fn save(&self, begun: &BegunTurn, end: End) -> Result<(), StoreError> {
        let End { outcome, text, artifacts, mut warnings, waits } = end;
        let now_ms = self.context.clock.now_ms();
        let told = self.trace.told();
        let agent = match &outcome {
            Outcome::Completed | Outcome::Waiting => Some(self.answered_by(&told)),
            Outcome::Failed { .. } | Outcome::Cancelled | Outcome::Interrupted => {
                self.lead.get().map(|agent| agent.config.id.clone())
            }
        };
        warnings.extend(told.warnings);
        let delivery =
            self.reported().map(|it| report::of_end(it, &outcome, &text, &artifacts, now_ms));
        let warnings = (!warnings.is_empty()).then(|| serde_json::json!(warnings).to_string());
        let used = self.ledger.told();
        // What is being written down now is not written down again.
        let _noting = self.noting.lock().await;
        let calls = self.ledger.unwritten(&self.context.usage, true);
        let (numbers, calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let decisions = self.trace.unwritten();
        let rows = decisions.len();
        let end = TurnEnd {
            prompt_tokens: used.prompt_tokens,
            completion_tokens: used.completion_tokens,
            usage: calls,
            original_delivery: self
                .original()
                .map(|it| report::of_end(it, &outcome, &text, &artifacts, now_ms)),
            agent,
            is_tainted: told.is_tainted,
            decisions,
            warnings,
            delivery,
            at_ms: now_ms,
            outcome,
            text,
        };
        let saved = match waits {
            Some(waits) => {
                let pending = NewPending {
                    id: waits.id,
                    kind: waits.kind,
                    question: end.text.clone(),
                    detail_json: waits.shown.to_string(),
                    state_json: waits.state,
                    expires_ms: now_ms + self.context.team.pending_ms,
                };
                self.store.end_turn_waiting(begun.id, end, pending).await
            }
            None => self.store.end_turn(begun.id, end).await,
        };
        if saved.is_ok() {
            self.trace.written(rows);
            self.ledger.written(numbers);
        }
        saved
    }

    /// For those who follow the request or the formation.
    fn note(&self, update: &Update) {
        self.entry.tell(update);
        let agent = || self.lead().map_or_else(String::new, |agent| agent.config.id.clone());
        let (kind, message) = match update {
            Update::Asked { name, .. } => (EventKind::ChatStarted, format!("{name} is answering")),
            // Of files it is told where they are kept, of tools where they are called.
            Update::Text(_)
            | Update::Thinking(_)
            | Update::Artifact(_)
            | Update::Widget(_)
            | Update::Progress { .. }
            | Update::Planning { .. }
            | Update::ToolCall { .. } => return,
            Update::Warning(why) => (EventKind::ArtifactFailed, why.clone()),
            Update::Heard(_) => (
                EventKind::ChatTranscribed,
                "what was said in a recording was written down".to_owned(),
            ),
            Update::Completed(answer) if answer.waits.is_some() => {
                (EventKind::ChatWaiting, "somebody must answer before it goes on".to_owned())
            }
            Update::Completed(_) => (EventKind::ChatCompleted, format!("{} has answered", agent())),
            Update::Cancelled(_) => {
                (EventKind::ChatCancelled, "the request was cancelled".to_owned())
            }
            Update::Failed(failure) => (EventKind::ChatFailed, failure.to_string()),
        };
        let mut event = self.event(kind, message);
        if let Update::Completed(answer) = update {
            let usage = answer.about.usage;
            event = event
                .with("finish_reason", answer.finish_reason.clone())
                .with("prompt_tokens", usage.prompt_tokens)
                .with("completion_tokens", usage.completion_tokens);
        }
        self.context.events.tell(event);
    }

    pub(super) fn event(&self, kind: EventKind, message: String) -> Happening {
        let Question { user, session, request_id, .. } = &self.question;
        Happening {
            user: Some(user.clone()),
            session: Some(session.clone()),
            request: Some(request_id.clone()),
            agent: self.lead().map(|agent| agent.config.id.clone()),
            ..Happening::new(kind, self.context.clock.now(), message)
        }
    }

    /// Waits while the reader is slow; what came in between is the next event.
    async fn tell(&self, update: Update, deadline: Pin<&mut Sleep>) -> Option<Event> {
        self.note(&update);
        tokio::select! {
            biased;
            // The ends first, as in the wait for the work. Both arms are cancel-safe.
            () = self.context.shutdown.closing.cancelled() => Some(Event::Stopping),
            () = self.entry.cancelled() => Some(Event::Cancelled),
            () = deadline => Some(out_of_time()),
            // Cancel-safe enough: a piece that is lost here belongs to a turn that ends now.
            sent = self.updates.send(update) => {
                (sent.is_err() && !self.outlives_caller()).then_some(Event::CallerLeft)
            }
        }
    }

    fn outlives_caller(&self) -> bool {
        self.outlives_caller.load(Ordering::Relaxed)
    }
}

/// Pieces of an answer on their way from the work to the turn, within one task.
const PIECES_QUEUED: usize = 16;

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

fn out_of_time() -> Event {
    Event::Failed(Failure::Model {
        message: "the answer was not complete within the time for one message".to_owned(),
        retryable: true,
    })
}

pub(super) fn memory_failed(error: &StoreError) -> Failure {
    Failure::Memory { is_gone: matches!(error, StoreError::Gone) }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
