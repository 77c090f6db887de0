//! Routes that the API documents and this version does not have: told by name, in one table.

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{MethodFilter, on};

use super::error::Problem;
use crate::app::App;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

#[rustfmt::skip]
pub(super) const UNBUILT: &[(&[Method], &str)] = &[
    (&[POST], "/v1/memories/distilled"), (&[GET], "/v1/memories/distilled/{id}"),
    (&[GET, PUT], "/v1/users/{id}/channels"),
    (&[POST], "/v1/notifications"),
    (&[POST], "/v1/agents/{id}/knowledge/sync"), (&[POST], "/v1/knowledge/rebuild"),
    (&[POST], "/v1/memory/rebuild"), (&[GET], "/v1/memory/rebuild/{job}"),
    (&[POST], "/v1/memory/backfill"), (&[POST], "/v1/memory/lint"),
    (&[GET, POST], "/v1/memory/distilleries"), (&[DELETE], "/v1/memory/distilleries/{id}"),
    (&[GET, POST], "/v1/tuning"), (&[GET, PATCH, DELETE], "/v1/tuning/pending"),
    (&[POST], "/v1/tuning/run"),
];

/// No key is asked for: the answer is the same for everyone.
pub(crate) fn routes() -> Router<App> {
    UNBUILT.iter().fold(Router::new(), |router, (methods, path)| {
        let filters = methods.iter().filter_map(|it| MethodFilter::try_from(it.clone()).ok());
        match filters.reduce(MethodFilter::or) {
            Some(filter) => router.route(path, on(filter, not_built)),
            None => router,
        }
    })
}

async fn not_built(method: Method, uri: Uri) -> Problem {
    Problem::not_built(&format!("{method} {}", uri.path()))
}
