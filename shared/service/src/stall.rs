//! Ends a connection whose peer takes nothing while something waits to be sent.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream whose writes fail once no byte was taken for `patience`; reads may take for ever.
#[derive(Debug)]
pub(crate) struct StallGuard<T> {
    inner: T,
    patience: Duration,
    /// Made at the first wait, since most connections never wait.
    timer: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

// === impl StallGuard ===

impl<T> StallGuard<T> {
    pub(crate) fn new(inner: T, patience: Duration) -> Self {
        Self { inner, patience, timer: None, waits: false }
    }

    /// Passes on what a write came to, unless it has waited for too long.
    fn watch<R>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.waits = false;
            return result;
        }
        let deadline = Instant::now() + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waits {
            timer.as_mut().reset(deadline);
            self.waits = true;
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StallGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for StallGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, result)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_left() {
        let (near, _far) = duplex(16);
        let begun = Instant::now();
        let error = StallGuard::new(near, PATIENCE).write_all(&[0; 17]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_now_and_then_is_served() {
        let (near, mut far) = duplex(16);
        let mut near = StallGuard::new(near, PATIENCE);
        let reading = async {
            let mut taken = [0; 8];
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                far.read_exact(&mut taken).await.unwrap();
            }
        };
        let (written, ()) = futures_util::future::join(near.write_all(&[0; 96]), reading).await;
        written.unwrap();
        // Silence is no stall: nothing waits.
        tokio::time::sleep(10 * PATIENCE).await;
        far.read_exact(&mut [0; 16]).await.unwrap();
        near.write_all(&[0; 16]).await.unwrap();
    }
}
