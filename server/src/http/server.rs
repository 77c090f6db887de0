//! The manager itself: health, ping, status.

use axum::Json;
use axum::extract::State;
use muxi_contract::management::{FormationStatus, Success};
use serde_json::{Value, json};

use super::error::Failure;
use crate::store::formations;
use crate::supervisor::Supervisor;

/// Flat and cheap: it says that the manager answers, not that all is well.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "success": true, "status": "ok", "version": crate::VERSION }))
}

pub(super) async fn ping() -> &'static str {
    "pong"
}

pub(super) async fn status(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<Value>>, Failure> {
    let context = supervisor.context();
    let allocated = context.store.read(formations::leased_ports).await?.len();
    let published = context.routes.all();
    let count = |wanted: &[FormationStatus]| {
        published.values().filter(|it| wanted.contains(&it.status)).count()
    };
    let total = context.ports.total();
    let uptime = context.clock.now().duration_since(supervisor.started_at());
    let data = json!({
        "server": {
            "id": context.config.server_id,
            "version": crate::VERSION,
            "uptime": uptime.as_secs(),
        },
        "formations": {
            "total": published.len(),
            "running": count(&[FormationStatus::Running]),
            "stopped": count(&[FormationStatus::Stopped]),
            "crashed": count(&[FormationStatus::Crashed, FormationStatus::CrashLoop]),
        },
        "port_pool": {
            "total": total,
            "available": total.saturating_sub(allocated),
            "allocated": allocated,
        },
        "config": *context.live.view(),
        // The original's clients decode this object; its values are about our own runtime.
        "runtime": { "goroutines": 0, "go_version": "none: written in Rust", "version": crate::VERSION },
    });
    Ok(Json(Success { success: true, data }))
}
