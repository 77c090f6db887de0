//! `/api/{id}/…`: passes requests to the formation's instance and answers back, byte by byte.
//!
//! It reads a snapshot of the route table and never waits for the supervisor.

mod headers;
pub mod routes;
mod unix;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::{FormationId, RequestId};
use muxi_service::accept::Peer;
use muxi_service::request_id;
use serde_json::json;

use self::routes::Upstream;
use crate::percent;
use crate::supervisor::Supervisor;

/// Why a request could not be passed on, with whose side it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Unknown,
    /// The routes with which only the manager itself steers an instance.
    Private,
    NotRunning(&'static str),
    BadPath,
    NoAnswer,
    TooSlow,
}

const PREFIX: &str = "/api/";

/// Streams both ways; a client that leaves drops the upstream connection and so cancels its work.
pub(crate) async fn forward(State(supervisor): State<Supervisor>, request: Request) -> Response {
    let (id, path) = split(&request);
    let request_id = request.extensions().get::<RequestId>().cloned();
    match pass(&supervisor, &id, &path, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&id, request_id.as_ref()),
    }
}

async fn pass(
    supervisor: &Supervisor,
    id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    if is_private(path) {
        return Err(Refusal::Private);
    }
    let context = supervisor.context();
    let published = id
        .parse::<FormationId>()
        .ok()
        .and_then(|id| context.routes.get(&id))
        .ok_or(Refusal::Unknown)?;
    let upstream =
        published.upstream.as_ref().ok_or(Refusal::NotRunning(published.status.as_str()))?;
    let (mut parts, body) = request.into_parts();
    parts.uri = Upstream::uri(path).map_err(|_| Refusal::BadPath)?;
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Local);
    let request_id = parts.extensions.get::<RequestId>().cloned();
    headers::prepare_request(&mut parts.headers, peer, request_id.as_ref());
    parts.extensions.clear();
    let patience = Duration::from_millis(context.config.limits.proxy_head_ms);
    let answer = upstream.send(Request::from_parts(parts, body));
    let answer = tokio::time::timeout(patience, answer).await.map_err(|_| Refusal::TooSlow)?;
    let mut response = answer.map_err(|error| {
        tracing::warn!(formation = id, error = &error as &dyn std::error::Error, "no answer");
        Refusal::NoAnswer
    })?;
    headers::remove_hop_by_hop(response.headers_mut());
    // The formation may have settled on an id that the body named.
    let settled = response.headers().get(&request_id::HEADER).and_then(|it| it.to_str().ok());
    if let Some(id) = settled.and_then(|text| text.parse::<RequestId>().ok()) {
        response.extensions_mut().insert(id);
    }
    Ok(response.map(Body::new))
}

/// The id and the rest of the raw path with its query; nothing is decoded.
fn split(request: &Request) -> (String, String) {
    let raw = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let raw = raw.strip_prefix(PREFIX).unwrap_or(raw);
    let end = raw.find(['/', '?']).unwrap_or(raw.len());
    let (id, rest) = raw.split_at(end);
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    (id.to_owned(), path)
}

/// Whether a path could reach the private routes, however it is written.
fn is_private(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let decoded = percent::decode(path);
    decoded.split(['/', '\\']).any(|segment| segment.eq_ignore_ascii_case("_instance"))
}

// === impl Refusal ===

impl Refusal {
    fn into_response(self, id: &str, request_id: Option<&RequestId>) -> Response {
        let (status, error, message) = match self {
            Self::Unknown => (
                StatusCode::NOT_FOUND,
                "Formation not found",
                format!("No formation with id '{id}'"),
            ),
            Self::Private => {
                (StatusCode::NOT_FOUND, "Not found", "This path is not served".to_owned())
            }
            Self::NotRunning(status) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Formation unavailable",
                format!("Formation '{id}' is not running (status: {status})"),
            ),
            Self::BadPath => {
                (StatusCode::BAD_REQUEST, "Bad request", "The path cannot be passed on".to_owned())
            }
            Self::NoAnswer => {
                (StatusCode::BAD_GATEWAY, "Bad gateway", "Formation did not respond".to_owned())
            }
            Self::TooSlow => (
                StatusCode::GATEWAY_TIMEOUT,
                "Gateway timeout",
                "Formation did not respond in time".to_owned(),
            ),
        };
        let body = json!({
            "success": false,
            "error": error,
            "message": message,
            "code": status.as_u16(),
            "request_id": request_id.map(RequestId::as_str),
        });
        (status, axum::Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_routes_are_out_of_reach() {
        for path in [
            "/_instance/retire",
            "//_instance/x",
            "/a/../_instance/x",
            "/%5Finstance/x",
            "/_INSTANCE",
        ] {
            assert!(is_private(path), "{path}");
        }
        assert!(!is_private("/v1/chat?x=_instance") && !is_private("/v1/_instances"));
    }

    #[test]
    fn paths_are_passed_on_as_they_came() {
        for (path, id, rest) in [
            ("/api/hello", "hello", "/"),
            ("/api/hello/", "hello", "/"),
            ("/api/hello?x=1", "hello", "/?x=1"),
            ("/api/hello/v1/a%2Fb%3F?q=%20", "hello", "/v1/a%2Fb%3F?q=%20"),
            ("/api/hello//x", "hello", "//x"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(split(&request), (id.to_owned(), rest.to_owned()), "{path}");
        }
    }
}
