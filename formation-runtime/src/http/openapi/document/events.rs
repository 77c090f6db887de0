//! Streams of what happens.

use super::parameters::{AnyUser, LastEventId};

/// What happens, as it happens
///
/// To the user, or with the admin key to everybody. A reader that is too slow gets an `error` frame and has to come back.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "stream_events",
    security(("client" = []), ("admin" = [])), params(AnyUser, LastEventId),
    responses((status = 200, description = "Does not end by itself", body = String, content_type = "text/event-stream")))]
pub(super) fn all() {}

/// What happens in a session
#[utoipa::path(get, path = "/v1/events/{session}", tag = "events", operation_id = "stream_session_events",
    security(("client" = []), ("admin" = [])),
    params(AnyUser, LastEventId, ("session" = String, Path, description = "The session's id")),
    responses((status = 200, description = "Does not end by itself", body = String, content_type = "text/event-stream")))]
pub(super) fn of_session() {}

/// One request from its beginning to its end
///
/// Any number of readers may follow, also long after the request was sent, and after its end.
#[utoipa::path(get, path = "/v1/events/{session}/{request}", tag = "events", operation_id = "stream_request",
    security(("client" = []), ("admin" = [])),
    params(AnyUser, LastEventId,
        ("session" = String, Path, description = "The session's id"),
        ("request" = String, Path, description = "The request's id")),
    responses((status = 200, description = "Ends with the request", body = String, content_type = "text/event-stream")))]
pub(super) fn of_request() {}

/// The operator's log
///
/// At least one filter has to be given; `event_type=*` takes everything. The types are listed in EVENTS.md.
#[utoipa::path(get, path = "/v1/logs", tag = "events", operation_id = "stream_logs",
    security(("admin" = [])),
    params(LastEventId,
        ("user_id" = Option<String>, Query, description = "About this user", min_length = 1, max_length = 256),
        ("session_id" = Option<String>, Query, description = "In this session", min_length = 1, max_length = 256),
        ("request_id" = Option<String>, Query, description = "Of this request", min_length = 1, max_length = 256),
        ("agent_id" = Option<String>, Query, description = "Of this agent"),
        ("level" = Option<String>, Query, description = "`debug`, `info`, `warning` or `error`: this one and those above", pattern = "^(debug|info|warning|error)$"),
        ("event_type" = Option<String>, Query, description = "A type, or its beginning and a star", example = "chat.*")),
    responses((status = 200, description = "Does not end by itself", body = String, content_type = "text/event-stream")))]
pub(super) fn logs() {}
