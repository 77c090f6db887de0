//! A request that names a key is done once: whoever repeats it gets the first answer.
//!
//! For whole answers of a few routes, as documented. Streams are never kept. Only successes are: what
//! failed may be tried again under the same key.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muxi_contract::{ErrorCode, RequestId, UserId};
use muxi_memory::{AnswerKey, Claim};
use muxi_service::{TaskKind, sse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, IdempotencyKey, MadeAt};
use super::auth::{ADMIN_HEADER, CLIENT_HEADER, USER_HEADER, User};
use super::body;
use super::error::Problem;
use crate::app::App;
use crate::keys::KeyClass;

const HEADER: &str = "X-Muxi-Idempotency-Key";
const KEY_CHARS_MAX: usize = 256;
/// How often a repeat looks whether the first one has its answer.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is stored of an answer: enough to write it again byte for byte.
#[derive(Serialize, Deserialize)]
struct Stored {
    object: String,
    kind: String,
    request_id: RequestId,
    timestamp: i64,
    data: Box<RawValue>,
}

/// Routes whose repeats are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Chat,
    Trigger,
    Jobs,
}

/// Frees the key unless the answer was kept: also when the caller leaves in the middle.
struct Claimed {
    app: App,
    key: Option<AnswerKey>,
}

pub(crate) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let named = key_of(request.headers());
    let route = Route::of(request.method(), request.uri().path());
    let (Some(route), true) = (route, named.is_some()) else {
        return next.run(request).await;
    };
    let Some(Ok(named)) = named else {
        let message = format!("{HEADER} must have 1 to {KEY_CHARS_MAX} visible characters");
        return Problem::new(ErrorCode::InvalidRequest, message).into_response();
    };
    // A stranger learns nothing of what others were answered.
    let (class, header) = route.key();
    let given = request.headers().get(header);
    if !given.is_some_and(|key| app.keys.is(class, key.as_bytes())) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (bytes, hold) = match body::bytes(body, route.room(), &app).await {
        Ok((bytes, hold)) => (bytes.freeze(), hold),
        Err(problem) => return problem.into_response(),
    };
    let parse = || serde_json::from_slice(&bytes).unwrap_or_default();
    let fields: Value = body::aside(bytes.len(), parse);
    let wants_stream = match fields.get("stream") {
        // What is data of a trigger says nothing of how to answer.
        _ if route != Route::Chat => false,
        Some(Value::Bool(stream)) => *stream,
        _ => sse::is_asked_for(&parts.headers),
    };
    let user = match User::of(user_of(route, &parts.headers, &fields), &app).await {
        Ok(user) => user.id,
        Err(problem) => return problem.into_response(),
    };
    // With files it is long, and the handler reads it again.
    drop(fields);
    let route = format!("{} {}", parts.method, parts.uri.path());
    let mut sha256 = Sha256::new_with_prefix(&bytes);
    if let Some(query) = parts.uri.query() {
        // JSON has no such byte, so that no body reads like another one with a query.
        sha256.update([0]);
        sha256.update(query);
    }
    let sha256 = hex::encode(sha256.finalize());
    let request = Request::from_parts(parts, Body::from(bytes));
    if wants_stream {
        drop(hold);
        return next.run(request).await;
    }
    let key = AnswerKey { user, route, key: named };
    let mut response = once(app, &key, sha256, (request, hold), next).await;
    response.extensions_mut().insert(IdempotencyKey(key.key));
    response
}

/// What is long holds its room while it waits for the first one; the handler takes its own.
async fn once(
    app: App,
    key: &AnswerKey,
    sha256: String,
    (request, hold): (Request, body::Hold),
    next: Next,
) -> Response {
    loop {
        match app.store.claim_key(key, sha256.clone(), app.clock.now_ms()).await {
            Ok(Claim::First) => break,
            Ok(Claim::Busy) => tokio::time::sleep(LOOK_EVERY).await,
            Ok(Claim::Answered { status, body }) => return again(status, &body),
            Ok(Claim::OtherBody) => {
                let message =
                    format!("the key in {HEADER} was used for another body; take a new one");
                return Problem::new(ErrorCode::Conflict, message).into_response();
            }
            Err(error) => return Problem::from(error).into_response(),
        }
    }
    drop(hold);
    let mut claimed = Claimed { app: app.clone(), key: Some(key.clone()) };
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let id = response.extensions().get::<RequestId>().cloned().or(id);
    let answer = response.extensions().get::<Answer>().filter(|_| response.status().is_success());
    if let (Some(answer), Some(request_id)) = (answer, id) {
        let timestamp = app.clock.now_ms();
        let stored = Stored {
            object: answer.object.to_string(),
            kind: answer.kind.to_string(),
            request_id,
            timestamp,
            data: answer.data.clone(),
        };
        let text = serde_json::to_string(&stored).expect("our own types always serialise");
        match app.store.keep_answer(key, response.status().as_u16(), text).await {
            Ok(()) => claimed.key = None,
            Err(error) => tracing::error!(?error, "an answer is not kept for repeats"),
        }
        response.extensions_mut().insert(MadeAt(timestamp));
    }
    response
}

// === impl Claimed ===

impl Drop for Claimed {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let store = self.app.store.clone();
        self.app.conversations.tasks().spawn(TaskKind::Connection, "free a key", async move {
            if let Err(error) = store.free_key(&key).await {
                // It is freed with the process that claimed it.
                tracing::warn!(?error, "a key could not be freed");
            }
        });
    }
}

// === private helpers ===

impl Route {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let is_trigger = path.strip_prefix("/v1/triggers/").is_some_and(|name| !name.contains('/'));
        match path {
            _ if *method != Method::POST => None,
            "/v1/chat" | "/v1/audiochat" => Some(Self::Chat),
            "/v1/scheduler/jobs" => Some(Self::Jobs),
            _ => is_trigger.then_some(Self::Trigger),
        }
    }

    const fn room(self) -> body::Room {
        match self {
            Self::Chat => body::Room::Files,
            Self::Trigger | Self::Jobs => body::Room::Message,
        }
    }

    const fn key(self) -> (KeyClass, &'static str) {
        match self {
            Self::Chat | Self::Trigger => (KeyClass::Client, CLIENT_HEADER),
            Self::Jobs => (KeyClass::Admin, ADMIN_HEADER),
        }
    }
}

fn key_of(headers: &HeaderMap) -> Option<Result<String, ()>> {
    let value = headers.get(HEADER).filter(|value| !value.is_empty())?;
    let key = value.to_str().ok().map(str::trim);
    let fits = |key: &&str| (1..=KEY_CHARS_MAX).contains(&key.len());
    Some(key.filter(fits).map(str::to_owned).ok_or(()))
}

fn user_of(route: Route, headers: &HeaderMap, fields: &Value) -> UserId {
    let named = headers.get(USER_HEADER).and_then(|it| it.to_str().ok());
    let named = named.filter(|it| !it.trim().is_empty());
    let in_body = || fields.get("user_id").filter(|_| route != Route::Trigger)?.as_str();
    let named = named.or_else(in_body);
    named.and_then(|user| user.trim().parse().ok()).unwrap_or_else(UserId::anonymous)
}

fn again(status: u16, text: &str) -> Response {
    let Ok(stored) = serde_json::from_str::<Stored>(text) else {
        let message = "the kept answer cannot be read; take a new key";
        return Problem::new(ErrorCode::InternalError, message).into_response();
    };
    let Stored { object, kind, request_id, timestamp, data } = stored;
    let answer = Answer { object: object.into(), kind: kind.into(), data };
    let mut response = answer.into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response.extensions_mut().insert(request_id);
    response.extensions_mut().insert(MadeAt(timestamp));
    response
}
