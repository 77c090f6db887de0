//! Routes that the API documents and this version does not have: told by name, in one table.

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{MethodFilter, on};

use super::error::Problem;
use crate::app::App;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PUT: MethodFilter = MethodFilter::PUT;
const PATCH: MethodFilter = MethodFilter::PATCH;
const DELETE: MethodFilter = MethodFilter::DELETE;

#[rustfmt::skip]
const UNBUILT: &[(MethodFilter, &str)] = &[
    (GET, "/v1/sops"), (GET, "/v1/sops/{name}"),
    (GET, "/v1/skills"), (GET, "/v1/skills/{name}"), (GET, "/v1/agents/{id}/skills"),
    (POST, "/v1/memories/distilled"), (GET, "/v1/memories/distilled/{id}"),
    (GET.or(PUT), "/v1/users/{id}/channels"),
    (POST, "/v1/notifications"),
    (POST, "/v1/agents/{id}/knowledge/sync"), (POST, "/v1/knowledge/rebuild"),
    (POST, "/v1/memory/rebuild"), (GET, "/v1/memory/rebuild/{job}"),
    (POST, "/v1/memory/backfill"), (POST, "/v1/memory/lint"),
    (GET.or(POST), "/v1/memory/distilleries"), (DELETE, "/v1/memory/distilleries/{id}"),
    (GET.or(POST), "/v1/tuning"), (GET.or(PATCH).or(DELETE), "/v1/tuning/pending"),
    (POST, "/v1/tuning/run"),
    (GET.or(POST).or(DELETE), "/mcp"), (GET.or(POST).or(DELETE), "/mcp/"),
];

/// No key is asked for: the answer is the same for everyone.
pub(crate) fn routes() -> Router<App> {
    UNBUILT
        .iter()
        .fold(Router::new(), |router, (methods, path)| router.route(path, on(*methods, not_built)))
}

async fn not_built(method: Method, uri: Uri) -> Problem {
    Problem::not_built(&format!("{method} {}", uri.path()))
}
