//! Every request has an id: the caller's, or one made here; it goes out in the answer and the logs.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use muxi_contract::RequestId;
use tracing::Instrument as _;

/// `X-Request-Id`, both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The request that this task serves.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Lets work that goes on in a task of its own know the request that it is for.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = current();
    async move {
        match id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
}

/// The outermost layer. A handler that settles on another id puts it into the answer's extensions.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&HEADER).and_then(|value| value.to_str().ok());
    let id = given.and_then(|text| text.parse().ok()).unwrap_or_else(RequestId::generate);
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!(
        "request",
        id = %id,
        method = %request.method(),
        path = request.uri().path(),
        // Whoever finds out who asks writes it down here, for all lines that follow.
        key = tracing::field::Empty,
    );
    let mut response = CURRENT.scope(id.clone(), next.run(request).instrument(span)).await;
    let id = response.extensions().get::<RequestId>().cloned().unwrap_or(id);
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
