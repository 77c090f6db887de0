//! How the formation is set up, section by section, as its author wrote it.

use axum::extract::State;
use muxi_contract::ErrorCode;
use muxi_contract::formation::config::{
    ConfigOverview, McpDefaults, McpServer as ServerView, McpServerList, McpTool, McpToolList,
    OverlordConfig, ResourceCount, ResourceRef, Section, Soul, ToolPatterns,
};
use muxi_formation::{McpAuth, McpServer, McpTransport};
use muxi_tools::Origin;
use serde_json::Value;

use super::answer::Answer;
use super::auth::Admin;
use super::error::Problem;
use super::path::Id;
use crate::app::{App, Parts};
use crate::secrets::Secrets;

/// What there is, and where it is shown.
pub(crate) async fn config(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let manifest = &app.manifest;
    let secrets = super::secrets::on_disk(&app, Secrets::read).await?.names().len();
    let data = ConfigOverview {
        formation_id: manifest.id.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        schema_version: manifest.schema.clone(),
        agents: count(app.agents.all().len(), "/v1/agents"),
        secrets: count(secrets, "/v1/secrets"),
        mcp: mcp_defaults(&app),
        overlord: at("/v1/overlord"),
        llm: at("/v1/llm/settings"),
        memory: at("/v1/memory"),
        asynchronous: at("/v1/async"),
        scheduler: at("/v1/scheduler"),
        a2a: at("/v1/a2a"),
        logging: at("/v1/logging"),
    };
    Ok(Answer::new("formation_config", "formation.config.retrieved", &data))
}

pub(crate) async fn overlord(_: Admin, State(app): State<App>) -> Answer {
    let data = OverlordConfig {
        soul: app.soul_written.clone(),
        llm: section(&app, "/overlord/llm"),
        caching: section(&app, "/overlord/caching"),
        response: section(&app, "/overlord/response"),
        workflow: section(&app, "/overlord/workflow"),
        clarification: section(&app, "/overlord/clarification"),
    };
    Answer::new("overlord_config", "overlord.config.retrieved", &data)
}

pub(crate) async fn soul(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("soul", "soul.retrieved", &Soul { soul: app.soul_written.clone() })
}

pub(crate) async fn llm_settings(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("llm_settings", "llm.settings.retrieved", &section(&app, "/llm/settings"))
}

pub(crate) async fn asynchronous(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("async", "async.retrieved", &section(&app, "/async"))
}

pub(crate) async fn a2a(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("a2a", "a2a.retrieved", &section(&app, "/a2a"))
}

pub(crate) async fn memory(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("memory_config", "memory.config.retrieved", &section(&app, "/memory"))
}

pub(crate) async fn mcp(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("mcp_defaults", "mcp.defaults.retrieved", &mcp_defaults(&app))
}

pub(crate) async fn mcp_servers(_: Admin, State(app): State<App>) -> Answer {
    let servers: Vec<ServerView> = app.mcp_servers.iter().map(|it| server(&app, it)).collect();
    let data = McpServerList { count: servers.len(), servers };
    Answer::new("mcp_server_list", "mcp.server.list", &data)
}

pub(crate) async fn mcp_server(
    _: Admin,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.mcp_servers.iter().find(|it| it.id == id).ok_or_else(|| {
        Problem::new(ErrorCode::McpServerNotFound, format!("MCP server '{id}' was not found"))
    })?;
    Ok(Answer::new("mcp_server", "mcp.server.retrieved", &server(&app, found)))
}

/// What servers have told so far, and what this program does itself.
pub(crate) async fn mcp_tools(_: Admin, State(app): State<App>) -> Answer {
    let listed = app.team.tools.listed().into_iter().map(|(tool, access)| {
        let spec = tool.spec();
        let (server, own) = match tool.origin() {
            Origin::Mcp { server, tool } => (Some(server.clone()), Some(tool.clone())),
            Origin::Builtin | Origin::Agent(_) | Origin::Remote(_) => (None, None),
        };
        McpTool {
            name: spec.name.clone(),
            description: spec.description.clone(),
            server,
            tool: own,
            access,
            parameters: Value::clone(&spec.parameters),
        }
    });
    let tools: Vec<McpTool> = listed.collect();
    Answer::new("list", "mcp_tool.list", &McpToolList { count: tools.len(), tools })
}

// === private helpers ===

/// No default is filled in; what the author did not write is empty.
fn section(app: &Parts, pointer: &str) -> Section {
    let section = app.document.pointer(pointer).and_then(Value::as_object);
    Section(section.cloned().unwrap_or_default())
}

fn at(resource: &str) -> ResourceRef {
    ResourceRef { resource: resource.to_owned() }
}

fn count(total: usize, resource: &str) -> ResourceCount {
    ResourceCount { total, resource: resource.to_owned() }
}

fn mcp_defaults(app: &Parts) -> McpDefaults {
    let mcp = &app.manifest.mcp;
    McpDefaults {
        default_retry_attempts: Some(mcp.default_retry_attempts),
        default_timeout_seconds: Some(mcp.default_timeout_seconds),
        max_tool_iterations: Some(mcp.max_tool_iterations),
        max_tool_calls: Some(mcp.max_tool_calls),
        max_repeated_errors: Some(mcp.max_repeated_errors),
        max_timeout_in_seconds: Some(mcp.max_timeout_seconds),
        max_tool_timeout_in_seconds: Some(mcp.max_tool_timeout_seconds),
        enhance_user_prompts: Some(mcp.enhance_user_prompts),
        servers: count(app.mcp_servers.len(), "/v1/mcp/servers"),
    }
}

/// What it runs and where it is may hold secrets, so that only its kind is told.
fn server(app: &Parts, server: &McpServer) -> ServerView {
    let uses = |agent: &muxi_formation::Agent| {
        server.is_global || agent.mcp_servers.iter().any(|it| it.server == server.id)
    };
    let agents = app.agents.all();
    let having = agents.iter().map(|agent| &agent.config).filter(|it| uses(it));
    ServerView {
        id: server.id.clone(),
        description: server.description.clone(),
        kind: match server.transport {
            McpTransport::Command { .. } => "command",
            McpTransport::Http { .. } => "http",
        }
        .to_owned(),
        auth: match server.auth {
            McpAuth::None => "none",
            McpAuth::Env { .. } => "env",
            McpAuth::Bearer { .. } => "bearer",
            McpAuth::Basic { .. } => "basic",
            McpAuth::ApiKey { .. } => "api_key",
            McpAuth::OAuth { .. } => "oauth",
        }
        .to_owned(),
        timeout_seconds: server.timeout_seconds,
        retry_attempts: server.retry_attempts,
        connection_ttl_seconds: server.connection_ttl_seconds,
        parameters: server.parameters.keys().cloned().collect(),
        tools: ToolPatterns { allow: server.tools.allow.clone(), deny: server.tools.deny.clone() },
        agents: having.map(|agent| agent.id.clone()).collect(),
        needs_user_credentials: server.needs_user_credentials.clone(),
    }
}
