//! `/openapi.json` and `/docs`: what the manager's API is, for programs and for people.
//!
//! The document is made from the types and the descriptions in `document`, committed, and embedded
//! as it is; a test fails when the two differ, so the program itself carries no generator.

#[cfg(test)]
mod document;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../openapi.json");
const PAGE: &str = include_str!("openapi/page.html");
/// The page runs its own script and asks this server alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
const FRESH: (HeaderName, &str) = (CACHE_CONTROL, "no-cache");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), FRESH], DOCUMENT)
}

pub(super) async fn docs() -> impl IntoResponse {
    let html = (CONTENT_TYPE, "text/html; charset=utf-8");
    ([html, (CONTENT_SECURITY_POLICY, POLICY), FRESH], PAGE)
}
