//! Whether this formation can serve. The only JSON answer without an envelope.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::formation::health::Health;

use crate::app::App;

/// Healthy as long as the memory answers: without it no message can be taken.
pub(crate) async fn health(State(app): State<App>) -> Response {
    let (code, status) = match app.store.ping().await {
        Ok(()) => (StatusCode::OK, "healthy"),
        Err(error) => {
            tracing::error!(error = ?error, "the memory does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
        }
    };
    let health = Health {
        status: status.to_owned(),
        version: app.manifest.version.clone(),
        uptime_seconds: app.uptime_seconds(),
    };
    (code, Json(health)).into_response()
}
