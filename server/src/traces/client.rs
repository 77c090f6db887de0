//! Carries batches of spans to the collector, on the manager's own runtime and TLS.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// The exporter's own thread asks; the runtime answers.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last batch was lost; each outage is told once.
    failing: AtomicBool,
}

const CONNECT: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(5);
/// Collectors answer with a few bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

// === impl Client ===

impl Client {
    pub(super) fn new() -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without certificates of its own can be made");
        Self { http, runtime: Handle::current(), failing: AtomicBool::new(false) }
    }

    fn note(&self, failure: Option<&str>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(failure) if !was_failing => {
                tracing::warn!(failure, "traces cannot be sent and are lost");
            }
            None if was_failing => tracing::info!("traces are sent again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = send(self.http.clone(), request);
        // An error of the runtime means that the manager ends.
        let sent = self.runtime.spawn(sending).await.map_err(Into::into).flatten();
        match &sent {
            Ok(response) if response.status().is_success() => self.note(None),
            Ok(response) => {
                self.note(Some(&format!("the collector answered {}", response.status())));
            }
            Err(error) => self.note(Some(&chain(error.as_ref()))),
        }
        sent
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let mut response = http.execute(request.try_into()?).await?;
    let mut answer = Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        *headers = response.headers().clone();
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("the collector's answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(answer.body(body.into())?)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
