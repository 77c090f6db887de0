//! What the formation is doing, in figures.

use axum::extract::State;
use muxi_contract::formation::status::{
    ActiveCount, FormationIdentity, FormationStats, FormationStatus, MemoryUse, RequestCounts,
    Running,
};

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
    let data = FormationStatus {
        formation: FormationIdentity {
            id: manifest.id.clone(),
            name: manifest.name.clone(),
            description: manifest.description.clone(),
            version: manifest.version.clone(),
        },
        agents: ActiveCount { count: agents, active: agents },
        // Nothing of the kind can be configured in this version.
        mcp_servers: ActiveCount { count: 0, active: 0 },
        stats: FormationStats {
            running: Running { seconds: uptime_seconds, since: app.started.to_string() },
            memory: MemoryUse {
                working_memory_mb: None,
                memory_usage_mb: usage.map(process::Usage::resident_mb),
            },
            requests: RequestCounts {
                total: app.conversations.started(),
                active: app.conversations.active(),
            },
            sessions: counts.sessions,
            buffer_size: counts.messages,
            cpu_percent: usage.map(|usage| usage.cpu_percent(uptime_seconds)),
        },
    };
    Ok(Answer::new("formation_status", "formation.status.retrieved", &data))
}
