//! The door for clients of the Model Context Protocol.

use muxi_contract::envelope::Failure;

/// The formation as an MCP server
///
/// Streamable HTTP of the Model Context Protocol, versions 2024-11-05 to 2026-07-28; also at `/mcp/`. Its tools
/// are `chat`, which tells its progress and ends when the call is cancelled, and a selection of this API. The
/// client key is asked for with every message, as `X-Muxi-Client-Key` or as `Authorization: Bearer`; the user
/// is `X-Muxi-User-ID` or the argument `user_id` of a tool. Sessions of versions before 2026-07-28 are opened by
/// `initialize`, followed with GET and ended with DELETE; 256 may be open.
#[utoipa::path(post, path = "/mcp", tag = "agents", operation_id = "mcp",
    security(("client" = [])),
    request_body(content = serde_json::Value, description = "One JSON-RPC message"),
    responses(
        (status = 200, description = "The answer as JSON, or as events of which the last is the answer",
            content((serde_json::Value = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "A notification was taken"),
        (status = 404, description = "There is no such session", body = Failure),
        (status = 406, description = "The caller does not take both forms of answers"),
    ))]
pub(super) fn mcp() {}
