//! A body that tells how many bytes pass through it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Error;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Is told of each piece of a body; it goes when the body has ended or was given up.
pub(crate) trait Watch: Send + Unpin + 'static {
    fn passed(&mut self, bytes: u64);
}

/// Passes frames on as they come, trailers included.
#[derive(Debug)]
pub(crate) struct Counted<W> {
    body: Body,
    watch: W,
}

// === impl Counted ===

impl<W: Watch> Counted<W> {
    pub(crate) fn wrap(body: Body, watch: W) -> Body {
        Body::new(Self { body, watch })
    }
}

impl<W: Watch> HttpBody for Counted<W> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.watch.passed(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
