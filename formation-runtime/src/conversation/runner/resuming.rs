//! A session waits for an answer, and this message may be it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use muxi_memory::{
    BegunTurn, HistoryMessage, NewResolution, Outcome, Pending, PendingKind, RequestKind,
    RequestMode, Resolution, Role, Then,
};
use muxi_orchestration::approval::{self, reply};
use muxi_orchestration::clarification::{self, Reply, State};
use serde_json::{Value, json};

use super::running::{Running, chain, memory_failed};
use super::speaking::Stage;
use crate::conversation::course::Way;
use crate::conversation::files;
use crate::conversation::report::{self, Reported};
use crate::conversation::structured::Expected;
use crate::conversation::tool_loop::{Next, ToolLoop};
use crate::conversation::trace::Decision;
use crate::conversation::turn::{Event, Failure, Finish};
use crate::conversation::waiting::{Answered, Resumes, Suspended, Work};

// === impl Running ===

impl Running {
    /// What this message answers, if anything; from here on nobody else can answer it.
    pub(super) async fn resumed(
        &self,
        begun: &BegunTurn,
        text: &str,
    ) -> Result<Option<Resumes>, Failure> {
        if let Some(resumes) = &self.question.resumes {
            return Ok(Some(resumes.clone()));
        }
        let Some(pending) = begun.pending.as_ref() else { return Ok(None) };
        if !self.may_answer(pending, &begun.history) {
            return Ok(None);
        }
        let suspended: Suspended = match serde_json::from_str(&pending.state_json) {
            Ok(suspended) => suspended,
            Err(error) => {
                tracing::error!(%error, id = pending.id, "what a session waits for cannot be read");
                return Ok(None);
            }
        };
        let Some(verdict) = self.verdict(pending, &suspended, text) else {
            let why = "the message is about something else";
            self.trace.decide(Decision::new("pending", "dropped", why));
            let outcome = Outcome::Cancelled;
            let delivery = self
                .told_of(pending)
                .map(|it| report::of_end(it, &outcome, "", &[], self.context.clock.now_ms()));
            let then = Then::Ends { outcome, delivery };
            self.resolve(pending, Resolution::Cancelled, then, text).await?;
            return Ok(None);
        };
        let resolution = match &verdict {
            Answered::Yes => Resolution::Approved,
            Answered::No(_) => Resolution::Denied,
            Answered::Words(_) | Answered::Edited(_) => Resolution::Answered,
        };
        if !self.resolve(pending, resolution, Then::InTurn(begun.id), text).await? {
            return Ok(None);
        }
        if pending.request_mode == RequestMode::Async {
            // Whoever said yes is not who waits for it.
            self.outlives_caller.store(true, Ordering::Relaxed);
        }
        if let Some(url) = &pending.webhook_url {
            let original = (pending.request_id.clone(), url.clone(), pending.request_created_ms);
            // Only one message is answered by a turn.
            drop(self.original.set(original));
        }
        Ok(Some(Resumes {
            id: pending.id.clone(),
            original: pending.request_id.clone(),
            verdict,
            suspended,
        }))
    }

    /// Whether this message can be an answer at all. What may be done is for people to say, so that no agent
    /// elsewhere says it for them, nor a choice that was shown with another question. Words alone allow what
    /// was asked last only: after something else was said, a yes may be to that, and the question's own widget
    /// or the API is the way.
    fn may_answer(&self, pending: &Pending, history: &[HistoryMessage]) -> bool {
        let is_of_somebody_who_may = match self.question.kind {
            RequestKind::Chat => true,
            RequestKind::A2a => pending.kind == PendingKind::Clarification,
            RequestKind::Trigger
            | RequestKind::Job
            | RequestKind::Watch
            | RequestKind::Delegation => false,
        };
        let is_meant = match self.question.picked {
            Some(_) => self.picked_text(pending).is_some(),
            None => match pending.kind {
                // Without a history there is nothing that it could be compared with.
                PendingKind::Approval | PendingKind::Plan => history
                    .last()
                    .is_none_or(|it| it.role == Role::Assistant && it.text == pending.question),
                PendingKind::Clarification | PendingKind::Credential => true,
            },
        };
        is_of_somebody_who_may && is_meant && self.question.agent.is_none()
    }

    /// Goes on with what waited.
    pub(super) async fn go_on(
        &self,
        resumes: Resumes,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let Resumes { id, original, verdict, suspended } = resumes;
        let choice = match &verdict {
            Answered::Yes => "approved",
            Answered::No(_) => "refused",
            Answered::Words(_) => "answered",
            Answered::Edited(_) => "edited",
        };
        let detail = json!({"id": id, "request_id": original});
        let why = format!("the message answers what request {original} asked");
        self.trace.decide(Decision::new("pending", choice, why).with(detail));
        // Only one message is answered by a turn.
        drop(self.earlier_files.set(suspended.files));
        if let Some(Ok(expected)) = suspended.output_schema.map(Expected::new) {
            drop(self.earlier_expected.set(Arc::new(expected)));
        }
        let message = suspended.message;
        match suspended.work {
            Work::Agent { agent, tool_loop } => {
                let agent = self.context.team.agents.find(&agent).ok_or(Failure::Nobody)?;
                self.is_led_by(&agent, stage).await;
                let toolbox = self.toolbox(&agent, &message).await;
                let mut tool_loop = *tool_loop;
                tool_loop.guard(toolbox.guard(self.now_ms()));
                tool_loop.attach(files::attachments(&self.files()));
                let next = decided(&mut tool_loop, &verdict);
                self.answer_with(&agent, &toolbox, tool_loop, next, &message, stage).await
            }
            Work::Plan { running, held } => {
                let held = held.into_iter().map(|mut held| {
                    let next = decided(&mut held.tool_loop, &verdict);
                    (held.task.clone(), (held, next))
                });
                let held = held.collect();
                self.run_plan(running, held, begun.request, &message, stage).await
            }
            Work::Proposed { running } => {
                self.answer_proposal(running, verdict, begun, &message, stage).await
            }
            Work::Clarification { asked } => {
                let words = match &verdict {
                    Answered::Words(words) => words,
                    Answered::Yes | Answered::No(_) | Answered::Edited(_) => text,
                };
                self.clarified(asked, begun, words, stage).await
            }
        }
    }

    pub(super) async fn clarify(
        &self,
        about: clarification::Kind,
        question: String,
        options: Vec<String>,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let limits = &self.context.team.clarification;
        match State::first(about, text, question, options, limits) {
            Some(asked) => self.ask_back(asked, stage).await,
            None => self.go_ahead(begun, text, stage).await,
        }
    }

    async fn ask_back(&self, asked: State, stage: &Stage) -> Result<Finish, Failure> {
        let (question, message) = (asked.question.clone(), asked.message.clone());
        let shown = json!({"options": asked.options, "round": asked.rounds});
        let work = Work::Clarification { asked };
        self.wait(PendingKind::Clarification, &question, shown, work, &message, stage).await
    }

    /// The user said something; either the work begins or another question is asked.
    async fn clarified(
        &self,
        asked: State,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let limits = &self.context.team.clarification;
        let (answered, message) = match asked.next(&Reply { text, pinned: None }, limits) {
            clarification::Next::Ask(asked) => return self.ask_back(asked, stage).await,
            clarification::Next::GoOn { state, message } => (state, message),
            clarification::Next::TooManyRounds { message } => {
                return self.go_ahead(begun, &message, stage).await;
            }
            // Both were told before this turn took the question up.
            clarification::Next::Cancelled | clarification::Next::TopicSwitch => {
                return Ok(self.say("All right, I leave it at that.", stage).await);
            }
        };
        match Box::pin(self.steer(begun, &message, stage)).await? {
            Way::Clarify { question, options, .. } => match answered.ask(question, options, limits)
            {
                clarification::Next::Ask(asked) => self.ask_back(asked, stage).await,
                clarification::Next::TooManyRounds { message } => {
                    self.go_ahead(begun, &message, stage).await
                }
                clarification::Next::GoOn { .. }
                | clarification::Next::Cancelled
                | clarification::Next::TopicSwitch => self.go_ahead(begun, &message, stage).await,
            },
            way @ (Way::Direct { .. }
            | Way::Agent { .. }
            | Way::Procedure { .. }
            | Way::Workflow { .. }
            | Way::Nobody) => Box::pin(self.go(way, begun, &message, stage)).await,
        }
    }

    /// So many questions are enough: whoever fits best answers with what there is.
    async fn go_ahead(
        &self,
        begun: &BegunTurn,
        message: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        let why = "no more questions may be asked";
        self.trace.decide(Decision::new("clarification", "given up", why));
        let agent = self.best_agent(message, begun).ok_or(Failure::Nobody)?;
        self.answer_as(agent, begun, message, stage).await
    }

    fn best_agent(&self, text: &str, begun: &BegunTurn) -> Option<Arc<crate::agents::Agent>> {
        let team = &self.context.team;
        let candidates = team.candidates();
        let scored = muxi_orchestration::routing::score(text, &candidates, self.last_agent(begun));
        team.agents.find(&scored.first()?.id)
    }

    /// Nothing if the message is about something else.
    fn verdict(&self, pending: &Pending, suspended: &Suspended, text: &str) -> Option<Answered> {
        let text = self.picked_text(pending).unwrap_or_else(|| text.to_owned());
        Some(match (pending.kind, reply(&text)) {
            (PendingKind::Approval | PendingKind::Plan, approval::Reply::Yes) => Answered::Yes,
            (PendingKind::Approval | PendingKind::Plan, approval::Reply::No) => Answered::No(None),
            // Not a yes: nothing is done, and the agent hears why.
            (PendingKind::Approval, approval::Reply::Other) => Answered::No(Some(text)),
            (PendingKind::Plan, approval::Reply::Other) => Answered::Words(text),
            (PendingKind::Clarification | PendingKind::Credential, _) => {
                if let Work::Clarification { asked } = &suspended.work {
                    let reply = Reply { text: &text, pinned: None };
                    match asked.clone().next(&reply, &self.context.team.clarification) {
                        clarification::Next::TopicSwitch => return None,
                        clarification::Next::Cancelled => return Some(Answered::No(None)),
                        clarification::Next::Ask(_)
                        | clarification::Next::GoOn { .. }
                        | clarification::Next::TooManyRounds { .. } => {}
                    }
                }
                Answered::Words(text)
            }
        })
    }

    /// What was chosen of the question's own widget; nothing of an older one.
    fn picked_text(&self, pending: &Pending) -> Option<String> {
        let picked = self.question.picked.as_ref()?;
        let shown: Value = serde_json::from_str(&pending.detail_json).ok()?;
        (shown["widget"]["id"].as_str()? == picked.widget).then(|| match &picked.value {
            Value::String(text) => text.clone(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => picked.value.to_string(),
        })
    }

    /// Whoever is told of the end of the request that asked.
    fn told_of<'a>(&'a self, pending: &'a Pending) -> Option<Reported<'a>> {
        let (formation, user) = (&self.context.formation, &self.question.user);
        let began_ms = pending.request_created_ms;
        let url = pending.webhook_url.as_deref()?;
        Some(Reported { formation, user, request: &pending.request_id, url, began_ms })
    }

    async fn resolve(
        &self,
        pending: &Pending,
        resolution: Resolution,
        then: Then,
        note: &str,
    ) -> Result<bool, Failure> {
        let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
        let at_ms = self.context.clock.now_ms();
        let new = NewResolution { resolution, note: Some(note), then, at_ms };
        match self.store.resolve_pending(&pending.id, new).await {
            Ok(resolved) => Ok(resolved.is_some()),
            Err(error) => {
                tracing::error!(error = %chain(&error), "an answer could not be written down");
                Err(memory_failed(&error))
            }
        }
    }

    pub(super) async fn say(&self, text: &str, stage: &Stage) -> Finish {
        stage.send(Event::Text(text.to_owned())).await;
        Finish { reason: "stop".to_owned(), ..Finish::default() }
    }
}

// === private helpers ===

const NOTE_CHARS_MAX: usize = 1_000;

fn decided(tool_loop: &mut ToolLoop, verdict: &Answered) -> Next {
    match verdict {
        Answered::Yes => tool_loop.decided(true, None),
        Answered::No(words) => tool_loop.decided(false, words.as_deref()),
        Answered::Words(words) => tool_loop.decided(false, Some(words)),
        Answered::Edited(_) => tool_loop.decided(false, None),
    }
}
