//! A user's sessions and what was said in them.

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use muxi_contract::formation::sessions::{
    Message, MessageFile, MessageList, MessageMetadata, Session, SessionDeleted, SessionList,
    SessionRestored,
};
use muxi_contract::{ErrorCode, SessionId, UserId};
use muxi_memory::Before;

use super::answer::Answer;
use super::auth::{Client, NamedUser, RequiredUser};
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::{body, restored};
use crate::app::{App, Parts};
use crate::conversation::files::{self, Remembered};
use crate::events::{Event, EventKind};

/// A session that nobody wrote in for so long counts as over.
const ACTIVE_MS: i64 = 30 * 60 * 1000;
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
    let active_only = query.flag("active_only");
    query.finish()?;
    let since = app.clock.now_ms() - ACTIVE_MS;
    let found = app.store.for_user(&user).sessions(limit, active_only.then_some(since)).await?;
    let sessions: Vec<Session> =
        found.iter().map(|session| shown(session, named.shown(&user), since)).collect();
    let data = SessionList { count: sessions.len(), sessions };
    Ok(Answer::new("session_list", "session.list", &data))
}

pub(crate) async fn get(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    // What cannot be a session's id is the id of no session.
    let not_found = || Problem::session_not_found(&id);
    let session: SessionId = id.parse().map_err(|_| not_found())?;
    let found = app.store.for_user(&user).session(&session).await?.ok_or_else(not_found)?;
    let since = app.clock.now_ms() - ACTIVE_MS;
    let data = shown(&found, named.shown(&user), since);
    Ok(Answer::new("session", "session.retrieved", &data))
}

pub(crate) async fn messages(
    _: Client,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    let before = query.text("before").map(str::to_owned).and_then(|text| {
        let before = before(&text);
        if before.is_none() {
            let message = "must be a message's id, Unix seconds or an ISO 8601 time".to_owned();
            query.fault("before", message);
        }
        before
    });
    query.finish()?;
    let Ok(session) = id.parse::<SessionId>() else {
        return Err(Problem::session_not_found(&id));
    };
    let page = app.store.for_user(&user).messages(&session, limit, before).await?;
    let user = named.shown(&user);
    let messages: Vec<Message> =
        page.messages.iter().map(|it| message(it, &app, user, &session)).collect();
    let (count, has_more) = (messages.len(), page.has_more);
    let data = MessageList { session_id: session, messages, count, has_more };
    Ok(Answer::new("session", "session.messages.list", &data))
}

pub(crate) async fn delete(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let not_found = || Problem::session_not_found(&id);
    let session: SessionId = id.parse().map_err(|_| not_found())?;
    let cleared =
        app.store.for_user(&user).delete_session(&session).await?.ok_or_else(not_found)?;
    app.events.tell(Event {
        user: Some(user),
        session: Some(session.clone()),
        ..app.event(EventKind::SessionDeleted, "a session was deleted")
    });
    let deleted = cleared.sessions > 0;
    let message = if deleted {
        "The session was deleted."
    } else {
        "A message of the session is being answered; everything before it was deleted."
    };
    let data = SessionDeleted {
        session_id: session,
        deleted,
        messages_cleared: cleared.messages,
        message: message.to_owned(),
    };
    Ok(Answer::new("session", "session.deleted", &data))
}

/// Replaces what the session holds, as a client that keeps sessions itself brings them back.
pub(crate) async fn restore(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
    body: Body,
) -> Result<Answer, Problem> {
    let session: SessionId = id.parse().map_err(|error: muxi_contract::ids::InvalidOpaqueId| {
        Problem::new(ErrorCode::InvalidRequest, error.to_string())
    })?;
    let fields = body::object(body, &app).await?;
    let default_agent = app.agents.default_agent();
    let default_agent = default_agent.as_ref().map_or("", |agent| agent.config.id.as_str());
    let messages = restored::parse(&fields, default_agent)?;
    let loaded = messages.len();
    if app.store.for_user(&user).restore_session(&session, messages).await?.is_err() {
        let message = "a message of the session is being answered; try again when it is done";
        return Err(Problem::new(ErrorCode::Conflict, message));
    }
    app.events.tell(Event {
        user: Some(user),
        session: Some(session.clone()),
        ..app.event(EventKind::SessionRestored, format!("{loaded} messages were restored"))
    });
    let data = SessionRestored {
        session_id: session,
        messages_loaded: loaded,
        messages_dropped: 0,
        message: format!("The session holds {loaded} messages."),
    };
    Ok(Answer::new("session", "session.restored", &data))
}

// === private helpers ===

const MESSAGE_ID_PREFIX: &str = "msg_";

fn shown(session: &muxi_memory::Session, user: &UserId, active_since_ms: i64) -> Session {
    Session {
        session_id: session.id.clone(),
        user_id: user.clone(),
        message_count: session.message_count,
        active: session.last_activity_ms >= active_since_ms,
        created_at: seconds(session.created_ms),
        last_activity: seconds(session.last_activity_ms),
    }
}

fn message(
    message: &muxi_memory::Message,
    app: &Parts,
    user: &UserId,
    session: &SessionId,
) -> Message {
    Message {
        id: format!("{MESSAGE_ID_PREFIX}{}", message.seq),
        text: message.text.clone(),
        metadata: MessageMetadata {
            role: message.role.as_str().to_owned(),
            timestamp: seconds(message.at_ms),
            agent_id: message.agent.clone(),
            user_id: user.clone(),
            session_id: session.clone(),
            request_id: message.request_id.clone(),
            formation_id: app.manifest.id.clone(),
            status: message.status.clone(),
            files: files::remembered(message.files.as_deref()).into_iter().map(file).collect(),
        },
        timestamp: seconds(message.at_ms),
        namespace: "buffer".to_owned(),
        embedding: None,
    }
}

fn file(file: Remembered) -> MessageFile {
    let Remembered { name, media_type, size_bytes, .. } = file;
    MessageFile { filename: name, content_type: media_type, size: size_bytes }
}

fn before(text: &str) -> Option<Before> {
    if let Some(seq) = text.strip_prefix(MESSAGE_ID_PREFIX) {
        return seq.parse().ok().map(Before::Seq);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Before::TimeMs(time.as_millisecond()));
    }
    let time = Timestamp::from_millisecond(0).ok()?;
    let since = jiff::SignedDuration::try_from_secs_f64(text.parse().ok()?).ok()?;
    time.checked_add(since).ok().map(|time| Before::TimeMs(time.as_millisecond()))
}

/// Unix seconds with a fraction, as published clients read them.
#[expect(clippy::cast_precision_loss, reason = "milliseconds fit for the next 285,000 years")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_to_read_before() {
        assert_eq!(before("msg_42"), Some(Before::Seq(42)));
        assert_eq!(before("1.5"), Some(Before::TimeMs(1_500)));
        assert_eq!(before("1970-01-01T00:00:02Z"), Some(Before::TimeMs(2_000)));
        for bad in ["", "msg_", "msg_x", "yesterday", "NaN", "1e300"] {
            assert_eq!(before(bad), None, "{bad}");
        }
    }
}
