//! The door for clients of the Model Context Protocol.

use muxi_contract::envelope::Failure;

/// The formation as an MCP server
///
/// Streamable HTTP of the Model Context Protocol, versions 2024-11-05 to 2026-07-28; also at `/mcp/`. Its tools
/// are `chat`, which tells its progress and ends when the call is cancelled, and a selection of this API. The
/// client key is asked for with every message, as `X-Muxi-Client-Key` or as `Authorization: Bearer`; the user
/// is `X-Muxi-User-ID` or the argument `user_id` of a tool. Sessions of versions before 2026-07-28 are opened by
/// `initialize`; 256 may be open.
#[utoipa::path(post, path = "/mcp", tag = "agents", operation_id = "mcp",
    security(("client" = [])),
    request_body(content = serde_json::Value, description = "One JSON-RPC message"),
    responses(
        (status = 200, description = "The answer as JSON, or as events of which the last is the answer",
            content((serde_json::Value = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "A notification was taken"),
        (status = 404, description = "There is no such session", body = Failure),
        (status = 406, description = "The caller does not take both forms of answers", body = Failure),
        (status = 415, description = "The body is no JSON-RPC message", body = Failure),
    ))]
pub(super) fn mcp() {}

/// What the formation tells a session by itself
///
/// For sessions of protocol versions before 2026-07-28, named by `Mcp-Session-Id`. The stream ends with the session.
#[utoipa::path(get, path = "/mcp", tag = "agents", operation_id = "mcp_messages",
    security(("client" = [])),
    responses(
        (status = 200, description = "JSON-RPC messages as they come", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such session", body = Failure),
        (status = 406, description = "The caller does not take events", body = Failure),
        (status = 409, description = "Somebody follows the session already", body = Failure),
    ))]
pub(super) fn mcp_messages() {}

/// End a session
///
/// For sessions of protocol versions before 2026-07-28, named by `Mcp-Session-Id`.
#[utoipa::path(delete, path = "/mcp", tag = "agents", operation_id = "end_mcp_session",
    security(("client" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 404, description = "There is no such session", body = Failure),
    ))]
pub(super) fn end_mcp_session() {}
