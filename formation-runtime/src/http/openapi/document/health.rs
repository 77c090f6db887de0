//! Whether it serves, and what it serves.

use muxi_contract::formation::health::Health;

/// Whether the formation serves
#[utoipa::path(get, path = "/v1/health", tag = "formation", operation_id = "get_health",
    responses(
        (status = 200, description = "It serves", body = Health),
        (status = 503, description = "Its memory does not answer", body = Health),
    ))]
pub(super) fn health() {}

/// Whether the formation serves, at the root
#[utoipa::path(get, path = "/health", tag = "formation", operation_id = "get_root_health",
    responses(
        (status = 200, description = "It serves", body = Health),
        (status = 503, description = "Its memory does not answer", body = Health),
    ))]
pub(super) fn root_health() {}

/// A page for people that says that it serves
#[utoipa::path(get, path = "/", tag = "formation", operation_id = "get_page",
    responses(
        (status = 200, description = "It serves", body = String, content_type = "text/html"),
        (status = 503, description = "Its memory does not answer", body = String, content_type = "text/html"),
    ))]
pub(super) fn page() {}

/// The same page, where the API begins
#[utoipa::path(get, path = "/v1", tag = "formation", operation_id = "get_api_page",
    responses(
        (status = 200, description = "It serves", body = String, content_type = "text/html"),
        (status = 503, description = "Its memory does not answer", body = String, content_type = "text/html"),
    ))]
pub(super) fn api_page() {}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "formation", operation_id = "get_openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) fn openapi() {}

/// This document, for people
#[utoipa::path(get, path = "/docs", tag = "formation", operation_id = "get_docs",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) fn docs() {}
