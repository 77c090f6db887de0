//! The manager itself: health, ping, status.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use muxi_contract::management::{ConfigView, Success};
use muxi_contract::readiness::Readiness;
use muxi_contract::server::{Health, PortPoolView, RuntimeView, ServerIdentity, ServerStatus};

use super::error::Failure;
use crate::ready;
use crate::store::formations;
use crate::supervisor::Supervisor;

/// Flat and cheap: it says that the manager answers, not that all is well.
pub(super) async fn health() -> Json<Health> {
    let (status, version) = ("ok".to_owned(), crate::VERSION.to_owned());
    Json(Health { success: true, status, version })
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
) -> Result<Json<Success<ServerStatus>>, Failure> {
    let context = supervisor.context();
    let allocated = context.store.read(formations::leased_ports).await?.len() as u64;
    let total = context.ports.total() as u64;
    let uptime = context.clock.now().duration_since(supervisor.started_at());
    let version = crate::VERSION.to_owned();
    let data = ServerStatus {
        server: ServerIdentity {
            id: context.config.server_id.clone(),
            version: version.clone(),
            uptime: uptime.as_secs(),
        },
        formations: ready::counts(context),
        port_pool: PortPoolView { total, available: total.saturating_sub(allocated), allocated },
        config: ConfigView::clone(&context.live.view()),
        runtime: RuntimeView {
            goroutines: 0,
            go_version: "none: written in Rust".to_owned(),
            version,
        },
    };
    Ok(Json(Success { success: true, data }))
}
