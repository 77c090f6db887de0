//! The body of a request on its way to an instance.
//!
//! It is passed on as it comes. Three things need more: a request that is held reads a little ahead,
//! because a client that leaves is only noticed while somebody reads; one that found nobody to send
//! to is tried again with the same body; and a client that asks before it sends gets the instance's
//! word and not ours.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::Notify;

/// What is known of a request's body while and after it is sent.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    broken: AtomicBool,
}

/// The body, with what was read ahead of it.
pub(super) struct Upload {
    body: Body,
    early: VecDeque<Frame<Bytes>>,
    early_bytes: u64,
    early_ended: bool,
    permission: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    meter: Arc<Meter>,
}

/// An [`Upload`] that goes back to its [`Lender`] if it was dropped unread.
pub(super) struct Lent {
    upload: Option<Upload>,
    /// Until the first reading.
    lender: Option<Lender>,
}

#[derive(Clone, Default)]
pub(super) struct Lender(Arc<Mutex<Option<Upload>>>);

/// What a held request may read ahead: a chat message, so that its sender is heard leaving.
const EARLY_BYTES_MAX: u64 = 64 << 10;
/// After this a client that asked may send, as if there had been no answer; others do the same.
const PERMISSION_WAIT: Duration = Duration::from_secs(1);

// === impl Meter ===

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the client left in the middle.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            early: VecDeque::new(),
            early_bytes: 0,
            early_ended: false,
            permission: None,
            meter: Arc::default(),
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Sends nothing before `permission`, or before a while has passed.
    pub(super) fn await_permission(&mut self, permission: Arc<Notify>) {
        self.permission = Some(Box::pin(async move {
            // A client that is never told sends in the end; so does this.
            let _told_or_not = tokio::time::timeout(PERMISSION_WAIT, permission.notified()).await;
        }));
    }

    /// Reads ahead; ready when there is no more to read or no more room. Cancel-safe.
    pub(super) fn poll_early(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.early_ended && self.early_bytes < EARLY_BYTES_MAX {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    self.early_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.early.push_back(frame);
                    self.early_ended = self.body.is_end_stream();
                }
                Some(Err(_)) => {
                    self.meter.broken.store(true, Ordering::Relaxed);
                    self.early_ended = true;
                }
                None => self.early_ended = true,
            }
        }
        Poll::Ready(())
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(permission) = &mut self.permission {
            ready!(permission.as_mut().poll(context));
            self.permission = None;
        }
        let frame = if let Some(frame) = self.early.pop_front() {
            self.early_bytes -= frame.data_ref().map_or(0, |data| data.len() as u64);
            Some(Ok(frame))
        } else if self.meter.is_broken() {
            Some(Err(axum::Error::new("the client left")))
        } else if self.early_ended {
            None
        } else {
            ready!(Pin::new(&mut self.body).poll_frame(context))
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.meter.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Err(_)) => self.meter.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.early.is_empty() && (self.early_ended || self.body.is_end_stream())
    }

    fn hint(&self) -> SizeHint {
        let rest = if self.early_ended { SizeHint::with_exact(0) } else { self.body.size_hint() };
        // Trailers need the chunked form, whatever was read of the length.
        let has_trailers = self.early.iter().any(Frame::is_trailers);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + self.early_bytes);
        if let Some(upper) = rest.upper().filter(|_| !has_trailers) {
            hint.set_upper(upper + self.early_bytes);
        }
        hint
    }
}

// === impl Lender ===

impl Lender {
    pub(super) fn lend(&self, upload: Upload) -> Lent {
        Lent { upload: Some(upload), lender: Some(self.clone()) }
    }

    /// The body, if nobody has read of it.
    pub(super) fn take_back(&self) -> Option<Upload> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// === impl Lent ===

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.lender = None;
        self.upload.as_mut().map_or(Poll::Ready(None), |upload| upload.poll_next(context))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(Upload::is_end)
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.as_ref().map_or_else(SizeHint::default, Upload::hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(lender) = &self.lender {
            *lender.0.lock().unwrap_or_else(PoisonError::into_inner) = self.upload.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    fn upload(chunks: &'static [&'static str]) -> Upload {
        let chunks = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk)));
        Upload::new(Body::from_stream(stream::iter(chunks)))
    }

    async fn whole(lent: Lent) -> String {
        String::from_utf8(lent.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_sent_first() {
        let mut upload = upload(&["one ", "two"]);
        poll_fn(|context| upload.poll_early(context)).await;
        let meter = upload.meter();
        assert_eq!(upload.hint().exact(), Some(7));
        assert_eq!(whole(Lender::default().lend(upload)).await, "one two");
        assert_eq!((meter.bytes(), meter.is_broken()), (7, false));
    }

    #[tokio::test]
    async fn a_body_that_nobody_read_comes_back() {
        let lender = Lender::default();
        drop(lender.lend(upload(&["one"])));
        let mut again = lender.lend(lender.take_back().unwrap());
        again.frame().await.unwrap().unwrap();
        drop(again);
        assert!(lender.take_back().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_the_permission() {
        let permission = Arc::new(Notify::new());
        let mut upload = upload(&["one"]);
        upload.await_permission(Arc::clone(&permission));
        let mut lent = Lender::default().lend(upload);
        let early = tokio::time::timeout(Duration::from_millis(500), lent.frame()).await;
        assert!(early.is_err());
        permission.notify_one();
        let begun = tokio::time::Instant::now();
        lent.frame().await.unwrap().unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
