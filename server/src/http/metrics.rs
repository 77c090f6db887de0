//! `GET /metrics`.

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, FORWARDED};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use muxi_service::accept::Peer;

use super::auth;
use super::error::Failure;
use crate::metrics::{self, Format};
use crate::supervisor::Supervisor;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What a proxy adds: then the peer is the proxy, whoever asked.
const FORWARDED_FOR: [HeaderName; 3] =
    [FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Everything that is counted, in the format that the scraper asked for.
pub(super) async fn metrics(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let open = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
    let open = open.flat_map(|it| it.split(',')).any(|it| it.contains("openmetrics-text"));
    let (format, content_type) =
        if open { (Format::OpenMetrics, OPEN_METRICS) } else { (Format::Prometheus, PROMETHEUS) };
    let text = metrics::scrape(supervisor.context(), format).await?;
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

/// Lets scrapers of this machine in, others with a key, and all if the operator says so.
pub(super) async fn layer(state: State<Supervisor>, request: Request, next: Next) -> Response {
    if state.context().live().metrics.public || is_local(&request) {
        next.run(request).await
    } else {
        auth::layer(state, request, next).await
    }
}

fn is_local(request: &Request) -> bool {
    let loopback = match request.extensions().get::<Peer>() {
        Some(Peer::Tcp(address)) => address.ip().to_canonical().is_loopback(),
        Some(Peer::Local) => true,
        None => false,
    };
    loopback && !FORWARDED_FOR.iter().any(|name| request.headers().contains_key(name))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_this_machine_itself_is_local() {
        let request = |peer: Option<&str>, header: Option<&str>| {
            let mut request = Request::get("/metrics");
            if let Some(name) = header {
                request = request.header(name, "10.0.0.1");
            }
            let mut request = request.body(Body::empty()).unwrap();
            if let Some(peer) = peer {
                request.extensions_mut().insert(Peer::Tcp(peer.parse().unwrap()));
            }
            request
        };
        for peer in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert!(is_local(&request(Some(peer), None)), "{peer}");
            assert!(!is_local(&request(Some(peer), Some("x-forwarded-for"))), "{peer}");
        }
        assert!(!is_local(&request(Some("10.0.0.7:5"), None)));
        assert!(!is_local(&request(None, None)));
    }
}
