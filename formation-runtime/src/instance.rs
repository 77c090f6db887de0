//! The formation's port under a manager: held by the manager, served by the instance that it chose.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use muxi_service::accept::{self, AcceptLimits};
use muxi_service::{Shutdown, TaskGroup, TaskKind};
use tokio_util::sync::CancellationToken;

/// Accepts on the shared listener between [`SharedPort::accept`] and [`SharedPort::retire`]. Both may
/// be called again: a rollback returns to an instance that had retired.
#[derive(Debug, Clone)]
pub struct SharedPort(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: TcpListener,
    app: Router,
    limits: AcceptLimits,
    tasks: TaskGroup,
    shutdown: Shutdown,
    accepting: Mutex<Option<CancellationToken>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("failed to take the formation's port")]
    Listener(#[source] io::Error),
    #[error("the formation is stopping")]
    Stopping,
}

/// Tokens leave one by one: waiting to fill a packet would be seen.
pub fn send_at_once(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
}

/// Tells a client to come back on a new connection, which another instance takes.
async fn close_when_retired(
    State(accepting): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if accepting.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

// === impl SharedPort ===

impl SharedPort {
    pub fn new(
        listener: TcpListener,
        app: Router,
        limits: AcceptLimits,
        tasks: TaskGroup,
        shutdown: Shutdown,
    ) -> Self {
        let accepting = Mutex::default();
        Self(Arc::new(Inner { listener, app, limits, tasks, shutdown, accepting }))
    }

    /// Begins to accept; without effect while it does.
    pub fn accept(&self) -> Result<(), AcceptError> {
        let inner = &*self.0;
        let mut accepting = inner.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if accepting.as_ref().is_some_and(|token| !token.is_cancelled()) {
            return Ok(());
        }
        if inner.shutdown.stopping.is_cancelled() {
            return Err(AcceptError::Stopping);
        }
        // A duplicate: the accept loop closes its own when it ends, this one stays.
        let listener = inner.listener.try_clone().map_err(AcceptError::Listener)?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(AcceptError::Listener)?;
        let listener = listener.tap_io(send_at_once);
        let token = inner.shutdown.stopping.child_token();
        let app = inner.app.clone().layer(from_fn_with_state(token.clone(), close_when_retired));
        let serving = accept::serve_while(
            token.clone(),
            listener,
            app,
            inner.limits,
            inner.tasks.clone(),
            inner.shutdown.clone(),
        );
        inner.tasks.spawn(TaskKind::PerFormation, "formation port", serving);
        *accepting = Some(token);
        tracing::info!("accepting on the formation's port");
        Ok(())
    }

    /// Stops to accept; what is open goes on, and each connection ends with its next answer. A
    /// connection that is idle now is not closed: its client may be sending at this moment.
    pub fn retire(&self) {
        let accepting = self.0.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(token) = accepting {
            token.cancel();
            tracing::info!("retired from the formation's port");
        }
    }
}
