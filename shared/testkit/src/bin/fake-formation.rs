//! A formation that does on the wire what the real one never would: it takes the manager's sockets
//! as the runtime does, and answers on odd routes. For tests only.
//!
//! | route | does |
//! | --- | --- |
//! | `/ws` | a WebSocket that repeats what it hears, and closes when it hears `bye` |
//! | `/trailers` | a body with the trailer `X-Sum` |
//! | `/endless` | a body without end; `/produced` tells how much of it was taken |
//! | `/lines?gate=G` | one line at once, the second when the gate is open |
//! | `/wait?gate=G` | no answer before the gate is open |
//! | `/sink?gate=G` | reads its body only when the gate is open, and tells its length |
//! | `/gate/G` | opens a gate |
//! | `/refuse` | 413 without a look at the body |
//! | `/silent` | closes the connection instead of answering |
//! | `/own-cors` | an answer that allows one origin by itself |
//! | all others | what arrived, as JSON |

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, Stream, StreamExt as _, stream};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRAILER, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use muxi_contract::launch::{ACCEPT_ROUTE, HEALTH_ROUTE, RETIRE_ROUTE};
use muxi_service::{Shutdown, TaskGroup, TaskKind, listen};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, io::Error>;

struct Fake {
    gates: watch::Sender<BTreeSet<String>>,
    produced: AtomicU64,
    accepts: AtomicBool,
    shared: std::net::TcpListener,
    tasks: TaskGroup,
}

static CHUNK: [u8; 16 << 10] = [b'x'; 16 << 10];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let sockets = listen::inherited()?.context("only a manager starts this")?;
    // Kept: a manager that comes back connects here.
    let _handoff = sockets.handoff;
    let fake = Arc::new(Fake {
        gates: watch::Sender::default(),
        produced: AtomicU64::new(0),
        accepts: AtomicBool::new(false),
        shared: sockets.shared,
        tasks: TaskGroup::new(Shutdown::new().stopping),
    });
    let private = tokio::net::UnixListener::from_std(sockets.private)?;
    loop {
        let (stream, _) = private.accept().await?;
        fake.serve(stream);
    }
}

// === impl Fake ===

impl Fake {
    fn serve(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let fake = Arc::clone(self);
        self.tasks.spawn(TaskKind::Connection, "connection", async move {
            let service = service_fn(move |request| {
                let fake = Arc::clone(&fake);
                async move { fake.answer(request).await }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            // Whoever leaves, leaves.
            builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
        });
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let gate = request.uri().query().and_then(|it| it.strip_prefix("gate=")).map(str::to_owned);
        match path.as_str() {
            HEALTH_ROUTE | RETIRE_ROUTE => text(StatusCode::OK, ""),
            ACCEPT_ROUTE => self.accept(),
            "/ws" => self.web_socket(&mut request),
            "/trailers" => Ok(trailers()),
            "/endless" => {
                let fake = Arc::clone(&self);
                Ok(body(stream::repeat_with(move || {
                    fake.produced.fetch_add(CHUNK.len() as u64, Ordering::Relaxed);
                    Ok(Frame::data(Bytes::from_static(&CHUNK)))
                })))
            }
            "/produced" => text(StatusCode::OK, &self.produced.load(Ordering::Relaxed).to_string()),
            "/lines" => {
                let line =
                    |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
                let second = stream::once(async move {
                    self.pass(gate).await;
                    line("{\"line\": 2}\n")
                });
                Ok(body(stream::once(async move { line("{\"line\": 1}\n") }).chain(second)))
            }
            "/wait" => {
                self.pass(gate).await;
                text(StatusCode::OK, "waited")
            }
            "/sink" => {
                self.pass(gate).await;
                let mut taken = 0;
                while let Some(frame) = request.body_mut().frame().await {
                    let frame = frame.map_err(io::Error::other)?;
                    taken += frame.data_ref().map_or(0, Bytes::len);
                }
                text(StatusCode::OK, &taken.to_string())
            }
            "/refuse" => text(StatusCode::PAYLOAD_TOO_LARGE, "too much"),
            "/silent" => Err(io::Error::other("no answer")),
            "/own-cors" => {
                let mut response = text(StatusCode::OK, "own")?;
                for (name, value) in [
                    ("access-control-allow-origin", "https://own.example"),
                    ("access-control-allow-credentials", "true"),
                ] {
                    response.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                Ok(response)
            }
            _ => match path.strip_prefix("/gate/") {
                Some(name) => {
                    self.gates.send_if_modified(|open| open.insert(name.to_owned()));
                    text(StatusCode::OK, "")
                }
                None => echo(request).await,
            },
        }
    }

    /// Begins to accept on the formation's port.
    fn accept(self: &Arc<Self>) -> Answer {
        if !self.accepts.swap(true, Ordering::Relaxed) {
            let listener = tokio::net::TcpListener::from_std(self.shared.try_clone()?)?;
            let fake = Arc::clone(self);
            self.tasks.spawn(TaskKind::Connection, "port", async move {
                while let Ok((stream, _)) = listener.accept().await {
                    fake.serve(stream);
                }
            });
        }
        text(StatusCode::OK, "")
    }

    async fn pass(&self, gate: Option<String>) {
        let Some(gate) = gate else { return };
        // The sender lives as long as this.
        self.gates.subscribe().wait_for(|open| open.contains(&gate)).await.ok();
    }

    fn web_socket(&self, request: &mut Request<Incoming>) -> Answer {
        let Some(key) = request.headers().get("sec-websocket-key") else {
            return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket");
        };
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        let upgrade = hyper::upgrade::on(request);
        self.tasks.spawn(TaskKind::Connection, "web socket", async move {
            let Ok(upgraded) = upgrade.await else { return };
            let io = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|text| text == "bye") {
                    socket.close(None).await.ok();
                } else if message.is_text() || message.is_binary() {
                    socket.send(message).await.ok();
                }
            }
        });
        let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "")?;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-accept", accept.map_err(io::Error::other)?);
        Ok(response)
    }
}

// === private helpers ===

fn text(status: StatusCode, text: &str) -> Answer {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {});
    Response::builder().status(status).body(body.boxed_unsync()).map_err(io::Error::other)
}

fn body(frames: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Response<Body> {
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn trailers() -> Response<Body> {
    let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("5"));
    let frames =
        [Frame::data(Bytes::from_static(b"hello")), Frame::trailers([sum].into_iter().collect())];
    let mut response = body(stream::iter(frames.map(Ok)));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
    response
}

/// What arrived, as it arrived.
async fn echo(request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let trailers = body.trailers().map(listed).unwrap_or_default();
    let told = json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "headers": listed(&parts.headers),
        "body": String::from_utf8_lossy(&body.to_bytes()),
        "trailers": trailers,
    });
    let mut response = text(StatusCode::OK, &told.to_string())?;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    Ok(response)
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
