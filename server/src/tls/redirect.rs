//! The plain port beside a TLS port: it sends every caller to the same place under https.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{HOST, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

/// 308 keeps method and body; `port` is where TLS is spoken.
pub(crate) fn router(port: u16) -> Router {
    Router::new().fallback(async move |request: Request| redirect(&request, port))
}

fn redirect(request: &Request, port: u16) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let target = host.and_then(|host| {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        HeaderValue::from_str(&format!("https://{}{port}{path}", host.host())).ok()
    });
    match target {
        Some(target) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, target)]).into_response(),
        None => (StatusCode::BAD_REQUEST, "use https\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn callers_are_sent_to_the_same_place_under_https() {
        let cases = [
            (Some("example.com"), 7890, Some("https://example.com:7890/rpc/x?y=%20")),
            (Some("example.com:80"), 443, Some("https://example.com/rpc/x?y=%20")),
            (Some("[::1]:80"), 443, Some("https://[::1]/rpc/x?y=%20")),
            (Some("user@/evil"), 443, None),
            (None, 443, None),
        ];
        for (host, port, expected) in cases {
            let mut request = Request::post("/rpc/x?y=%20");
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let response = redirect(&request.body(Body::empty()).unwrap(), port);
            let target = response.headers().get(LOCATION).map(|it| it.to_str().unwrap());
            assert_eq!(target, expected, "{host:?}");
            let status = if expected.is_some() { 308 } else { 400 };
            assert_eq!(response.status().as_u16(), status);
        }
    }
}
