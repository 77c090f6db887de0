//! Accepts at once and shakes hands in the connection's own task: a slow client delays nobody else,
//! has a deadline, and counts as the one connection that it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use futures_util::future::BoxFuture;
use muxi_contract::management::{Problem, ProblemKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pair::LivePair;

/// A TCP listener whose connections are TLS.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    pair: Arc<LivePair>,
}

/// A connection that shakes hands as soon as somebody reads or writes.
pub struct TlsConnection(State);

enum State {
    Shaking(BoxFuture<'static, io::Result<TlsStream<TcpStream>>>),
    Open(Box<TlsStream<TcpStream>>),
    Failed,
}

/// From the first packet to the end of the handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection; no HTTP method begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;
/// What a plain caller may still send before its answer is sure to have arrived.
const PLAIN_REST_BYTES_MAX: u64 = 64 << 10;
const PLAIN_REST_PATIENCE: Duration = Duration::from_secs(1);

// === impl TlsListener ===

impl TlsListener {
    pub fn new(tcp: TcpListener, pair: Arc<LivePair>) -> Self {
        Self { tcp, pair }
    }
}

impl Listener for TlsListener {
    type Io = TlsConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.tcp).await;
        // A token must not wait for the next one.
        let _only_slower = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.pair.current().server));
        let shaking = async {
            let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, shake(stream, acceptor)).await;
            shaken.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
        };
        (TlsConnection(State::Shaking(Box::pin(shaking))), peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn shake(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != HANDSHAKE_RECORD {
        refuse_plain(stream).await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a caller does not speak TLS"));
    }
    acceptor.accept(stream).await
}

/// Answers in the caller's own words. What it sends is read, since an unread rest would take the
/// answer back.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(plain_answer().as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(PLAIN_REST_BYTES_MAX);
    let mut nowhere = tokio::io::sink();
    let copying = tokio::io::copy(&mut rest, &mut nowhere);
    let _enough = tokio::time::timeout(PLAIN_REST_PATIENCE, copying).await;
    Ok(())
}

fn plain_answer() -> String {
    let message = "This port speaks HTTPS; call it with https://";
    let problem = Problem::new(ProblemKind::ValidationError, message, "");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

// === impl TlsConnection ===

impl TlsConnection {
    /// The stream once hands are shaken; an error, every time, if that failed.
    fn poll_open(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&mut TlsStream<TcpStream>>> {
        if let State::Shaking(shaking) = &mut self.0 {
            self.0 = match ready!(shaking.as_mut().poll(context)) {
                Ok(stream) => State::Open(Box::new(stream)),
                Err(error) => {
                    self.0 = State::Failed;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.0 {
            State::Open(stream) => Ok(stream),
            State::Shaking(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl std::fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnection").finish_non_exhaustive()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = ready!(self.poll_open(context))?;
        Pin::new(stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing was written before hands are shaken, so nothing waits to be flushed.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Open(stream) => Pin::new(stream).poll_flush(context),
            State::Shaking(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Open(stream) => Pin::new(stream).poll_shutdown(context),
            State::Shaking(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}
