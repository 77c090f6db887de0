//! What the manager's API is; see `muxi_service::openapi`.

#[cfg(test)]
mod document;

use axum::response::IntoResponse;

pub(super) async fn openapi() -> impl IntoResponse {
    muxi_service::openapi::document(include_str!("../../openapi.json"))
}
