//! What agents may only do when their user agrees: listed, shown.

use axum::extract::State;
use axum::http::Uri;
use muxi_contract::ErrorCode;
use muxi_contract::formation::approvals::{Approval, ApprovalList};
use muxi_memory::{Pending, PendingFilter, PendingGroup, PendingStatus, Resolution};
use serde_json::Value;

use super::answer::Answer;
use super::auth::{Client, NamedUser, RequiredUser};
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::{App, Parts};

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 1000;

pub(crate) async fn list(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    let status = match query.text("status") {
        None => Some(PendingStatus::Open),
        Some("all") => None,
        Some(text) => {
            let status = text.parse().ok();
            if status.is_none() {
                let taken = "must be open, approved, denied, answered, cancelled, expired or all";
                query.fault("status", taken.to_owned());
            }
            status
        }
    };
    query.finish()?;
    let filter = PendingFilter { group: Some(PendingGroup::Consent), status };
    let found = app.store.for_user(&user).list_pending(filter, limit).await?;
    let now_ms = app.clock.now_ms();
    let approvals: Vec<Approval> =
        found.into_iter().map(|pending| shown(pending, &named, now_ms)).collect();
    let data = ApprovalList { count: approvals.len(), approvals };
    Ok(Answer::new("approval_list", "approval.list.retrieved", &data))
}

pub(crate) async fn get(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let pending = find(&app, &user, &id).await?;
    let data = shown(pending, &named, app.clock.now_ms());
    Ok(Answer::new("approval", "approval.retrieved", &data))
}

// === private helpers ===

/// What waits for words instead is answered by a message.
async fn find(app: &Parts, user: &muxi_contract::UserId, id: &str) -> Result<Pending, Problem> {
    let found = app.store.for_user(user).pending(id).await?;
    found.filter(|pending| pending.kind.group() == PendingGroup::Consent).ok_or_else(|| {
        Problem::new(ErrorCode::ResourceNotFound, format!("approval '{id}' was not found"))
    })
}

fn shown(pending: Pending, named: &NamedUser, now_ms: i64) -> Approval {
    Approval {
        status: status(&pending, now_ms).as_str().to_owned(),
        kind: pending.kind.as_str().to_owned(),
        detail: serde_json::from_str(&pending.detail_json).unwrap_or(Value::Null),
        user_id: named.shown(&pending.user).clone(),
        id: pending.id,
        question: pending.question,
        session_id: pending.session,
        request_id: pending.request_id,
        created_at: time(pending.created_ms),
        expires_at: time(pending.expires_ms),
        decided_at: pending.resolved.as_ref().map(|it| time(it.at_ms)),
        note: pending.resolved.and_then(|it| it.note),
    }
}

/// One whose time is over is as good as ended, although nobody has come by to end it.
fn status(pending: &Pending, now_ms: i64) -> PendingStatus {
    match &pending.resolved {
        Some(resolved) => PendingStatus::Resolved(resolved.resolution),
        None if pending.expires_ms <= now_ms => PendingStatus::Resolved(Resolution::Expired),
        None => PendingStatus::Open,
    }
}
