//! Forgetting for the operator: what was remembered of a user, or from a source, for good.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use muxi_contract::formation::forget::ForgetJob;
use muxi_contract::ids::nanoid;
use muxi_contract::{ErrorCode, UserId};
use muxi_memory::Forget;

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::{Admin, User};
use super::body;
use super::error::Problem;
use super::fields::{Fields, NAME_CHARS_MAX};
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::App;
use crate::events::{Event, EventKind};

const REASON_CHARS_MAX: usize = 1_000;

pub(crate) async fn forget(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let waits = query.flag("sync");
    query.finish()?;
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let user: Option<UserId> = fields.parsed("user_id");
    let source = fields.text("source", NAME_CHARS_MAX).map(str::to_owned);
    let reason = fields.text("reason", REASON_CHARS_MAX).map(str::to_owned);
    let rebuilds = fields.flag("rebuild", false);
    fields.flag("background", true);
    if fields.value("user_id").is_none() && fields.value("source").is_none() {
        fields.fault("user_id", "is required, or source", "missing");
    }
    fields.finish()?;
    if rebuilds {
        return Err(Problem::not_built("`rebuild` of POST /v1/memory/forget"));
    }
    let user = match user {
        Some(named) => Some(User::of(named, &app).await?.id),
        None => None,
    };
    let (id, at_ms) = (format!("forget_{}", nanoid()), app.clock.now_ms());
    let what = Forget { id, user, source, reason, at_ms };
    let act =
        Act { action: "memory.forgotten", resource: Resource::Memory, id: Some(what.id.clone()) };
    let forgetting = async { Ok(app.store.forget_memories(what.clone()).await?) };
    let deleted = trail.record(act, forgetting).await?;
    let event = app.event(EventKind::MemoryForgotten, "memories were forgotten for the operator");
    let event = event.with("job_id", what.id.as_str()).with("deleted", deleted);
    app.events.tell(Event { user: what.user.clone(), ..event });
    let answer = Answer::new("memory", "memory.deleted", &shown(what, deleted));
    let status = if waits { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, answer).into_response())
}

pub(crate) async fn job(_: Admin, State(app): State<App>, Id(id): Id) -> Result<Answer, Problem> {
    let (what, deleted) =
        app.store.forgotten(&id).await?.ok_or_else(|| {
            Problem::new(ErrorCode::NotFound, format!("job '{id}' was not found"))
        })?;
    Ok(Answer::new("memory", "memory.deleted", &shown(what, deleted)))
}

// === private helpers ===

/// It was done in one act, before anybody was told, and nothing can bring it back.
fn shown(what: Forget, deleted: u64) -> ForgetJob {
    let status_url = format!("/v1/memory/forget/{}", what.id);
    ForgetJob {
        job_id: what.id,
        status: "completed".to_owned(),
        user_id: what.user,
        source: what.source,
        reason: what.reason,
        deleted_events: deleted,
        deleted_memories: deleted,
        grace_period_days: 0,
        created_at: time(what.at_ms),
        completed_at: time(what.at_ms),
        status_url,
    }
}
