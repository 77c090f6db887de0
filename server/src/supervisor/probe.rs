//! Asks an instance over its private socket.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use muxi_contract::launch::{ACTIVITY_ROUTE, Activity};
use muxi_service::unix_path;

/// Health answers are short.
const ANSWER_BYTES_MAX: usize = 64 << 10;

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
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is not readable")]
    Answer(#[source] serde_json::Error),
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
    let asking = async { send(socket, method, route).await.map(drop) };
    tokio::time::timeout(patience, asking).await.map_err(|_| ProbeError::Timeout(patience))?
}

/// How many requests of clients an instance has not answered to their end.
pub(super) async fn open_requests(socket: &Path, patience: Duration) -> Result<u64, ProbeError> {
    let asking = async {
        let body = send(socket, Method::GET, ACTIVITY_ROUTE).await?;
        serde_json::from_slice::<Activity>(&body).map_err(ProbeError::Answer)
    };
    let answer = tokio::time::timeout(patience, asking).await;
    Ok(answer.map_err(|_| ProbeError::Timeout(patience))??.requests)
}

async fn send(socket: &Path, method: Method, route: &str) -> Result<Bytes, ProbeError> {
    let stream = unix_path::connect_async(socket).await.map_err(ProbeError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ProbeError::Http)?;
    let request = Request::builder()
        .method(method)
        .uri(route)
        .header("host", "instance")
        .body(Empty::<Bytes>::new())
        .expect("our own routes are valid");
    let exchange = async {
        let response = sender.send_request(request).await.map_err(ProbeError::Http)?;
        if !response.status().is_success() {
            return Err(ProbeError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(Collected::to_bytes).map_err(ProbeError::Body)
    };
    // The connection is driven here, so it ends with the question.
    let mut connection = pin!(connection);
    let mut exchange = pin!(exchange);
    tokio::select! {
        // An answer that is there counts, however the connection ends. Cancel-safe: both are kept.
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Err(error) => Err(ProbeError::Http(error)),
            // The last bytes may have come with the end.
            Ok(()) => exchange.await,
        },
    }
}
