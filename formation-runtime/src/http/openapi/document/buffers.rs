//! The memory of conversations.

use muxi_contract::envelope::Envelope;
use muxi_contract::formation::buffers::{
    BufferCleared, BufferList, BufferStats, BufferStatus, SessionBufferCleared,
};

use super::parameters::{AnyUser, User};

/// What is kept of a user's conversations
#[utoipa::path(get, path = "/v1/memory/buffer", tag = "buffers", operation_id = "get_buffer",
    security(("client" = []), ("admin" = [])), params(User),
    extensions(("x-answer" = json!("memory memory.buffer.status"))),
    responses((status = 200, description = "In figures", body = Envelope<BufferStatus>)))]
pub(super) fn get() {}

/// Clear a user's conversations
///
/// With the admin key and without a user, everybody's.
#[utoipa::path(delete, path = "/v1/memory/buffer", tag = "buffers", operation_id = "clear_buffer",
    security(("client" = []), ("admin" = [])), params(AnyUser),
    extensions(("x-answer" = json!("message memory.buffer.user.cleared"))),
    responses((status = 200, description = "They are gone", body = Envelope<BufferCleared>)))]
pub(super) fn clear() {}

/// Clear one session
#[utoipa::path(delete, path = "/v1/memory/buffer/{session}", tag = "buffers", operation_id = "clear_session_buffer",
    security(("client" = []), ("admin" = [])),
    params(User, ("session" = String, Path, description = "The session's id")),
    extensions(("x-answer" = json!("message memory.buffer.session.cleared"))),
    responses((status = 200, description = "It is gone", body = Envelope<SessionBufferCleared>)))]
pub(super) fn clear_session() {}

/// What is kept of everybody, by user
#[utoipa::path(get, path = "/v1/memory/buffers", tag = "buffers", operation_id = "list_buffers",
    security(("admin" = [])),
    extensions(("x-answer" = json!("list memory.list"))),
    responses((status = 200, description = "The users of late", body = Envelope<BufferList>)))]
pub(super) fn list() {}

/// Clear everybody's conversations
#[utoipa::path(delete, path = "/v1/memory/buffers", tag = "buffers", operation_id = "clear_buffers",
    security(("admin" = [])),
    extensions(("x-answer" = json!("message memory.buffer.user.cleared"))),
    responses((status = 200, description = "They are gone", body = Envelope<BufferCleared>)))]
pub(super) fn clear_all() {}

/// What is kept of everybody, in figures
#[utoipa::path(get, path = "/v1/memory/stats", tag = "buffers", operation_id = "get_buffer_stats",
    security(("admin" = [])),
    extensions(("x-answer" = json!("memory memory.retrieved"))),
    responses((status = 200, description = "In figures", body = Envelope<BufferStats>)))]
pub(super) fn stats() {}
