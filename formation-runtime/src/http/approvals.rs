//! What agents may only do when their user agrees: listed, shown, decided.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use muxi_contract::ErrorCode;
use muxi_contract::formation::approvals::{Approval, ApprovalDecided, ApprovalList};
use muxi_memory::{Pending, PendingFilter, PendingGroup, PendingKind, PendingStatus, Resolution};
use muxi_orchestration::graph::{Plan, Task};
use muxi_orchestration::routing::Limits;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::auth::{Client, NamedUser, RequiredUser};
use super::body;
use super::error::Problem;
use super::fields::Fields;
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::{App, Parts};
use crate::conversation::DecideError;
use crate::conversation::waiting::Answered;

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 1000;
const NOTE_CHARS_MAX: usize = 1_000;

/// What somebody said to an approval.
struct Said {
    verdict: Answered,
    note: Option<String>,
}

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

/// The request goes on under its own id, and its end is told there.
pub(crate) async fn decide(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let fields = body::object(body, &app).await?;
    let pending = find(&app, &user, &id).await?;
    let Said { verdict, note } = said(&fields, &pending, &app)?;
    let status = status(&pending, app.clock.now_ms());
    if status != PendingStatus::Open {
        let message = format!("approval '{id}' is {} already", status.as_str());
        return Err(Problem::new(ErrorCode::Conflict, message));
    }
    let decision = if matches!(verdict, Answered::No(_)) { "deny" } else { "approve" };
    let request_id = app.conversations.decide(&user, pending, verdict, note).await?;
    let data = ApprovalDecided {
        id,
        decision: decision.to_owned(),
        poll_url: format!("/v1/requests/{request_id}"),
        request_id,
    };
    Ok((StatusCode::ACCEPTED, Answer::new("approval", "approval.decided", &data)).into_response())
}

// === private helpers ===

/// All faults at once.
fn said(fields: &Map<String, Value>, pending: &Pending, app: &Parts) -> Result<Said, Problem> {
    let mut fields = Fields::of(fields);
    let decision = fields.required_text("decision", NOTE_CHARS_MAX);
    let approves = decision == Some("approve");
    if decision.is_some_and(|it| it != "approve" && it != "deny") {
        fields.fault("decision", "must be \"approve\" or \"deny\"", "invalid");
    }
    let note = fields.text("note", NOTE_CHARS_MAX).map(str::to_owned);
    let tasks = edited(&mut fields, pending, app);
    if tasks.is_some() && decision == Some("deny") {
        fields.fault("plan", "goes with \"approve\" only", "invalid");
    }
    fields.finish()?;
    let verdict = match tasks {
        Some(tasks) => Answered::Edited(tasks),
        None if approves => Answered::Yes,
        None => Answered::No(note.clone()),
    };
    Ok(Said { verdict, note })
}

/// The tasks that are to be done in the place of those that were proposed.
fn edited(fields: &mut Fields<'_>, pending: &Pending, app: &Parts) -> Option<Vec<Task>> {
    let plan = fields.object("plan")?;
    if pending.kind != PendingKind::Plan {
        fields.fault("plan", "is for plans; this approval is of calls", "invalid");
        return None;
    }
    let agents = app.agents.all();
    let agents: Vec<&str> = agents.iter().map(|agent| agent.config.id.as_str()).collect();
    let text = Value::Object(plan.clone()).to_string();
    match Plan::from_json(&text, &agents, Limits::default().plan) {
        Ok(plan) => Some(plan.tasks().to_vec()),
        Err(faults) => {
            for fault in faults.0 {
                fields.fault("plan", &format!("does not hold: {fault}"), "invalid");
            }
            None
        }
    }
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Start(error) => error.into(),
            DecideError::Store(error) => error.into(),
            DecideError::Resolved => Self::new(ErrorCode::Conflict, error.to_string()),
            DecideError::Unreadable(fault) => {
                tracing::error!(%fault, "what a session waits for cannot be read");
                let told =
                    "what it takes to go on was written by another version and cannot be read";
                Self::new(ErrorCode::OperationFailed, told)
            }
        }
    }
}

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
