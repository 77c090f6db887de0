//! `/openapi.json` and `/docs` of either tier: what its API is, for programs and for people.
//!
//! A document is made from the types of the wire by a test of its tier, committed, and embedded as it
//! is, so that no program carries a generator.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::IntoResponse;

const PAGE: &str = include_str!("openapi/page.html");
/// The page runs its own script and asks its own server alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
const FRESH: (HeaderName, &str) = (CACHE_CONTROL, "no-cache");

/// The answer with a document.
pub fn document(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), FRESH], text)
}

/// A page that reads `openapi.json` beside it and shows it.
pub fn page() -> impl IntoResponse {
    let html = (CONTENT_TYPE, "text/html; charset=utf-8");
    ([html, (CONTENT_SECURITY_POLICY, POLICY), FRESH], PAGE)
}
