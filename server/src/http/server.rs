//! The manager itself: health, ping, status.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use muxi_contract::management::Success;
use muxi_contract::readiness::Readiness;
use serde_json::{Value, json};

use super::error::Failure;
use crate::ready;
use crate::store::formations;
use crate::supervisor::Supervisor;

/// Flat and cheap: it says that the manager answers, not that all is well.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "success": true, "status": "ok", "version": crate::VERSION }))
}

pub(super) async fn ping() -> &'static str {
    "pong"
}

/// Whether the manager can do its work: 200, or 503 with what keeps it from it.
pub(super) async fn ready(State(supervisor): State<Supervisor>) -> (StatusCode, Json<Readiness>) {
    let readiness = supervisor.context().ready.look(&supervisor).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

pub(super) async fn status(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<Value>>, Failure> {
    let context = supervisor.context();
    let allocated = context.store.read(formations::leased_ports).await?.len();
    let total = context.ports.total();
    let uptime = context.clock.now().duration_since(supervisor.started_at());
    let data = json!({
        "server": {
            "id": context.config.server_id,
            "version": crate::VERSION,
            "uptime": uptime.as_secs(),
        },
        "formations": ready::counts(context),
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
