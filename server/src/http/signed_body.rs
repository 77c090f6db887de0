//! Bodies that must be the ones that were signed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};

/// Tells, once a request was handled, whether its body turned out to be another.
#[derive(Debug, Clone, Default)]
pub(super) struct Forged(Arc<AtomicBool>);

/// Hashes what is read, and ends with an error instead of an end if it is not what was signed. So
/// nobody who reads to the end, as all do before they act, acts on another body.
struct SignedBody {
    inner: Body,
    hash: Sha256,
    wanted: String,
    forged: Forged,
}

#[derive(Debug, thiserror::Error)]
#[error("the body is not the one that was signed")]
struct NotWhatWasSigned;

/// Has the body checked while it is read.
pub(super) fn check(request: Request, content_sha256: &str) -> (Request, Forged) {
    let forged = Forged::default();
    let (wanted, told) = (content_sha256.to_owned(), forged.clone());
    let request = request
        .map(|inner| Body::new(SignedBody { inner, hash: Sha256::new(), wanted, forged: told }));
    (request, forged)
}

// === impl Forged ===

impl Forged {
    pub(super) fn is_forged(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

// === impl SignedBody ===

impl http_body::Body for SignedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.hash.update(data);
                }
            }
            Some(Err(_)) => {}
            None => {
                let found = std::mem::take(&mut self.hash).finalize();
                // After the end there is only the end.
                let wanted = std::mem::take(&mut self.wanted);
                if !wanted.is_empty() && hex::encode(found) != wanted {
                    self.forged.0.store(true, Ordering::Release);
                    return Poll::Ready(Some(Err(axum::Error::new(NotWhatWasSigned))));
                }
            }
        }
        Poll::Ready(frame)
    }

    // Not `is_end_stream`: only whoever polls to the end learns whether it is right.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures_util::stream;
    use muxi_contract::signature::content_sha256;

    use super::*;

    async fn read(sent: Body, signed: &[u8]) -> (Option<Bytes>, bool) {
        let (request, forged) = check(Request::new(sent), &content_sha256(signed));
        (to_bytes(request.into_body(), 1_000).await.ok(), forged.is_forged())
    }

    #[tokio::test]
    async fn only_the_signed_body_has_an_end() {
        assert_eq!(read(Body::from("abc"), b"abc").await, (Some(Bytes::from("abc")), false));
        assert_eq!(read(Body::empty(), b"").await, (Some(Bytes::new()), false));
        assert_eq!(read(Body::from("abd"), b"abc").await, (None, true));
        assert_eq!(read(Body::empty(), b"abc").await, (None, true));
        let chunks = || ["a", "bc"].map(Ok::<_, std::io::Error>);
        let streamed = |signed| read(Body::from_stream(stream::iter(chunks())), signed);
        assert_eq!(streamed(b"abc").await, (Some(Bytes::from("abc")), false));
        assert_eq!(streamed(b"ab").await, (None, true));
    }
}
