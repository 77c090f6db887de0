//! What the formation is doing, in figures.

use axum::extract::State;
use serde_json::json;

use super::answer::Answer;
use super::auth::Admin;
use super::error::Problem;
use crate::app::App;
use crate::process;

pub(crate) async fn status(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let counts = app.store.counts().await?;
    let usage = process::usage();
    let manifest = &app.manifest;
    let agents = app.agents.all().len();
    let uptime_seconds = app.uptime_seconds();
    let data = json!({
        "formation": {
            "id": manifest.id,
            "name": manifest.name,
            "description": manifest.description,
            "version": manifest.version,
        },
        "agents": {"count": agents, "active": agents},
        // Nothing of the kind can be configured in this version.
        "mcp_servers": {"count": 0, "active": 0},
        "stats": {
            "running": {"seconds": uptime_seconds, "since": app.started.to_string()},
            "memory": {
                "working_memory_mb": null,
                "memory_usage_mb": usage.map(process::Usage::resident_mb),
            },
            "requests": {
                "total": app.conversations.started(),
                "active": app.conversations.active(),
            },
            "sessions": counts.sessions,
            "buffer_size": counts.messages,
            "cpu_percent": usage.map(|usage| usage.cpu_percent(uptime_seconds)),
        },
    });
    Ok(Answer::new("formation_status", "formation.status.retrieved", &data))
}
