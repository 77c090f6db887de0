//! A user's sessions, and what was said in them.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::sessions::{
    MessageList, Restore, Session, SessionDeleted, SessionList, SessionRestored,
};

use super::parameters::{NamedSession, User};

/// A user's sessions
///
/// Newest first. A session exists once it has a message.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", operation_id = "list_sessions",
    security(("client" = [])),
    params(User,
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000),
        ("active_only" = Option<bool>, Query, description = "Only those with a message in the last half an hour")),
    extensions(("x-answer" = json!("session_list session.list"))),
    responses((status = 200, description = "Newest first", body = Envelope<SessionList>)))]
pub(super) fn list() {}

/// One session
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "get_session",
    security(("client" = [])), params(User, NamedSession),
    extensions(("x-answer" = json!("session session.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Session>)))]
pub(super) fn one() {}

/// Delete a session
///
/// A message that is being answered stays, with its answer.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "delete_session",
    security(("client" = [])), params(User, NamedSession),
    extensions(("x-answer" = json!("session session.deleted"))),
    responses((status = 200, description = "It is gone", body = Envelope<SessionDeleted>)))]
pub(super) fn delete() {}

/// What was said in a session
///
/// Oldest first, in pages from the end: `before` is the id of the first message of the page after.
/// A session that is not there has no messages.
#[utoipa::path(get, path = "/v1/sessions/{id}/messages", tag = "sessions", operation_id = "list_session_messages",
    security(("client" = [])),
    params(User, NamedSession,
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000),
        ("before" = Option<String>, Query, description = "A message's id, Unix seconds or an ISO 8601 time",
            example = "msg_42")),
    extensions(("x-answer" = json!("session session.messages.list"))),
    responses((status = 200, description = "A page", body = Envelope<MessageList>)))]
pub(super) fn messages() {}

/// Replace what a session holds
///
/// For clients that keep sessions themselves. What the session held before is gone.
#[utoipa::path(post, path = "/v1/sessions/{id}/restore", tag = "sessions", operation_id = "restore_session",
    security(("client" = [])), params(User, NamedSession),
    request_body(content = Restore, content_type = "application/json"),
    extensions(("x-answer" = json!("session session.restored"))),
    responses(
        (status = 200, description = "It holds them", body = Envelope<SessionRestored>),
        (status = 409, description = "`CONFLICT`: a message of the session is being answered", body = Failure),
    ))]
pub(super) fn restore() {}
