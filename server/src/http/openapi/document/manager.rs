//! The manager itself.

use muxi_contract::management::{Problem, Success};
use muxi_contract::readiness::Readiness;
use muxi_contract::server::{Health, ServerStatus};

/// Whether the manager answers
///
/// Always the same as long as it does; `/ready` says whether it can do its work.
#[utoipa::path(get, path = "/health", tag = "manager",
    responses((status = 200, description = "It answers", body = Health)))]
pub(super) fn health() {}

/// Four bytes
#[utoipa::path(get, path = "/ping", tag = "manager",
    responses((status = 200, description = "`pong`", body = String, content_type = "text/plain")))]
pub(super) fn ping() {}

/// Whether the manager can do its work
///
/// For load balancers and deploy scripts. It is about the manager: its database takes writes, its
/// disk has room, and each formation of the start was adopted, has started or is known to be down.
/// How formations are doing is counted, but does not decide.
#[utoipa::path(get, path = "/ready", tag = "manager",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot; `checks` says why", body = Readiness),
    ))]
pub(super) fn ready() {}

/// Metrics for Prometheus
///
/// In the text format, or in `OpenMetrics` when `Accept` asks for it. Callers on this machine need no
/// key, others any, unless `metrics.public` is true.
#[utoipa::path(get, path = "/metrics", tag = "manager", security((), ("signature" = [])),
    responses(
        (status = 200, description = "Every metric with its description", content(
            (String = "text/plain"), (String = "application/openmetrics-text"))),
        (status = 401, description = "`Unauthorized`: from another machine without a key", body = Problem),
        (status = 500, description = "`InternalError`", body = Problem),
    ))]
pub(super) fn metrics() {}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "manager",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) fn openapi() {}

/// This document as a page
#[utoipa::path(get, path = "/docs", tag = "manager",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(super) fn docs() {}

/// What runs, how many ports are left, which configuration counts
#[utoipa::path(get, path = "/rpc/server/status", tag = "manager", operation_id = "server_status",
    responses((status = 200, description = "The state now", body = Success<ServerStatus>)))]
pub(super) fn status() {}
