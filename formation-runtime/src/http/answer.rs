//! The envelope, put around what handlers return. A handler knows its data, not the request's id.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muxi_contract::envelope::{Envelope, RequestRef};
use muxi_contract::{ErrorBody, RequestId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::Problem;
use crate::app::App;

/// A success that becomes an envelope on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(super) object: Cow<'static, str>,
    pub(super) kind: Cow<'static, str>,
    pub(super) data: Box<RawValue>,
}

/// The key under which a repeat of the request is recognised; it is shown in the envelope.
#[derive(Debug, Clone)]
pub(super) struct IdempotencyKey(pub(super) String);

/// When an answer was made, if it was not now.
#[derive(Debug, Clone, Copy)]
pub(super) struct MadeAt(pub(super) i64);

// === impl Answer ===

impl Answer {
    pub(crate) fn new(object: &'static str, kind: &'static str, data: &impl Serialize) -> Self {
        let data = serde_json::value::to_raw_value(data).expect("our own types always serialise");
        Self { object: object.into(), kind: kind.into(), data }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes envelopes around answers and problems; other responses pass as they are.
pub(crate) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let line = app
        .manifest
        .server
        .access_log
        .then(|| (request.method().clone(), request.uri().path().to_owned(), app.clock.now()));
    let mut response = next.run(request).await;
    // A handler that settled on another id, such as the body's, has put it into the answer.
    let id = response.extensions().get::<RequestId>().cloned().or(id);
    let id = id.unwrap_or_else(RequestId::generate);
    let key = response.extensions_mut().remove::<IdempotencyKey>();
    let reference = RequestRef { id, idempotency_key: key.map(|it| it.0) };
    let made = response.extensions().get::<MadeAt>().map(|it| it.0);
    let timestamp = made.unwrap_or_else(|| app.clock.now_ms());
    if let Some(answer) = response.extensions_mut().remove::<Answer>() {
        let Answer { object, kind, data } = answer;
        let envelope = Envelope::success(&object, &kind, reference, timestamp, data);
        response = with_body(response, Json(envelope).into_response());
    } else if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let Problem { code, message, data, .. } = problem;
        let error = ErrorBody { code, message, data };
        let envelope = Envelope::failure(error, reference, timestamp);
        response = with_body(response, Json(envelope).into_response());
    }
    if let Some((method, path, began)) = line {
        let took_ms = app.clock.now().duration_since(began).as_millis();
        tracing::info!(%method, path, status = response.status().as_u16(), took_ms, "access");
    }
    response
}

/// The handler's status, headers and extensions around a rendered body.
fn with_body(response: Response, rendered: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let (rendered, body) = rendered.into_parts();
    for name in [http::header::CONTENT_LENGTH, http::header::CONTENT_TYPE] {
        parts.headers.remove(&name);
        if let Some(value) = rendered.headers.get(&name) {
            parts.headers.insert(name, value.clone());
        }
    }
    // Answers belong to one caller; no cache on the way may keep them.
    parts
        .headers
        .entry(HeaderName::from_static("cache-control"))
        .or_insert(HeaderValue::from_static("no-store"));
    Response::from_parts(parts, body)
}
