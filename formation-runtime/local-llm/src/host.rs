//! The model host: one process a machine that serves local models to every formation on it.
//!
//! It speaks the `OpenAI` wire on a Unix socket. A model is loaded when it is first asked for and
//! unloaded when nobody has asked for a while; then the process may end, to be started again on
//! demand. Whoever may connect to the socket may use the models: its folder decides.

mod activity;
mod answer;
mod calls;
mod http;
mod models;
mod wire;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::activity::Activity;
use self::models::Models;
use crate::engine::EngineOptions;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    pub models_dir: PathBuf,
    pub engine: EngineOptions,
    /// A model that nobody has used for so long gives its memory back.
    pub idle_unload: Duration,
    /// The host ends when nobody has used it for so long; `None` keeps it until it is told to end.
    pub idle_exit: Option<Duration>,
    /// Where the listener is bound. When another socket appears there, nobody can reach this host
    /// any more, and it ends as soon as no request is active.
    pub socket_path: Option<PathBuf>,
    /// How long answers under way may go on after the host was told to end.
    pub drain: Duration,
}

/// Why a host has ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Shutdown,
    Idle,
    Replaced,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("failed to look at the socket {path}")]
    Socket { path: String, source: io::Error },
    #[error("failed to serve the socket")]
    Serve(#[source] io::Error),
    #[error("an engine has crashed; the host must be started again")]
    EngineCrashed,
}

/// Serves until it is told to end, is no longer needed, or cannot go on.
pub async fn serve(
    listener: UnixListener,
    options: HostOptions,
    shutdown: CancellationToken,
) -> Result<Ended, HostError> {
    let socket = options.socket_path.as_deref().map(Socket::at).transpose()?;
    let host = Arc::new(Host {
        models: Models::new(options.models_dir.clone(), options.engine),
        activity: Activity::new(),
        cancel: CancellationToken::new(),
    });
    let stop = CancellationToken::new();
    let server = axum::serve(listener, http::router(Arc::clone(&host)))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    tokio::pin!(server);

    let ended = tokio::select! {
        biased;
        // Ends by itself only when the listener fails. Cancel-safe: polled again below.
        result = &mut server => return Err(HostError::Serve(
            result.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        )),
        // Cancel-safe: holds no state between its waits.
        ended = host.watch(&options, socket.as_ref(), &shutdown) => ended,
    };
    stop.cancel();
    if tokio::time::timeout(options.drain, &mut server).await.is_err() {
        host.cancel.cancel();
        if tokio::time::timeout(CANCEL_GRACE, &mut server).await.is_err() {
            tracing::warn!("connections are still open; they are cut");
        }
    }
    ended
}

/// How long a cancelled answer may need to say so to its client.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How often the host looks whether its socket is still the one that clients find.
const SOCKET_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Debug)]
struct Host {
    models: Models,
    activity: Activity,
    /// Ends every answer under way.
    cancel: CancellationToken,
}

/// Which socket lies at a path. The time tells apart sockets that got the same inode number.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    path: PathBuf,
    identity: (u64, u64, i64, i64),
}

// === impl HostOptions ===

impl HostOptions {
    pub fn new(models_dir: PathBuf) -> Self {
        Self {
            models_dir,
            engine: EngineOptions::default(),
            idle_unload: Duration::from_mins(5),
            idle_exit: None,
            socket_path: None,
            drain: Duration::from_secs(10),
        }
    }
}

// === impl Host ===

impl Host {
    /// Unloads what is idle, and returns when the host should end.
    async fn watch(
        &self,
        options: &HostOptions,
        socket: Option<&Socket>,
        shutdown: &CancellationToken,
    ) -> Result<Ended, HostError> {
        loop {
            if self.models.has_crashed() {
                return Err(HostError::EngineCrashed);
            }
            let mut wait = SOCKET_CHECK_INTERVAL;
            if let Some(idle_since) = self.activity.idle_since() {
                let idle = Instant::now().duration_since(idle_since);
                if socket.is_some_and(|socket| !socket.is_in_place()) {
                    return Ok(Ended::Replaced);
                }
                if options.idle_exit.is_some_and(|limit| idle >= limit) {
                    return Ok(Ended::Idle);
                }
                if idle >= options.idle_unload {
                    self.models.unload_idle();
                }
                for limit in options.idle_exit.into_iter().chain([options.idle_unload]) {
                    wait = wait.min(limit.checked_sub(idle).unwrap_or(wait));
                }
            }
            tokio::select! {
                biased;
                // Cancel-safe.
                () = shutdown.cancelled() => return Ok(Ended::Shutdown),
                // Cancel-safe. Not only a timer: a crash shows when its request ends.
                () = self.activity.changed() => {}
                // Cancel-safe.
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

// === impl Socket ===

impl Socket {
    fn at(path: &Path) -> Result<Self, HostError> {
        identity(path)
            .map(|identity| Self { path: path.to_owned(), identity })
            .map_err(|source| HostError::Socket { path: path.display().to_string(), source })
    }

    fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

// === private helpers ===

fn identity(path: &Path) -> io::Result<(u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}
