//! The formation as an agent of the A2A protocol: its card, and JSON-RPC at `/a2a`, versions 0.3 and 1.0.
//!
//! A task is a request of ours, so it is written down before anyone is told of it and goes on when its
//! caller has left; a context is a session. What callers say is the text of somebody elsewhere.

mod card;
mod tasks;
mod wire;

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use muxi_contract::ErrorCode;
use muxi_service::accept::Peer;
use muxi_service::sse;
use muxi_tools::a2a::{DEPTH_HEADER, DEPTH_MAX};
use serde_json::{Value, json};

use self::tasks::Tasks;
use self::wire::{Fault, Method, Version};
use super::auth::User;
use super::body::{self, Room};
use super::error::Problem;
use super::events::ending_with;
use crate::app::{App, Parts};
use crate::callers::{Callers, Proof, Refusal};

/// Which version of the protocol a call is written in, where it says so.
const VERSION_HEADER: &str = "a2a-version";

/// `GET /.well-known/agent-card.json`: for everybody, since it says how callers prove who they are.
pub(super) async fn card(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let callers = callers(&app)?;
    let agents = app.agents.all();
    let agents: Vec<_> = agents.iter().filter(|it| it.config.a2a.external).collect();
    Ok(Json(card::card(&app.manifest, &agents, callers.auth(), &card::address(&app, &headers))))
}

/// `POST /a2a`: one call of JSON-RPC.
pub(super) async fn call(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let callers = callers(&app)?;
    let (bytes, hold) = body::bytes(body, Room::Files, &app).await?;
    let address = address(peer.map(|it| it.0), &headers);
    let proof =
        Proof { headers: &headers, body: &bytes, address, keys: &app.keys, now: app.clock.now() };
    let named = match callers.identify(proof).await {
        Ok(named) => named,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let user = User::of(named, &app).await?;
    let call: Value = match body::aside(bytes.len(), || serde_json::from_slice(&bytes)) {
        Ok(call) => call,
        Err(error) => return Ok(failed(&Value::Null, &Fault::unreadable(&error))),
    };
    drop(bytes);
    let id = call["id"].clone();
    let answer = answer(&app, user, &headers, call).await;
    // From here on the turn counts its files.
    drop(hold);
    Ok(answer.unwrap_or_else(|fault| failed(&id, &fault)))
}

async fn answer(
    app: &App,
    user: User,
    headers: &HeaderMap,
    mut call: Value,
) -> Result<Response, Fault> {
    check_version(headers)?;
    let depth = depth(headers)?;
    let (method, version) = Method::read(&call)?;
    let (id, params) = (call["id"].take(), call["params"].take());
    let tasks = Tasks { app: app.clone(), user, version };
    let result = match method {
        Method::Send => tasks.send(&params, depth).await?,
        Method::Get => tasks.get(&params).await?,
        Method::Cancel => tasks.cancel(&params).await?,
        Method::Stream => return Ok(stream(app, id, tasks.stream(&params, depth).await?)),
        Method::Subscribe => return Ok(stream(app, id, tasks.subscribe(&params).await?)),
    };
    Ok(Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response())
}

// === private helpers ===

fn callers(app: &Parts) -> Result<&Callers, Problem> {
    app.callers.as_ref().ok_or_else(|| {
        let message = "this formation takes no calls of other agents; `a2a.inbound` in its manifest \
                       lets them in";
        Problem::new(ErrorCode::ResourceNotFound, message)
    })
}

/// Who calls through the manager is told by it, over a socket that nobody else reaches.
fn address(peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
    match peer? {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local => {
            let told = headers.get("x-forwarded-for")?.to_str().ok()?;
            told.split(',').next_back()?.trim().parse().ok()
        }
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(given) = headers.get(VERSION_HEADER) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default().trim();
    if given.is_empty() || Version::of(given).is_some() {
        return Ok(());
    }
    Err(Fault::version(given))
}

/// How many agents have asked each other on the way here; those who ask in a circle are stopped by whoever
/// sees it first.
fn depth(headers: &HeaderMap) -> Result<u8, Fault> {
    let Some(given) = headers.get(DEPTH_HEADER) else { return Ok(0) };
    let depth = given.to_str().ok().and_then(|it| it.trim().parse::<u8>().ok());
    depth.filter(|depth| *depth <= DEPTH_MAX).ok_or_else(|| {
        let message = format!("more than {DEPTH_MAX} agents have asked each other on the way here");
        Fault::invalid(message)
    })
}

fn stream(
    app: &App,
    id: Value,
    results: impl futures_util::Stream<Item = Value> + Send + 'static,
) -> Response {
    let frames = results.map(move |result| -> Bytes {
        sse::frame(None, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
    });
    sse::response(ending_with(app.clone(), frames), app.limits.events_keepalive)
}

/// Failures of JSON-RPC are answers like others.
fn failed(id: &Value, fault: &Fault) -> Response {
    Json(json!({"jsonrpc": "2.0", "id": id, "error": fault.shown()})).into_response()
}

fn refused(refusal: Refusal) -> Response {
    let (code, message) = match refusal {
        Refusal::Address => (ErrorCode::Forbidden, refusal.to_string()),
        Refusal::Unproven | Refusal::Stale | Refusal::Repeated => {
            (ErrorCode::Unauthorized, refusal.to_string())
        }
        Refusal::Full | Refusal::NoKeys => {
            return Problem::busy(&refusal.to_string()).into_response();
        }
    };
    let mut response = Problem::new(code, message).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"a2a\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
