//! How the formation is set up, section by section, as its author wrote it.

use axum::extract::State;
use muxi_contract::ErrorCode;
use muxi_contract::formation::config::{
    ConfigOverview, McpDefaults, McpServerList, McpToolList, OverlordConfig, ResourceCount,
    ResourceRef, Section, Soul,
};
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
        mcp: mcp_defaults(),
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

pub(crate) async fn mcp(_: Admin) -> Answer {
    Answer::new("mcp_defaults", "mcp.defaults.retrieved", &mcp_defaults())
}

pub(crate) async fn mcp_servers(_: Admin) -> Answer {
    Answer::new("mcp_server_list", "mcp.server.list", &McpServerList::default())
}

/// A manifest cannot name one yet, so that none is ever there.
pub(crate) async fn mcp_server(_: Admin, Id(id): Id) -> Problem {
    Problem::new(ErrorCode::McpServerNotFound, format!("MCP server '{id}' was not found"))
}

pub(crate) async fn mcp_tools(_: Admin) -> Answer {
    Answer::new("list", "mcp_tool.list", &McpToolList::default())
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

/// Nothing calls tools yet, so that the defaults for it have no value.
fn mcp_defaults() -> McpDefaults {
    McpDefaults {
        default_retry_attempts: None,
        default_timeout_seconds: None,
        max_tool_iterations: None,
        max_tool_calls: None,
        max_repeated_errors: None,
        max_timeout_in_seconds: None,
        max_tool_timeout_in_seconds: None,
        enhance_user_prompts: None,
        servers: count(0, "/v1/mcp/servers"),
    }
}
