//! Around every request: what is counted of it, and its one line in the log.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use muxi_contract::FormationId;
use tracing::Span;

use crate::metrics::{Counted, Watch, method_label};
use crate::supervisor::Supervisor;

/// Routes that are asked every few seconds, by machines; their lines would drown the others.
const PROBED: [&str; 4] = ["/health", "/ping", "/ready", "/metrics"];
const UNMATCHED: &str = "unmatched";

/// Counts and logs what the manager answers itself. The request's span stands around it.
pub(super) async fn managed(
    State(supervisor): State<Supervisor>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let (method, route) = (method_label(request.method()), route_of(&request));
    let received = Received(supervisor.clone());
    let request = request.map(|body| Counted::wrap(body, received));
    let response = next.run(request).await;
    let context = supervisor.context();
    let status = response.status().as_u16();
    context.metrics.answered(method, &route, status, began.elapsed());
    if !context.live().logging.access {
        return response;
    }
    let line = Line { span: Span::current(), began, method, route, status, bytes: 0 };
    response.map(|body| Counted::wrap(body, line))
}

/// Logs what is passed on to formations; the proxy counts it itself.
pub(super) async fn proxied(
    State(supervisor): State<Supervisor>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let context = supervisor.context();
    let (method, route) = (method_label(request.method()), route_of(&request));
    // Names that nobody deployed must not become labels, so these count together.
    let known =
        formation_of(request.uri().path()).is_some_and(|id| context.routes.get(&id).is_some());
    if !known {
        context.metrics.unrouted();
    }
    let response = next.run(request).await;
    if !context.live().logging.access {
        return response;
    }
    let status = response.status().as_u16();
    let line = Line { span: Span::current(), began, method, route, status, bytes: 0 };
    response.map(|body| Counted::wrap(body, line))
}

/// Logs one request when its answer has ended, however it ended.
struct Line {
    span: Span,
    began: Instant,
    method: &'static str,
    route: String,
    status: u16,
    bytes: u64,
}

struct Received(Supervisor);

/// The pattern that the path matched, which has few values.
fn route_of(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or(UNMATCHED, MatchedPath::as_str).to_owned()
}

/// The second segment: `/api/{id}/…`, `/draft/{id}/…`, `/mcp/{id}/…`.
fn formation_of(path: &str) -> Option<FormationId> {
    path.split('/').nth(2)?.parse().ok()
}

// === impl Line ===

impl Watch for Line {
    fn passed(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { span, began, method, route, status, bytes } = self;
        let (status, bytes, duration_ms) = (*status, *bytes, milliseconds(began.elapsed()));
        // The span has the id, the path and the key.
        span.in_scope(|| {
            if PROBED.contains(&route.as_str()) && status < 400 {
                tracing::debug!(target: TARGET, status, duration_ms, bytes, "{method} {route}");
            } else {
                tracing::info!(target: TARGET, status, duration_ms, bytes, "{method} {route}");
            }
        });
    }
}

/// A name of its own, so that a filter such as `info,access=warn` can choose.
const TARGET: &str = "access";

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

// === impl Received ===

impl Watch for Received {
    fn passed(&mut self, bytes: u64) {
        self.0.context().metrics.received(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formation_is_the_second_segment() {
        let named = |path| formation_of(path).map(|id| id.to_string());
        assert_eq!(named("/api/hello/v1/chat").as_deref(), Some("hello"));
        assert_eq!(named("/mcp/hello").as_deref(), Some("hello"));
        assert_eq!(named("/api/Not%20One/x"), None);
        assert_eq!(named("/api"), None);
    }
}
