//! Which pages of other origins may call an API from a browser.
//!
//! Callers show who they are by header keys and never by cookies, so `*` gives a page nothing that
//! any other program would not have; credentials are never allowed.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The environment variable with which a manager tells an instance the allowed origins.
pub const ORIGINS_VAR: &str = "MUXI_CORS_ORIGINS";

/// The origins whose pages may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsPolicy {
    origins: Origins,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origins {
    Any,
    /// Perhaps none.
    Listed(Vec<HeaderValue>),
}

/// What was given is not how a browser writes an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: write `*`, or scheme, host and port alone, such as https://app.example.com"
)]
pub struct InvalidOrigin(String);

/// Answers preflights itself and gives every other answer its headers; what the inner service says
/// about origins is replaced.
pub async fn layer(
    State(policy): State<Arc<CorsPolicy>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if is_preflight(&request) {
        preflight(request.headers())
    } else {
        let mut response = next.run(request).await;
        remove_foreign(response.headers_mut());
        let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        response
    };
    policy.allow(origin.as_ref(), response.headers_mut());
    response
}

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// What clients of a formation send; further `X-Muxi-*` headers are allowed as they are asked for.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, X-Request-Id, \
     X-Muxi-Client-Key, X-Muxi-Admin-Key, X-Muxi-User-ID, X-Muxi-Idempotency-Key, X-Muxi-SDK, \
     X-Muxi-Client, X-Muxi-App, Mcp-Session-Id, Mcp-Protocol-Version";
const EXPOSED_HEADERS: &str = "X-Request-Id, Retry-After, X-Muxi-SDK-Latest, X-Muxi-Artifact-Id, \
     X-Muxi-Artifact-Version, Mcp-Session-Id";
/// Short enough that a list which was changed is soon in force.
const MAX_AGE_S: &str = "600";
/// Headers of one preflight that are looked at.
const ASKED_HEADERS_MAX: usize = 64;

// === impl CorsPolicy ===

impl CorsPolicy {
    /// No origin at all closes the API to browsers; one `*` opens it to all.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, InvalidOrigin> {
        let mut listed = Vec::new();
        let mut any = false;
        for origin in origins {
            match origin.as_ref() {
                "*" => any = true,
                text => listed.push(parse_origin(text)?),
            }
        }
        Ok(Self { origins: if any { Origins::Any } else { Origins::Listed(listed) } })
    }

    /// Closed to every page.
    pub const fn none() -> Self {
        Self { origins: Origins::Listed(Vec::new()) }
    }

    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        match &self.origins {
            Origins::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::Listed(listed) => {
                // Also without an origin: a cache must not give this answer to another page.
                if !names_origin(headers) {
                    headers.append(VARY, HeaderValue::from_static("Origin"));
                }
                if let Some(origin) = origin.filter(|origin| listed.contains(origin)) {
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }
}

impl Default for CorsPolicy {
    fn default() -> Self {
        Self { origins: Origins::Any }
    }
}

/// As in the environment: separated by commas, nothing means none.
impl FromStr for CorsPolicy {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        Self::new(text.split(',').map(str::trim).filter(|origin| !origin.is_empty()))
    }
}

// === private helpers ===

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    response
}

fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let further = asked
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .take(ASKED_HEADERS_MAX)
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| name.as_str().starts_with("x-muxi-"))
        .fold(REQUEST_HEADERS.to_owned(), |list, name| list + ", " + name.as_str());
    HeaderValue::from_str(&further).unwrap_or_else(|_| HeaderValue::from_static(REQUEST_HEADERS))
}

fn remove_foreign(headers: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        headers.remove(name);
    }
}

fn names_origin(headers: &HeaderMap) -> bool {
    let names = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    names.flat_map(|text| text.split(',')).any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

fn parse_origin(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(text.to_owned());
    let (scheme, host) = text.split_once("://").ok_or_else(invalid)?;
    let is_scheme = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || "+-.".contains(it);
    let is_host = |it: char| it.is_ascii_graphic() && !it.is_ascii_uppercase();
    let well_formed = !scheme.is_empty()
        && scheme.chars().all(is_scheme)
        && !host.is_empty()
        && host.chars().all(is_host)
        && !host.contains(['/', '?', '#', '@', '*', ',']);
    if !well_formed {
        return Err(invalid());
    }
    HeaderValue::from_str(text).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(origins: &str, request: axum::http::request::Builder) -> Response {
        let inner =
            async || ([("access-control-allow-origin", "https://own"), ("vary", "accept")], "x");
        let policy = Arc::new(origins.parse::<CorsPolicy>().unwrap());
        let app = Router::new().route("/", any(inner)).layer(from_fn_with_state(policy, layer));
        app.oneshot(request.uri("/").body(Body::empty()).unwrap()).await.unwrap()
    }

    fn all(response: &Response, name: &str) -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn an_answer_names_the_origin_once() {
        for (origins, origin, allowed, vary) in [
            ("*", Some("https://a"), vec!["*"], vec!["accept"]),
            ("*", None, vec!["*"], vec!["accept"]),
            (
                "https://a, https://b",
                Some("https://b"),
                vec!["https://b"],
                vec!["accept", "Origin"],
            ),
            ("https://a", Some("https://evil"), vec![], vec!["accept", "Origin"]),
            ("https://a", None, vec![], vec!["accept", "Origin"]),
            ("", Some("https://a"), vec![], vec!["accept", "Origin"]),
        ] {
            let mut request = Request::get("/");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let response = ask(origins, request).await;
            assert_eq!(response.status(), 200);
            assert_eq!(all(&response, "access-control-allow-origin"), allowed, "{origins}");
            assert_eq!(all(&response, "vary"), vary, "{origins}");
            assert!(response.headers().contains_key("access-control-expose-headers"));
        }
    }

    #[tokio::test]
    async fn a_preflight_is_answered_here_and_other_options_are_not() {
        let asked = "content-type, x-muxi-new-thing, x-evil";
        let request = Request::options("/")
            .header("origin", "https://a")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", asked);
        let response = ask("*", request).await;
        assert_eq!(response.status(), 204);
        assert_eq!(all(&response, "access-control-allow-origin"), ["*"]);
        assert!(all(&response, "access-control-allow-methods")[0].contains("PATCH"));
        let headers = &all(&response, "access-control-allow-headers")[0];
        assert!(headers.contains("X-Muxi-User-ID") && headers.contains("x-muxi-new-thing"));
        assert!(!headers.contains("x-evil"), "{headers}");
        assert_eq!(
            ask("*", Request::options("/").header("origin", "https://a")).await.status(),
            200
        );
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for origin in [
            "*",
            "https://a.example",
            "http://localhost:3000",
            "tauri://localhost",
            "http://[::1]:5",
        ] {
            assert!(CorsPolicy::new([origin]).is_ok(), "{origin}");
        }
        for origin in [
            "",
            "null",
            "a.example",
            "https://a/",
            "https://A",
            "https://*.a",
            "https://u@a",
            "https://ä",
        ] {
            assert!(CorsPolicy::new([origin]).is_err(), "{origin}");
        }
    }
}
