//! What dead processes left: requests that were accepted and not begun are worked on, those that were
//! cut off end with a reason, and webhooks they were trying are tried again. Nothing stays open for ever.

use std::sync::Arc;
use std::time::Duration;

use muxi_contract::ErrorCode;
use muxi_memory::{Abandoned, Outcome, RequestMode, RequestStatus, StoreError};
use tokio_util::sync::CancellationToken;

use super::report::{self, Reported};
use super::runner::{Conversations, Question, Work};
use super::structured::Expected;
use super::unanswered;
use crate::app::App;
use crate::events::{Event, EventKind};

/// Another process of this formation may die at any time.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Whoever asked another process to cancel a request waits for no longer.
const CANCEL_EVERY: Duration = Duration::from_secs(1);
/// A formation that is full is asked again after this.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Forgotten in one transaction, so that nobody waits for long.
const TURNS_AT_ONCE: u32 = 500;
/// A request during which more processes died is not begun again: it may be what kills them.
const DEATHS_MAX: u32 = 3;
const HOUR_MS: i64 = 60 * 60 * 1_000;
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// Looks after abandoned requests until the process stops.
pub async fn run(app: App, stop: CancellationToken) {
    let looking = async {
        loop {
            // The end of one may leave others that waited for it.
            loop {
                match take_over(&app).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "abandoned requests"
                        );
                        break;
                    }
                }
            }
            if let Err(error) = unanswered::expire(&app).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "unanswered questions");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let cancelling = async {
        loop {
            tokio::time::sleep(CANCEL_EVERY).await;
            cancel_asked(&app).await;
        }
    };
    let forgetting = async {
        loop {
            forget(&app).await;
            tokio::time::sleep(FORGET_EVERY).await;
        }
    };
    let all = futures_util::future::join3(looking, cancelling, forgetting);
    // They have no end of their own.
    let _stopped = stop.run_until_cancelled(all).await;
}

/// Whether there was anything.
async fn take_over(app: &App) -> Result<bool, StoreError> {
    app.store.free_deliveries(app.clock.now_ms()).await?;
    let abandoned = app.store.take_abandoned().await?;
    let is_any = !abandoned.is_empty();
    for Abandoned { request, work, webhook_url, deaths, is_cancelled } in abandoned {
        let work: Option<Work> = work.and_then(|work| serde_json::from_str(&work).ok());
        tracing::warn!(request = %request.id, status = request.status.as_str(), "its process is gone");
        let agent = work.as_ref().map(|work| match &work.agent {
            Some(id) => app.agents.find(id).map(Some),
            None => Some(None),
        });
        if !is_cancelled
            && deaths <= DEATHS_MAX
            && let (Some(work), Some(Some(agent))) = (&work, agent)
        {
            let question = Question {
                user: request.user,
                session: request.session,
                request_id: request.id,
                agent,
                text: work.text.clone(),
                files: work.files.clone(),
                kind: request.kind,
                mode: RequestMode::Async,
                // It was checked when the request was accepted.
                expected: work
                    .output_schema
                    .clone()
                    .and_then(|it| Expected::new(it).ok())
                    .map(Arc::new),
                resumes: work.resumes.clone(),
                picked: work.picked.clone(),
                depth: 0,
                webhook_url,
                accepted: Some(request.seq),
                created_ms: request.created_ms,
            };
            let resumed =
                app.event(EventKind::RequestResumed, "a request of a dead process goes on");
            app.events.tell(Event {
                user: Some(question.user.clone()),
                session: Some(question.session.clone()),
                request: Some(question.request_id.clone()),
                ..resumed
            });
            resume(&app.conversations, question).await;
            continue;
        }
        let outcome = if is_cancelled {
            Outcome::Cancelled
        } else if request.status == RequestStatus::Pending {
            let error = "the agent that it was for is no longer there".to_owned();
            Outcome::Failed { error, code: ErrorCode::AgentNotFound }
        } else {
            Outcome::Interrupted
        };
        app.events.tell(Event {
            user: Some(request.user.clone()),
            session: Some(request.session.clone()),
            request: Some(request.id.clone()),
            ..app.event(EventKind::RequestAbandoned, outcome.error().unwrap_or_default())
        });
        let now_ms = app.clock.now_ms();
        let delivery = webhook_url.as_deref().map(|url| {
            let reported = Reported {
                formation: &app.manifest.id,
                user: &request.user,
                request: &request.id,
                url,
                began_ms: request.created_ms,
            };
            report::of_end(reported, &outcome, "", &[], now_ms)
        });
        let store = app.store.for_user(&request.user);
        store.end_request(request.seq, outcome, delivery, now_ms).await?;
    }
    Ok(is_any)
}

/// Waits while the formation is full; a stop leaves the request to the next process.
async fn resume(conversations: &Conversations, question: Question) {
    while conversations.resume(question.clone()).is_err() {
        if conversations.context().shutdown.closing.is_cancelled() {
            return;
        }
        tokio::time::sleep(FULL_PAUSE).await;
    }
}

async fn cancel_asked(app: &App) {
    if app.conversations.requests().is_empty() {
        return;
    }
    match app.store.asked_to_cancel().await {
        Ok(asked) => app.conversations.requests().cancel_all(&asked),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cancelled requests");
        }
    }
}

async fn forget(app: &App) {
    match app.artifacts.sweep().await {
        Ok(swept) if swept.expired > 0 => {
            let expired = app.event(EventKind::ArtifactsExpired, "old artifacts are gone");
            app.events.tell(expired.with("count", swept.expired));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old artifacts are kept for now"
            );
        }
    }
    let kept = app.manifest.memory.retention;
    if kept.sessions_days > 0 {
        let before_ms = app.clock.now_ms() - i64::from(kept.sessions_days) * 24 * HOUR_MS;
        let forgetting = async {
            while app.store.forget_turns(before_ms, TURNS_AT_ONCE).await? > 0 {}
            Ok::<(), StoreError>(())
        };
        if let Err(error) = forgetting.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old sessions are kept for now"
            );
        }
    }
    let before_ms = app.clock.now_ms() - i64::from(kept.requests_hours) * HOUR_MS;
    if let Err(error) = app.store.forget_requests(before_ms).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "old requests are kept for now");
    }
}
