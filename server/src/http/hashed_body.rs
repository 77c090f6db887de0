//! Bodies that are hashed while they are read, and those that must be the ones that were signed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};

use crate::auth::calls::BodyHash;

/// Hashes what is read, and ends with an error instead of an end if it is not what was signed. So
/// nobody who reads to the end, as all do before they act, acts on another body.
struct HashedBody {
    inner: Body,
    hash: Sha256,
    signed: Option<String>,
    found: BodyHash,
}

#[derive(Debug, thiserror::Error)]
#[error("the body is not the one that was signed")]
struct NotWhatWasSigned;

/// Has the body hashed, and compared with what was signed, while it is read to its end.
pub(super) fn hashed(request: Request, signed: Option<String>, found: BodyHash) -> Request {
    request.map(|inner| {
        let mut body = HashedBody { inner, hash: Sha256::new(), signed, found };
        // Nobody reads a body where none is expected.
        if body.signed.is_none() && body.inner.is_end_stream() {
            body.end();
        }
        Body::new(body)
    })
}

// === impl HashedBody ===

impl HashedBody {
    /// False if it is not what was signed. After the end there is only the end.
    fn end(&mut self) -> bool {
        let found = hex::encode(std::mem::take(&mut self.hash).finalize());
        let fits = self.signed.take().is_none_or(|signed| signed == found);
        // Whoever asks again after the end hears nothing new.
        let _first = self.found.set(found);
        fits
    }
}

impl http_body::Body for HashedBody {
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
            None if self.end() => {}
            None => return Poll::Ready(Some(Err(axum::Error::new(NotWhatWasSigned)))),
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
        let (found, signed) = (BodyHash::default(), content_sha256(signed));
        let request = hashed(Request::new(sent), Some(signed.clone()), found.clone());
        let read = to_bytes(request.into_body(), 1_000).await.ok();
        (read, found.get().is_some_and(|found| *found != signed))
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

    #[tokio::test]
    async fn the_hash_is_known_at_the_end_and_that_of_nothing_at_once() {
        let of = |sent: Body| {
            let found = BodyHash::default();
            (hashed(Request::new(sent), None, found.clone()), found)
        };
        let (request, found) = of(Body::from("abc"));
        assert_eq!(found.get(), None);
        to_bytes(request.into_body(), 1_000).await.unwrap();
        assert_eq!(found.get(), Some(&content_sha256(b"abc")));
        let (_unread, found) = of(Body::empty());
        assert_eq!(found.get(), Some(&content_sha256(b"")));
        let broken = [Ok("a"), Err(std::io::Error::other("cut"))];
        let (request, found) = of(Body::from_stream(stream::iter(broken)));
        assert!(to_bytes(request.into_body(), 1_000).await.is_err());
        assert_eq!(found.get(), None);
    }
}
