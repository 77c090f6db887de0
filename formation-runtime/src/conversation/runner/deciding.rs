//! An answer to a question that came through the API, and not as a message of the session.

use muxi_contract::{RequestId, UserId};
use muxi_memory::{NewResolution, Pending, RequestKind, RequestMode, Resolution, StoreError, Then};
use muxi_service::TaskKind;
use tokio::sync::oneshot;

use super::{Conversations, Question, StartError, begin, exhaust, work};
use crate::conversation::structured::Expected;
use crate::conversation::waiting::{Answered, Resumes, Suspended};

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("somebody has answered it already, or its time is over")]
    Resolved,
    #[error("what it takes to go on was written by another version and cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

// === impl Conversations ===

impl Conversations {
    /// Writes the answer down and goes on with the request that asked, whether or not anybody waits. When
    /// this returns, a process that dies loses neither.
    pub async fn decide(
        &self,
        user: &UserId,
        pending: Pending,
        verdict: Answered,
        note: Option<String>,
    ) -> Result<RequestId, DecideError> {
        if pending.resolved.is_some() {
            return Err(DecideError::Resolved);
        }
        let suspended: Suspended =
            serde_json::from_str(&pending.state_json).map_err(DecideError::Unreadable)?;
        let (resolution, word) = match &verdict {
            Answered::Yes => (Resolution::Approved, "Approved."),
            Answered::No(_) => (Resolution::Denied, "Refused."),
            Answered::Words(_) | Answered::Edited(_) => (Resolution::Answered, "Answered."),
        };
        let text = note.as_ref().map_or_else(|| word.to_owned(), |note| format!("{word} {note}"));
        let expected = suspended.output_schema.clone();
        let asked = self.context.store.for_user(user).request(&pending.request_id).await?;
        let kind = asked.map_or(RequestKind::Chat, |request| request.kind);
        let question = Question {
            user: user.clone(),
            session: pending.session.clone(),
            request_id: pending.request_id.clone(),
            agent: None,
            text,
            files: Vec::new(),
            kind,
            mode: RequestMode::Async,
            // It was checked when the request was made.
            expected: expected.and_then(|it| Expected::new(it).ok()).map(std::sync::Arc::new),
            resumes: Some(Resumes {
                id: pending.id.clone(),
                original: pending.request_id.clone(),
                verdict,
                suspended,
            }),
            picked: None,
            depth: 0,
            webhook_url: pending.webhook_url.clone(),
            accepted: Some(pending.request),
            created_ms: pending.request_created_ms,
        };
        // Whoever works on the request took it up.
        let ticket = self.admit(&question).map_err(|error| match error {
            StartError::IdInUse(_) => DecideError::Resolved,
            error @ (StartError::SessionFull(_)
            | StartError::Full(_)
            | StartError::FilesFull
            | StartError::Stopping) => error.into(),
        })?;
        ticket.entry.is_stored_as(pending.request);
        let new = NewResolution {
            resolution,
            note,
            then: Then::Again { work: work(&question) },
            at_ms: self.context.clock.now_ms(),
        };
        let request = question.request_id.clone();
        let (reply, resolved) = oneshot::channel();
        let context = self.context.clone();
        let open = context.open_requests.enter();
        // A task of its own: once it is written down it is worked on, also if the caller has left.
        self.context.tasks.spawn(TaskKind::Connection, "answered request", async move {
            let store = context.store.for_user(&question.user);
            let updates = match store.resolve_pending(&pending.id, new).await {
                Ok(Some(_)) => Ok(begin(&context, ticket, question)),
                Ok(None) => Err(DecideError::Resolved),
                Err(error) => Err(DecideError::Store(error)),
            };
            let (result, updates) =
                updates.map_or_else(|it| (Err(it), None), |it| (Ok(()), Some(it)));
            // A caller that left finds the request among its own.
            let _left = reply.send(result);
            if let Some(updates) = updates {
                exhaust(updates).await;
            }
            drop(open);
        });
        resolved.await.unwrap_or(Err(DecideError::Store(StoreError::Gone)))?;
        Ok(request)
    }
}
