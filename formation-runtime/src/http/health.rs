//! Whether this formation can serve. The only JSON answer without an envelope.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::app::App;

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    version: &'a str,
    uptime_seconds: i64,
}

/// Healthy as long as the memory answers: without it no message can be taken.
pub(crate) async fn health(State(app): State<App>) -> Response {
    let (code, status) = match app.store.ping().await {
        Ok(()) => (StatusCode::OK, "healthy"),
        Err(error) => {
            tracing::error!(error = ?error, "the memory does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
        }
    };
    let uptime_seconds = app.uptime_seconds();
    (code, Json(Health { status, version: &app.manifest.version, uptime_seconds })).into_response()
}
