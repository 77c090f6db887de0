//! Users let the formation act for them at a server of tools, as the protocol's authorization has it: the
//! caller sends its user to an address, and hands on what comes back to its own.

use axum::body::Body;
use axum::extract::State;
use muxi_contract::ErrorCode;
use muxi_contract::formation::grants::{GrantBegun, GrantFinished};
use muxi_tools::mcp::McpError;

use super::answer::Answer;
use super::auth::{Client, RequiredUser};
use super::body;
use super::error::Problem;
use super::fields::Fields;
use super::path::Id;
use crate::app::App;
use crate::webhooks;

const ADDRESS_CHARS_MAX: usize = 2_000;
const CODE_CHARS_MAX: usize = 4_000;

pub(crate) async fn begin(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(server): Id,
    body: Body,
) -> Result<Answer, Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let address = fields.required_text("redirect_uri", ADDRESS_CHARS_MAX);
    if let Some(why) = address.and_then(|it| webhooks::check_url(it).err()) {
        fields.fault("redirect_uri", why, "invalid");
    }
    let address = address.unwrap_or_default().to_owned();
    fields.finish()?;
    let servers = app.team.tools.servers();
    let authorization_url = servers.begin_authorization(&server, &user, &address).await?;
    let data = GrantBegun { server_id: server, authorization_url };
    Ok(Answer::new("mcp_grant", "mcp.grant.begun", &data))
}

pub(crate) async fn finish(
    _: Client,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    body: Body,
) -> Result<Answer, Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let state = fields.required_text("state", CODE_CHARS_MAX).unwrap_or_default().to_owned();
    let code = fields.required_text("code", CODE_CHARS_MAX).unwrap_or_default().to_owned();
    let issuer = fields.text("iss", ADDRESS_CHARS_MAX).map(str::to_owned);
    fields.finish()?;
    let servers = app.team.tools.servers();
    let server_id = servers.finish_authorization(&state, &code, issuer.as_deref(), &user).await?;
    let data = GrantFinished { server_id, granted: true };
    Ok(Answer::new("mcp_grant", "mcp.grant.finished", &data))
}

// === impl Problem ===

impl From<McpError> for Problem {
    fn from(error: McpError) -> Self {
        let code = match &error {
            McpError::UnknownServer { .. } => ErrorCode::McpServerNotFound,
            McpError::Authorization { .. }
            | McpError::NeedsAuthorization { .. }
            | McpError::NeedsCredential { .. }
            | McpError::Unauthorized { .. }
            | McpError::Cancelled { .. } => ErrorCode::UnprocessableEntity,
            McpError::Start { .. }
            | McpError::Ended { .. }
            | McpError::Slow { .. }
            | McpError::Protocol { .. }
            | McpError::Refused { .. }
            | McpError::Unreachable { .. }
            | McpError::Busy { .. }
            | McpError::Stopping { .. } => ErrorCode::ServiceUnavailable,
        };
        Self::new(code, error.for_users())
    }
}
