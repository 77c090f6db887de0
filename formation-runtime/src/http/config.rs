//! How the formation is set up, section by section, as its author wrote it.

use axum::extract::State;
use muxi_contract::ErrorCode;
use serde_json::{Value, json};

use super::answer::Answer;
use super::auth::Admin;
use super::error::Problem;
use super::path::Id;
use crate::app::{App, Parts};
use crate::secrets::Secrets;

const SERVERS: &str = "/v1/mcp/servers";

/// What there is, and where it is shown.
pub(crate) async fn config(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let manifest = &app.manifest;
    let secrets = super::secrets::on_disk(&app, Secrets::read).await?.names().len();
    let data = json!({
        "formation_id": manifest.id,
        "version": manifest.version,
        "description": manifest.description,
        "schema_version": manifest.schema,
        "agents": {"total": app.agents.all().len(), "resource": "/v1/agents"},
        "secrets": {"total": secrets, "resource": "/v1/secrets"},
        "mcp": mcp_json(),
        "overlord": {"resource": "/v1/overlord"},
        "llm": {"resource": "/v1/llm/settings"},
        "memory": {"resource": "/v1/memory"},
        "async": {"resource": "/v1/async"},
        "scheduler": {"resource": "/v1/scheduler"},
        "a2a": {"resource": "/v1/a2a"},
        "logging": {"resource": "/v1/logging"},
    });
    Ok(Answer::new("formation_config", "formation.config.retrieved", &data))
}

pub(crate) async fn overlord(_: Admin, State(app): State<App>) -> Answer {
    let data = json!({
        "soul": app.soul_written,
        "llm": section(&app, "/overlord/llm"),
        "caching": section(&app, "/overlord/caching"),
        "response": section(&app, "/overlord/response"),
        "workflow": section(&app, "/overlord/workflow"),
        "clarification": section(&app, "/overlord/clarification"),
    });
    Answer::new("overlord_config", "overlord.config.retrieved", &data)
}

pub(crate) async fn soul(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("soul", "soul.retrieved", &json!({"soul": app.soul_written}))
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
    Answer::new("mcp_defaults", "mcp.defaults.retrieved", &mcp_json())
}

pub(crate) async fn mcp_servers(_: Admin) -> Answer {
    Answer::new("mcp_server_list", "mcp.server.list", &json!({"servers": [], "count": 0}))
}

/// A manifest cannot name one yet, so that none is ever there.
pub(crate) async fn mcp_server(_: Admin, Id(id): Id) -> Problem {
    Problem::new(ErrorCode::McpServerNotFound, format!("MCP server '{id}' was not found"))
}

pub(crate) async fn mcp_tools(_: Admin) -> Answer {
    Answer::new("list", "mcp_tool.list", &json!({"tools": [], "count": 0}))
}

// === private helpers ===

/// No default is filled in; what the author did not write is empty.
fn section(app: &Parts, pointer: &str) -> Value {
    let section = app.document.pointer(pointer).filter(|section| !section.is_null());
    section.cloned().unwrap_or_else(|| json!({}))
}

/// Nothing calls tools yet, so that the defaults for it have no value.
fn mcp_json() -> Value {
    json!({
        "default_retry_attempts": null,
        "default_timeout_seconds": null,
        "max_tool_iterations": null,
        "max_tool_calls": null,
        "max_repeated_errors": null,
        "max_timeout_in_seconds": null,
        "max_tool_timeout_in_seconds": null,
        "enhance_user_prompts": null,
        "servers": {"total": 0, "resource": SERVERS},
    })
}
