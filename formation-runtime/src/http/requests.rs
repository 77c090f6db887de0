//! What became of requests: every turn is one, and one that is open can be cancelled.

use axum::extract::State;
use axum::http::Uri;
use muxi_contract::{ErrorCode, RequestId, UserId};
use muxi_memory::{Request, RequestStatus};
use serde_json::{Value, json};

use super::answer::Answer;
use super::auth::{Caller, NamedUser, User};
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::sessions::seconds;
use crate::app::{App, Parts};

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
    let shown: Vec<Value> = found.iter().map(|request| shown(request, &named, false)).collect();
    let data = json!({"requests": shown, "count": shown.len()});
    Ok(Answer::new("request_list", "request.list.retrieved", &data))
}

pub(crate) async fn get(
    caller: Caller,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let data = match find(&app, &caller, &id).await? {
        Found::Stored(request) => shown(&request, &named, true),
        Found::Waiting { created_ms, user } => json!({
            "request_id": id,
            "user_id": named.shown(&user),
            "status": RequestStatus::Pending.as_str(),
            "progress": null,
            "created_at": seconds(created_ms),
        }),
    };
    Ok(Answer::new("request_status", "request.status.retrieved", &data))
}

pub(crate) async fn cancel(
    caller: Caller,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = find(&app, &caller, &id).await?;
    let (user, request_id) = match &found {
        Found::Stored(request) => (&request.user, &request.id),
        Found::Waiting { user, .. } => (user, &id.parse().map_err(|_| not_found(&id))?),
    };
    let here = app.conversations.requests().find(user, request_id);
    let cancellation = if let Some(active) = here {
        active.cancel();
        "immediate"
    } else {
        let Found::Stored(request) = &found else { return Err(not_found(&id)) };
        // Another process of this formation may be working on it.
        let is_open = request.status.is_open();
        if !is_open || !app.store.ask_to_cancel(request.seq, app.clock.now_ms()).await? {
            let message = format!("request '{id}' has ended: it is {}", request.status.as_str());
            return Err(Problem::new(ErrorCode::OperationFailed, message));
        }
        "cooperative"
    };
    let data = json!({
        "request_id": id,
        "status": "cancelled",
        "cancellation": cancellation,
        "message": "The work on the request ends; what was said until then is kept.",
    });
    Ok(Answer::new("request_status", "request.cancelled", &data))
}

/// Where a request is.
enum Found {
    Stored(Request),
    /// In its session's queue, with a caller that waits for it.
    Waiting {
        created_ms: i64,
        user: UserId,
    },
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

async fn find(app: &Parts, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let request_id: RequestId = id.parse().map_err(|_| not_found(id))?;
    let Some(user) = caller.user() else {
        let found = app.store.request_of_anyone(&request_id).await?;
        return found.map(Found::Stored).ok_or_else(|| not_found(id));
    };
    if let Some(request) = app.store.for_user(user).request(&request_id).await? {
        return Ok(Found::Stored(request));
    }
    if let Some(active) = app.conversations.requests().find(user, &request_id) {
        return Ok(Found::Waiting { created_ms: active.created_ms, user: user.clone() });
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

fn not_found(id: &str) -> Problem {
    Problem::request_not_found(id)
}

fn shown(request: &Request, named: &NamedUser, whole: bool) -> Value {
    let mut shown = json!({
        "request_id": request.id,
        "user_id": named.shown(&request.user),
        "session_id": request.session,
        "kind": request.kind.as_str(),
        "mode": request.mode.as_str(),
        "status": request.status.as_str(),
        "progress": null,
        "created_at": seconds(request.created_ms),
        "completed_at": request.ended_ms.map(seconds),
    });
    if let Some(error) = &request.error {
        shown["error"] = json!(error);
    }
    if whole && request.status == RequestStatus::Completed {
        shown["result"] = json!(request.result);
    }
    if whole && request.status == RequestStatus::Cancelled {
        shown["partial_result"] = json!(request.result);
    }
    shown
}
