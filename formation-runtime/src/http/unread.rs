//! Bodies that nobody read. A connection is closed behind an answer whose request was not read to its
//! end, and a client that uses it again at once loses its next request; so the rest is read.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// A body that goes back when it is no longer wanted.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

pub(crate) async fn layer(request: Request, next: Next) -> Response {
    // Who asks whether to send a body has not sent it.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (back, mut unread) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    let response = next.run(request).await;
    if let Ok(body) = unread.try_recv() {
        muxi_service::discard(body.into_data_stream()).await;
    }
    response
}

// === impl Lent ===

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.body);
        if let Some(back) = self.back.take().filter(|_| !body.is_end_stream()) {
            // While an answer streams, nobody takes it back.
            drop(back.send(body));
        }
    }
}
