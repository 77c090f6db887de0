//! `/v1/mcp/servers/{id}/grant` and `/v1/mcp/grants`: users let the formation act for them at a server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewGrant {
    /// Where the user comes back to, with `state` and `code`.
    #[schema(example = "https://app.example.com/granted")]
    pub redirect_uri: String,
}

/// Where the user is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantBegun {
    #[schema(example = "github")]
    pub server_id: String,
    pub authorization_url: String,
}

/// What the user came back with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantReturn {
    pub state: String,
    pub code: String,
    /// If the authorization server told who it is.
    pub iss: Option<String>,
}

/// From here on the formation calls the server for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantFinished {
    pub server_id: String,
    pub granted: bool,
}
