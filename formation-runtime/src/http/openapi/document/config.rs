//! What the formation is, how it is set up, and what it is doing.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::agents::{Agent, AgentList};
use muxi_contract::formation::config::{
    ConfigOverview, McpDefaults, McpServer, McpServerList, McpToolList, OverlordConfig, Section,
    Soul,
};
use muxi_contract::formation::logging::{LoggingConfig, LoggingDestinationList};
use muxi_contract::formation::status::FormationStatus;

/// What the formation is doing, in figures
#[utoipa::path(get, path = "/v1/status", tag = "formation", operation_id = "get_status",
    security(("admin" = [])),
    extensions(("x-answer" = json!("formation_status formation.status.retrieved"))),
    responses((status = 200, description = "At this moment", body = Envelope<FormationStatus>)))]
pub(super) fn status() {}

/// The agents
#[utoipa::path(get, path = "/v1/agents", tag = "agents", operation_id = "list_agents",
    security(("admin" = [])),
    extensions(("x-answer" = json!("agent_list agent.list"))),
    responses((status = 200, description = "In the manifest's order", body = Envelope<AgentList>)))]
pub(super) fn agents() {}

/// One agent
#[utoipa::path(get, path = "/v1/agents/{id}", tag = "agents", operation_id = "get_agent",
    security(("admin" = [])),
    params(("id" = String, Path, description = "The agent's id", example = "helper")),
    extensions(("x-answer" = json!("agent agent.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Agent>)))]
pub(super) fn agent() {}

/// The whole manifest
///
/// As its author wrote it, in JSON: placeholders stand, and keys are masked.
#[utoipa::path(get, path = "/v1/formation", tag = "config", operation_id = "get_formation",
    security(("admin" = [])),
    extensions(("x-answer" = json!("formation_config formation.config.retrieved"))),
    responses((status = 200, description = "The manifest", body = Envelope<Section>)))]
pub(super) fn formation() {}

/// What is set up, and where it is shown
#[utoipa::path(get, path = "/v1/config", tag = "config", operation_id = "get_config",
    security(("admin" = [])),
    extensions(("x-answer" = json!("formation_config formation.config.retrieved"))),
    responses((status = 200, description = "An overview", body = Envelope<ConfigOverview>)))]
pub(super) fn config() {}

/// What stands above the agents
#[utoipa::path(get, path = "/v1/overlord", tag = "config", operation_id = "get_overlord",
    security(("admin" = [])),
    extensions(("x-answer" = json!("overlord_config overlord.config.retrieved"))),
    responses((status = 200, description = "The persona and the sections of `overlord`", body = Envelope<OverlordConfig>)))]
pub(super) fn overlord() {}

/// The persona
#[utoipa::path(get, path = "/v1/overlord/soul", tag = "config", operation_id = "get_soul",
    security(("admin" = [])),
    extensions(("x-answer" = json!("soul soul.retrieved"))),
    responses((status = 200, description = "Empty if there is none", body = Envelope<Soul>)))]
pub(super) fn soul() {}

/// How models are asked
#[utoipa::path(get, path = "/v1/llm/settings", tag = "config", operation_id = "get_llm_settings",
    security(("admin" = [])),
    extensions(("x-answer" = json!("llm_settings llm.settings.retrieved"))),
    responses((status = 200, description = "`llm.settings` of the manifest", body = Envelope<Section>)))]
pub(super) fn llm_settings() {}

/// How those who do not wait are told
#[utoipa::path(get, path = "/v1/async", tag = "config", operation_id = "get_async",
    security(("admin" = [])),
    extensions(("x-answer" = json!("async async.retrieved"))),
    responses((status = 200, description = "`async` of the manifest", body = Envelope<Section>)))]
pub(super) fn asynchronous() {}

/// How agents of other formations are reached
#[utoipa::path(get, path = "/v1/a2a", tag = "config", operation_id = "get_a2a",
    security(("admin" = [])),
    extensions(("x-answer" = json!("a2a a2a.retrieved"))),
    responses((status = 200, description = "Empty: not built in this version", body = Envelope<Section>)))]
pub(super) fn a2a() {}

/// How much is remembered, and where
#[utoipa::path(get, path = "/v1/memory", tag = "config", operation_id = "get_memory",
    security(("admin" = [])),
    extensions(("x-answer" = json!("memory_config memory.config.retrieved"))),
    responses((status = 200, description = "`memory` of the manifest", body = Envelope<Section>)))]
pub(super) fn memory() {}

/// The defaults for calls of tools
#[utoipa::path(get, path = "/v1/mcp", tag = "config", operation_id = "get_mcp",
    security(("admin" = [])),
    extensions(("x-answer" = json!("mcp_defaults mcp.defaults.retrieved"))),
    responses((status = 200, description = "What the manifest says, with what it leaves open", body = Envelope<McpDefaults>)))]
pub(super) fn mcp() {}

/// The MCP servers
#[utoipa::path(get, path = "/v1/mcp/servers", tag = "config", operation_id = "list_mcp_servers",
    security(("admin" = [])),
    extensions(("x-answer" = json!("mcp_server_list mcp.server.list"))),
    responses((status = 200, description = "In the manifest's order", body = Envelope<McpServerList>)))]
pub(super) fn mcp_servers() {}

/// One MCP server
#[utoipa::path(get, path = "/v1/mcp/servers/{id}", tag = "config", operation_id = "get_mcp_server",
    security(("admin" = [])), params(("id" = String, Path, description = "The server's id")),
    extensions(("x-answer" = json!("mcp_server mcp.server.retrieved"))),
    responses(
        (status = 200, description = "It is there", body = Envelope<McpServer>),
        (status = 404, description = "`MCP_SERVER_NOT_FOUND`", body = Failure),
    ))]
pub(super) fn mcp_server() {}

/// The tools of the MCP servers
#[utoipa::path(get, path = "/v1/mcp/tools", tag = "config", operation_id = "list_mcp_tools",
    security(("admin" = [])),
    extensions(("x-answer" = json!("list mcp_tool.list"))),
    responses((status = 200, description = "None in this version", body = Envelope<McpToolList>)))]
pub(super) fn mcp_tools() {}

/// Where logs go
#[utoipa::path(get, path = "/v1/logging", tag = "config", operation_id = "get_logging",
    security(("admin" = [])),
    extensions(("x-answer" = json!("logging logging.retrieved"))),
    responses((status = 200, description = "`logging` of the manifest, and what is hidden in logs", body = Envelope<LoggingConfig>)))]
pub(super) fn logging() {}

/// What became of logs
#[utoipa::path(get, path = "/v1/logging/destinations", tag = "config", operation_id = "list_logging_destinations",
    security(("admin" = [])),
    extensions(("x-answer" = json!("logging_destination_list logging.destinations.list"))),
    responses((status = 200, description = "Each destination with its state", body = Envelope<LoggingDestinationList>)))]
pub(super) fn logging_destinations() {}
