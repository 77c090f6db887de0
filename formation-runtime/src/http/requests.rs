//! What became of requests: every turn is one, and one that is open can be cancelled.

use axum::extract::State;
use axum::http::Uri;
use muxi_contract::chat::Usage;
use muxi_contract::formation::requests::{RequestCancelled, RequestList, RequestView, WaitsFor};
use muxi_contract::{ErrorCode, RequestId, UserId};
use muxi_memory::{Outcome, Pending, Request, RequestStatus, Resolution, Tokens};

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::{Caller, NamedUser, User};
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::sessions::seconds;
use super::users::time;
use crate::app::{App, Parts};
use crate::artifacts;
use crate::conversation::unanswered;

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 1000;

pub(crate) async fn list(
    caller: Caller,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    query.finish()?;
    let found = match caller.user() {
        Some(user) => app.store.for_user(user).requests(limit).await?,
        None => app.store.all_requests(limit).await?,
    };
    let requests: Vec<RequestView> = found.iter().map(|it| shown(it, &named, false)).collect();
    let data = RequestList { count: requests.len(), requests };
    Ok(Answer::new("request_list", "request.list.retrieved", &data))
}

pub(crate) async fn get(
    caller: Caller,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let data = match find(&app, &caller, &id).await? {
        Found::Stored(request) => {
            let store = app.store.for_user(&request.user);
            let made = store.artifacts_of(request.seq).await?;
            let made: Vec<_> = made.iter().map(artifacts::reference).collect();
            let artifacts = (!made.is_empty()).then_some(made);
            let waits_for = store.pending_of(request.seq).await?.map(asked);
            RequestView { artifacts, waits_for, ..shown(&request, &named, true) }
        }
        Found::Waiting { id, created_ms, user } => RequestView {
            request_id: id,
            user_id: named.shown(&user).clone(),
            session_id: None,
            agent_id: None,
            kind: None,
            mode: None,
            status: RequestStatus::Pending.as_str().to_owned(),
            progress: None,
            created_at: seconds(created_ms),
            started_at: None,
            completed_at: None,
            usage: None,
            error: None,
            error_code: None,
            result: None,
            waits_for: None,
            partial_result: None,
            artifacts: None,
            warnings: None,
        },
    };
    Ok(Answer::new("request_status", "request.status.retrieved", &data))
}

pub(crate) async fn cancel(
    caller: Caller,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = find(&app, &caller, &id).await?;
    let act = Act {
        action: "request.cancelled",
        resource: Resource::Request,
        id: Some(found.id().to_string()),
    };
    let is_operator = matches!(caller, Caller::Admin(_));
    let cancellation = trail.record_if(is_operator, act, end(&app, &found)).await?;
    let data = RequestCancelled {
        request_id: found.id().clone(),
        status: "cancelled".to_owned(),
        cancellation: cancellation.to_owned(),
        message: "The work on the request ends; what was said until then is kept.".to_owned(),
    };
    Ok(Answer::new("request_status", "request.cancelled", &data))
}

/// Where a request is.
pub(super) enum Found {
    Stored(Request),
    /// In its session's queue, with a caller that waits for it.
    Waiting {
        id: RequestId,
        created_ms: i64,
        user: UserId,
    },
}

// === impl Found ===

impl Found {
    pub(super) fn id(&self) -> &RequestId {
        match self {
            Self::Stored(Request { id, .. }) | Self::Waiting { id, .. } => id,
        }
    }

    fn user(&self) -> &UserId {
        match self {
            Self::Stored(Request { user, .. }) | Self::Waiting { user, .. } => user,
        }
    }
}

// === impl Caller ===

impl Caller {
    /// Whose things are asked for; the operator may ask for everybody's.
    pub(crate) fn user(&self) -> Option<&UserId> {
        match self {
            Self::Client(user) => Some(user),
            Self::Admin(user) => user.as_ref(),
        }
    }

    pub(crate) fn under_both_names(self, NamedUser(named): NamedUser) -> Option<User> {
        let id = self.user()?.clone();
        Some(User { named: named.unwrap_or_else(|| id.clone()), id })
    }
}

// === private helpers ===

pub(super) async fn find(app: &Parts, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let request_id: RequestId = id.parse().map_err(|_| not_found(id))?;
    let Some(user) = caller.user() else {
        let found = app.store.request_of_anyone(&request_id).await?;
        return found.map(Found::Stored).ok_or_else(|| not_found(id));
    };
    if let Some(request) = app.store.for_user(user).request(&request_id).await? {
        return Ok(Found::Stored(request));
    }
    if let Some(active) = app.conversations.requests().find(user, &request_id) {
        let (created_ms, user) = (active.created_ms, user.clone());
        return Ok(Found::Waiting { id: request_id, created_ms, user });
    }
    // As documented: one of somebody else is told from one that there never was.
    match app.store.request_of_anyone(&request_id).await? {
        Some(_) => {
            let message = format!("request '{id}' is another user's");
            Err(Problem::new(ErrorCode::Forbidden, message))
        }
        None => Err(not_found(id)),
    }
}

/// Ends it here, or has another process of this formation end it.
async fn end(app: &Parts, found: &Found) -> Result<&'static str, Problem> {
    if let Some(active) = app.conversations.requests().find(found.user(), found.id()) {
        active.cancel();
        return Ok("immediate");
    }
    let Found::Stored(request) = found else { return Err(not_found(found.id().as_str())) };
    // Nobody works on one that waits, so that it ends with what it waits for.
    if let Some(pending) = app.store.for_user(&request.user).pending_of(request.seq).await?
        && unanswered::end(app, &pending, Resolution::Cancelled, Outcome::Cancelled).await?
    {
        return Ok("immediate");
    }
    let is_open = request.status.is_open();
    if !is_open || !app.store.ask_to_cancel(request.seq, app.clock.now_ms()).await? {
        let (id, status) = (&request.id, request.status.as_str());
        let message = format!("request '{id}' has ended: it is {status}");
        return Err(Problem::new(ErrorCode::OperationFailed, message));
    }
    Ok("cooperative")
}

fn not_found(id: &str) -> Problem {
    Problem::request_not_found(id)
}

fn asked(pending: Pending) -> WaitsFor {
    WaitsFor {
        id: pending.id,
        kind: pending.kind.as_str().to_owned(),
        question: pending.question,
        expires_at: time(pending.expires_ms),
    }
}

fn shown(request: &Request, named: &NamedUser, whole: bool) -> RequestView {
    let text_of = |status| (whole && request.status == status).then(|| request.result.clone());
    RequestView {
        request_id: request.id.clone(),
        user_id: named.shown(&request.user).clone(),
        session_id: Some(request.session.clone()),
        agent_id: request.agent.clone(),
        kind: Some(request.kind.as_str().to_owned()),
        mode: Some(request.mode.as_str().to_owned()),
        status: request.status.as_str().to_owned(),
        progress: None,
        created_at: seconds(request.created_ms),
        started_at: request.started_ms.map(seconds),
        completed_at: request.ended_ms.map(seconds),
        usage: request.tokens.map(|Tokens { prompt, completion }| Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
        }),
        error: request.error.clone(),
        error_code: request.error_code,
        result: text_of(RequestStatus::Completed).flatten(),
        waits_for: None,
        partial_result: text_of(RequestStatus::Cancelled).flatten(),
        artifacts: None,
        warnings: request.warnings.as_deref().and_then(|it| serde_json::from_str(it).ok()),
    }
}
