//! Around every request: what is counted of it, and its one line in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use muxi_contract::{FormationId, RequestId};
use opentelemetry::KeyValue;
use tracing::Span;

use crate::metrics::{Counted, Watch, method_label};
use crate::supervisor::Supervisor;
use crate::traces;

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
    let traced = trace(&supervisor, method, &route, &request).map(Arc::new);
    let received = Received(supervisor.clone());
    let request = request.map(|body| Counted::wrap(body, received));
    let response = traces::Request::answering(traced.clone(), next.run(request)).await;
    let context = supervisor.context();
    let status = response.status().as_u16();
    context.metrics.answered(method, &route, status, began.elapsed());
    if let Some(traced) = &traced {
        traced.answered(status);
    }
    let line = || Line { span: Span::current(), began, method, route, status, bytes: 0 };
    watch(&supervisor, response, line, traced)
}

/// Logs what is passed on to formations; the proxy counts it itself.
pub(super) async fn proxied(
    State(supervisor): State<Supervisor>,
    mut request: Request,
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
    let traced = trace(&supervisor, method, &route, &request).map(Arc::new);
    if let Some(traced) = &traced {
        context.traces.pass_on(traced, request.headers_mut());
    }
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if let Some(traced) = &traced {
        traced.answered(status);
    }
    let line = || Line { span: Span::current(), began, method, route, status, bytes: 0 };
    watch(&supervisor, response, line, traced)
}

/// Follows an answer to its end if somebody wants to know of it.
fn watch(
    supervisor: &Supervisor,
    response: Response,
    line: impl FnOnce() -> Line,
    traced: Option<Arc<traces::Request>>,
) -> Response {
    let access = supervisor.context().live().logging.access;
    if !access && traced.is_none() {
        return response;
    }
    let line = access.then(line);
    response.map(|body| Counted::wrap(body, Answer { line, _traced: traced }))
}

/// The span of a request; those that machines ask every few seconds get none.
fn trace(
    supervisor: &Supervisor,
    method: &'static str,
    route: &str,
    request: &Request,
) -> Option<traces::Request> {
    if PROBED.contains(&route) {
        return None;
    }
    let id = request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default();
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route.to_owned()),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("muxi.request.id", id),
    ];
    let traces = &supervisor.context().traces;
    traces.request(format!("{method} {route}"), request.headers(), attributes)
}

/// An answer on its way; its span and its line end with it.
struct Answer {
    line: Option<Line>,
    _traced: Option<Arc<traces::Request>>,
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

// === impl Answer ===

impl Watch for Answer {
    fn passed(&mut self, bytes: u64) {
        if let Some(line) = &mut self.line {
            line.bytes += bytes;
        }
    }
}

// === impl Line ===

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
