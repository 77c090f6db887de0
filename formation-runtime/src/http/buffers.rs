//! The memory of conversations, under the name that the API has for it: what is kept, and forgetting.

use axum::extract::State;
use muxi_contract::formation::buffers::{
    BufferCleared, BufferList, BufferStats, BufferStatus, BufferedSession, SessionBufferCleared,
    UserBuffer,
};
use muxi_contract::{SessionId, UserId};
use muxi_memory::Kept;

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::{Admin, Caller, NamedUser, RequiredUser};
use super::error::Problem;
use super::path::Id;
use crate::app::App;

const USERS_MAX: u32 = 1000;
const SESSIONS_MAX: u32 = 1000;

pub(crate) async fn get(
    _: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
) -> Result<Answer, Problem> {
    let store = app.store.for_user(&user);
    let (kept, sessions) = (store.kept().await?, store.sessions(SESSIONS_MAX, None).await?);
    let sessions = sessions
        .into_iter()
        .map(|it| BufferedSession { session_id: it.id, message_count: it.message_count })
        .collect();
    let data = BufferStatus {
        user_id: named.shown(&user).clone(),
        total_messages: kept.messages,
        sessions,
        buffer_size_kb: kilobytes(kept),
    };
    Ok(Answer::new("memory", "memory.buffer.status", &data))
}

/// Of one user; of everybody when the operator names none.
pub(crate) async fn clear(
    caller: Caller,
    NamedUser(named): NamedUser,
    trail: Trail,
    State(app): State<App>,
) -> Result<Answer, Problem> {
    let clearing = async {
        Ok(match caller.user() {
            Some(user) => app.store.for_user(user).clear_sessions().await?,
            None => app.store.clear_all_sessions().await?,
        })
    };
    let is_operator = matches!(caller, Caller::Admin(_));
    let cleared = trail.record_if(is_operator, act(named.as_ref(), None), clearing).await?;
    let whose = named.as_ref().map_or("everybody", UserId::as_str);
    let data = BufferCleared {
        message: format!("The buffer of {whose} was cleared."),
        user_id: named,
        messages_cleared: cleared.messages,
        sessions_cleared: cleared.sessions,
    };
    Ok(Answer::new("message", "memory.buffer.user.cleared", &data))
}

pub(crate) async fn clear_all(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
) -> Result<Answer, Problem> {
    clear(Caller::Admin(None), NamedUser(None), trail, State(app)).await
}

pub(crate) async fn clear_session(
    caller: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    trail: Trail,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let not_found = || Problem::session_not_found(&id);
    let session: SessionId = id.parse().map_err(|_| not_found())?;
    let clearing =
        async { app.store.for_user(&user).delete_session(&session).await?.ok_or_else(not_found) };
    let act = act(Some(named.shown(&user)), Some(&session));
    let is_operator = matches!(caller, Caller::Admin(_));
    let cleared = trail.record_if(is_operator, act, clearing).await?;
    let data = SessionBufferCleared {
        message: "The buffer of the session was cleared.".to_owned(),
        user_id: named.shown(&user).clone(),
        session_id: session,
        messages_cleared: cleared.messages,
    };
    Ok(Answer::new("message", "memory.buffer.session.cleared", &data))
}

pub(crate) async fn stats(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let kept = app.store.kept_of_all().await?;
    let buffer = &app.manifest.memory.buffer;
    let data = BufferStats {
        total_entries: kept.messages,
        total_users: kept.users,
        total_sessions: kept.sessions,
        buffer_size_kb: kilobytes(kept),
        max_size: buffer.size,
        utilization: None,
    };
    Ok(Answer::new("memory", "memory.retrieved", &data))
}

pub(crate) async fn list(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let buffers: Vec<UserBuffer> = app
        .store
        .kept_by_user(USERS_MAX)
        .await?
        .into_iter()
        .map(|(user_id, kept)| UserBuffer {
            user_id,
            total_messages: kept.messages,
            sessions: kept.sessions,
            buffer_size_kb: kilobytes(kept),
        })
        .collect();
    let data = BufferList { count: buffers.len(), buffers };
    Ok(Answer::new("list", "memory.list", &data))
}

fn act(user: Option<&UserId>, session: Option<&SessionId>) -> Act {
    let id = user.map(|user| match session {
        Some(session) => format!("{user}/{session}"),
        None => user.to_string(),
    });
    Act { action: "memory.buffer.cleared", resource: Resource::Memory, id }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kilobytes(kept: Kept) -> f64 {
    (kept.bytes as f64 / 1024.0 * 100.0).round() / 100.0
}
