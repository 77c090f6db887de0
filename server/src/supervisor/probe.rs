//! Asks an instance over its private socket.

use std::path::Path;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use muxi_service::unix_path;

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke")]
    Http(#[source] hyper::Error),
    #[error("the answer was {0}")]
    Status(StatusCode),
}

// === impl ProbeError ===

impl ProbeError {
    /// Whether the asker itself failed, which says nothing of the instance.
    pub(super) fn is_ours(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
    }
}

/// Sends one request without a body; any 2xx is a yes.
pub(super) async fn ask(
    socket: &Path,
    method: Method,
    route: &str,
    patience: Duration,
) -> Result<(), ProbeError> {
    tokio::time::timeout(patience, send(socket, method, route))
        .await
        .map_err(|_| ProbeError::Timeout(patience))?
}

async fn send(socket: &Path, method: Method, route: &str) -> Result<(), ProbeError> {
    let stream = unix_path::connect_async(socket).await.map_err(ProbeError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ProbeError::Http)?;
    let request = Request::builder()
        .method(method)
        .uri(route)
        .header("host", "instance")
        .body(Empty::<Bytes>::new())
        .expect("our own routes are valid");
    // The connection is driven here, so it ends with the question.
    let response = tokio::select! {
        response = sender.send_request(request) => response.map_err(ProbeError::Http)?,
        ended = connection => match ended {
            Err(error) => return Err(ProbeError::Http(error)),
            Ok(()) => return Err(ProbeError::Connect(std::io::ErrorKind::UnexpectedEof.into())),
        },
    };
    if response.status().is_success() { Ok(()) } else { Err(ProbeError::Status(response.status())) }
}
