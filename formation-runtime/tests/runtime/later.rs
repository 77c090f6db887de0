//! What comes of requests that nobody waits for: asking for it, and being told by a webhook.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::harness::{CLIENT_KEY, Runtime};

/// For a manifest: receivers are on this machine.
pub(crate) const RECEIVERS_HERE: &str = "async: {webhook_allow_private: true}\n";

/// A receiver of webhooks.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: mpsc::Receiver<(HeaderMap, String)>,
}

/// What a receiver does with a webhook that it has read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// Nothing is heard of it any more.
    Silence,
}

/// Answers a client's question about requests, and what it says.
pub(crate) async fn ask(runtime: &Runtime, method: Method, path: &str, user: &str) -> (u16, Value) {
    let request = runtime
        .request(method, path)
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("X-Muxi-User-ID", user);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The request's state, once it has ended.
pub(crate) async fn ended(runtime: &Runtime, id: &str) -> Value {
    let path = format!("/v1/requests/{id}");
    loop {
        let (status, body) = ask(runtime, Method::GET, &path, "alice").await;
        assert_eq!(status, 200, "{body}");
        if !matches!(body["data"]["status"].as_str().unwrap(), "pending" | "processing") {
            return body["data"].clone();
        }
        tokio::task::yield_now().await;
    }
}

// === impl Receiver ===

impl Receiver {
    /// One reply for each webhook, the last one for ever.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let (told, got) = mpsc::channel(16);
        let replies = Arc::new(Mutex::new(replies));
        let take = move |State(told): State<mpsc::Sender<(HeaderMap, String)>>,
                         headers: HeaderMap,
                         body: String| {
            let replies = Arc::clone(&replies);
            async move {
                let reply = {
                    let mut replies = replies.lock().unwrap();
                    if replies.len() > 1 { replies.remove(0) } else { replies[0] }
                };
                told.send((headers, body)).await.unwrap();
                match reply {
                    Reply::Status(status) => StatusCode::from_u16(status).unwrap(),
                    Reply::Silence => pending().await,
                }
            }
        };
        let app = axum::Router::new().route("/hook", post(take)).with_state(told);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, got }
    }

    pub(crate) async fn next(&mut self) -> (HeaderMap, Value) {
        let got = tokio::time::timeout(Duration::from_secs(20), self.got.recv()).await;
        let (headers, body) = got.expect("a webhook").unwrap();
        (headers, serde_json::from_str(&body).unwrap())
    }
}
