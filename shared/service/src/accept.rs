//! The accept loop: one task a connection, bounded in number, drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::shutdown::Shutdown;
use crate::stall::StallGuard;
use crate::tasks::{TaskGroup, TaskKind};

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct AcceptLimits {
    /// Open connections at once; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// From the first byte of a request to the end of its header, and idle time between requests.
    pub header_read: Duration,
    /// How long a peer may take nothing of what waits for it before its connection is ended.
    pub write_stall: Duration,
}

/// Who is at the other end of a connection; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// A Unix socket, which only this machine's user can reach.
    Local,
}

/// Serves until `shutdown.stopping`, then waits for open connections until `shutdown.closing`.
///
/// Dropping the listener first lets the kernel hand newcomers to whoever else holds the socket.
pub async fn serve<L>(
    listener: L,
    app: Router,
    limits: AcceptLimits,
    tasks: TaskGroup,
    shutdown: Shutdown,
) where
    L: Listener,
    L::Addr: Into<Peer>,
{
    let accepting = shutdown.stopping.clone();
    serve_while(accepting, listener, app, limits, tasks, shutdown).await;
}

/// As [`serve`], but newcomers are left to others from the cancellation of `accepting` on, while
/// connections that are open stay as they are until `shutdown.stopping`.
pub async fn serve_while<L>(
    accepting: CancellationToken,
    mut listener: L,
    app: Router,
    limits: AcceptLimits,
    tasks: TaskGroup,
    shutdown: Shutdown,
) where
    L: Listener,
    L::Addr: Into<Peer>,
{
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_read);
    let permits = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit.expect("the semaphore is never closed"), listener.accept().await)
        };
        let (permit, (io, address)) = tokio::select! {
            biased;
            // Stop first, so that a flood of connections cannot delay it. Cancel-safe.
            () = accepting.cancelled() => break,
            // Cancel-safe: an unused permit goes back, and accept loses no connection.
            accepted = accept => accepted,
        };
        let io = TokioIo::new(StallGuard::new(io, limits.write_stall));
        let connection =
            http.serve_connection_with_upgrades(io, route(app.clone(), address.into()));
        let connection = graceful.watch(connection.into_owned());
        let closing = shutdown.closing.clone();
        tasks.spawn(TaskKind::Connection, "connection", async move {
            tokio::select! {
                biased;
                // The end of a connection first, so that a finished answer is never cut.
                result = connection => if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended with an error");
                },
                // Streams send their last event on the same token; this gives them time to flush.
                () = async { closing.cancelled().await; tokio::time::sleep(CLOSING_FLUSH).await } => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    shutdown.stopping.cancelled().await;
    tokio::select! {
        biased;
        () = graceful.shutdown() => {}
        () = shutdown.closing.cancelled() => {}
    }
}

/// How long a connection may flush its last event after `closing`.
const CLOSING_FLUSH: Duration = Duration::from_millis(250);

fn route(
    app: Router,
    peer: Peer,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    })
}

// === impl Peer ===

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<tokio::net::unix::SocketAddr> for Peer {
    fn from(_: tokio::net::unix::SocketAddr) -> Self {
        Self::Local
    }
}
