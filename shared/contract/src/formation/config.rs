//! How the formation is set up, as its author wrote it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ids::FormationId;

/// A part of the manifest as its author wrote it: placeholders stand, keys are masked, and what the
/// author left out is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Section(pub Map<String, Value>);

/// What there is, and where it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigOverview {
    pub formation_id: FormationId,
    #[schema(example = "1.0.0")]
    pub version: String,
    pub description: String,
    /// Of the manifest.
    #[schema(example = "1.0.0")]
    pub schema_version: String,
    pub agents: ResourceCount,
    pub secrets: ResourceCount,
    pub mcp: McpDefaults,
    pub overlord: ResourceRef,
    pub llm: ResourceRef,
    pub memory: ResourceRef,
    #[serde(rename = "async")]
    pub asynchronous: ResourceRef,
    pub scheduler: ResourceRef,
    pub a2a: ResourceRef,
    pub logging: ResourceRef,
}

/// Where something is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceRef {
    #[schema(example = "/v1/overlord")]
    pub resource: String,
}

/// How many there are, and where they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceCount {
    pub total: usize,
    #[schema(example = "/v1/agents")]
    pub resource: String,
}

/// The defaults for calls of tools. All are null: nothing calls tools in this version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct McpDefaults {
    pub default_retry_attempts: Option<u32>,
    pub default_timeout_seconds: Option<u32>,
    pub max_tool_iterations: Option<u32>,
    pub max_tool_calls: Option<u32>,
    pub max_repeated_errors: Option<u32>,
    pub max_timeout_in_seconds: Option<u32>,
    pub max_tool_timeout_in_seconds: Option<u32>,
    pub enhance_user_prompts: Option<bool>,
    pub servers: ResourceCount,
}

/// In the manifest's order, and then those that agents bring along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct McpServerList {
    pub servers: Vec<McpServer>,
    pub count: usize,
}

/// A server of tools, with everything decided and nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct McpServer {
    pub id: String,
    pub description: Option<String>,
    /// `command` or `http`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `none`, `env`, `bearer`, `basic`, `api_key` or `oauth`.
    pub auth: String,
    pub timeout_seconds: u32,
    pub retry_attempts: u32,
    pub connection_ttl_seconds: u32,
    /// Arguments that every call gets, by name.
    pub parameters: Vec<String>,
    pub tools: ToolPatterns,
    /// The agents that may use it.
    pub agents: Vec<String>,
    /// Services whose credentials of the calling user a connection needs.
    pub needs_user_credentials: Vec<String>,
}

/// Which of its tools may be used by anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolPatterns {
    /// Null lets every tool through that is not denied.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

/// What agents can call, as far as servers have told what they have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct McpToolList {
    pub tools: Vec<McpTool>,
    pub count: usize,
}

/// A tool of a server, or of this program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct McpTool {
    /// As models know it.
    #[schema(example = "filesystem__read_file")]
    pub name: String,
    pub description: String,
    /// Null for what the program does itself, as the next.
    pub server: Option<String>,
    /// The server's own name for it.
    pub tool: Option<String>,
    /// The agents that may call it.
    pub access: Vec<String>,
    /// JSON Schema of its arguments.
    #[schema(value_type = Object)]
    pub parameters: Value,
}

/// What stands above the agents. What the author did not write is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverlordConfig {
    /// The persona, with its placeholders.
    pub soul: String,
    pub llm: Section,
    pub caching: Section,
    pub response: Section,
    pub workflow: Section,
    pub clarification: Section,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Soul {
    /// The persona, with its placeholders.
    pub soul: String,
}
