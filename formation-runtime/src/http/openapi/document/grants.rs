//! Users let the formation act for them at a server of tools.

use muxi_contract::envelope::Envelope;
use muxi_contract::formation::grants::{GrantBegun, GrantFinished, GrantReturn, NewGrant};

use super::parameters::User;

/// Let the formation act at a server: begin
///
/// For servers whose `auth.type` is `oauth` without a secret. Send the user to the address; what comes back to
/// `redirect_uri` goes to `POST /v1/mcp/grants`.
#[utoipa::path(post, path = "/v1/mcp/servers/{id}/grant", tag = "mcp", operation_id = "begin_mcp_grant",
    security(("client" = [])),
    params(User, ("id" = String, Path, description = "The server's id")),
    request_body = NewGrant,
    extensions(("x-answer" = json!("mcp_grant mcp.grant.begun"))),
    responses((status = 200, description = "Where to send the user", body = Envelope<GrantBegun>)))]
pub(super) fn begin() {}

/// Let the formation act at a server: finish
#[utoipa::path(post, path = "/v1/mcp/grants", tag = "mcp", operation_id = "finish_mcp_grant",
    security(("client" = [])),
    params(User),
    request_body = GrantReturn,
    extensions(("x-answer" = json!("mcp_grant mcp.grant.finished"))),
    responses((status = 200, description = "The server's tools are there for the user",
        body = Envelope<GrantFinished>)))]
pub(super) fn finish() {}
