//! How much an instance still has to do: its manager lets it end when there is nothing left.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

/// Counts open requests, from their heads to the ends of their answers, and knows whether another
/// instance has taken over.
#[derive(Debug, Clone, Default)]
pub struct OpenRequests {
    count: Arc<AtomicU64>,
    retired: Arc<watch::Sender<bool>>,
}

/// One open request.
#[derive(Debug)]
pub struct Open(Arc<AtomicU64>);

/// An answer's body that counts until it has ended or its reader has left.
#[derive(Debug)]
struct Counted {
    body: Body,
    _open: Open,
}

/// The layer that counts.
pub async fn layer(State(requests): State<OpenRequests>, request: Request, next: Next) -> Response {
    let open = requests.enter();
    next.run(request).await.map(|body| Body::new(Counted { body, _open: open }))
}

// === impl OpenRequests ===

impl OpenRequests {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Says whether another instance has the formation's port.
    pub fn retire(&self, retired: bool) {
        self.retired.send_replace(retired);
    }

    /// Resolves when another instance has taken over: a stream without an end of its own ends then,
    /// and its reader comes back to that instance.
    pub async fn retired(&self) {
        let mut retired = self.retired.subscribe();
        // The sender is in this.
        let _there = retired.wait_for(|retired| *retired).await;
    }

    /// One more, until the answer is dropped.
    pub fn enter(&self) -> Open {
        self.count.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(&self.count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl HttpBody for Counted {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_until_its_answer_is_gone() {
        let requests = OpenRequests::default();
        let body = Counted { body: Body::from("abc"), _open: requests.enter() };
        assert_eq!((requests.count(), body.size_hint().exact()), (1, Some(3)));
        drop(body);
        assert_eq!(requests.count(), 0);
    }
}
