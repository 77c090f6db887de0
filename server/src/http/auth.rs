//! Who asks: leaves a principal with the request, or refuses it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::management::ProblemKind;

use super::error::Failure;
use super::{hashed_body, replay};
use crate::auth::calls::{BodyHash, Calls};
use crate::auth::role::{self, Permission, Principal};
use crate::auth::{Admitted, Refusal, Refused, SignedBy};
use crate::client_address::ClientAddress;
use crate::store::calls::NewCall;
use crate::supervisor::Supervisor;

/// Who asks, told to the audit as soon as it is known: its caller may leave before the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(Arc<OnceLock<Asks>>);

#[derive(Debug)]
pub(super) enum Asks {
    Known {
        key_id: String,
    },
    /// What a refused request said about itself.
    Stranger {
        claimed_key: Option<String>,
        /// There were too many of its kind to note each.
        counted: bool,
    },
}

const IDEMPOTENCY_KEY: &str = "x-muxi-idempotency-key";
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

pub(super) async fn layer(
    State(supervisor): State<Supervisor>,
    request: Request,
    next: Next,
) -> Response {
    let context = supervisor.context();
    let (mut parts, body) = request.into_parts();
    let caller: Caller = parts.extensions.remove().unwrap_or_default();
    let admitted = context.auth.admit(&context.live(), &parts, address(&parts)).await;
    let request = Request::from_parts(parts, body);
    let Admitted { principal, signed } = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(refused, &caller, request).await,
    };
    caller.is(Asks::Known { key_id: principal.key_id.clone() });
    if signed.is_some() {
        context.auth.note_use(&principal, &context.tasks, &context.shutdown.stopping);
    }
    tracing::Span::current().record("key", principal.key_id.as_str());
    match permit(&principal, &request) {
        Ok(()) => call(&supervisor, &principal, signed, request, next).await,
        Err(forbidden) => {
            discard(request).await;
            forbidden.into_response()
        }
    }
}

/// Reads on what nobody wants, unless the caller waits to be asked for it.
pub(super) async fn discard(request: Request) {
    if !request.headers().contains_key(EXPECT) {
        muxi_service::discard(request.into_body().into_data_stream()).await;
    }
}

/// Where a request came from.
pub(super) fn address(parts: &axum::http::request::Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().and_then(|it| it.ip)
}

fn permit(principal: &Principal, request: &Request) -> Result<(), Failure> {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let needed: Permission = role::needed(request.method(), route);
    if principal.may(needed) {
        return Ok(());
    }
    let message = format!(
        "This needs a key with the role {}; the role of key {} is {}",
        needed.least_role(),
        principal.key_id,
        principal.role
    );
    Err(Failure::new(ProblemKind::Forbidden, message))
}

/// What was let in: done, done once, or answered as before.
async fn call(
    supervisor: &Supervisor,
    principal: &Principal,
    signed: Option<SignedBy>,
    request: Request,
    next: Next,
) -> Response {
    let content_sha256 = signed.as_ref().and_then(|it| it.content_sha256.clone());
    let handle = async move |request: Request| match content_sha256 {
        None => next.run(request).await,
        Some(content_sha256) => {
            let (signed, found) = (content_sha256.clone(), BodyHash::default());
            let request = hashed_body::hashed(request, Some(signed), found.clone());
            let response = next.run(request).await;
            if found.get().is_none_or(|found| *found == content_sha256) {
                return response;
            }
            let message = "The body is not the one that was signed (X-Muxi-Content-SHA256)";
            Failure::new(ProblemKind::Unauthorized, message).into_response()
        }
    };
    let changes = !role::is_safe(request.method());
    let Some(signed) = signed.filter(|_| changes) else { return handle(request).await };
    let new = match new_call(principal, signed, &request) {
        Ok(new) => new,
        Err(failure) => {
            discard(request).await;
            return failure.into_response();
        }
    };
    let context = supervisor.context();
    let tolerance_s = context.live().auth.timestamp_tolerance;
    let rules = Calls::rules(context.clock.now_ms(), tolerance_s);
    if new.idempotency_key.is_some() {
        return replay::run(supervisor, new, rules, request, handle).await.into_response();
    }
    match context.auth.calls.once(new, rules).await {
        Ok(()) => handle(request).await,
        Err(refusal) => {
            discard(request).await;
            Failure::from(refusal).into_response()
        }
    }
}

fn new_call(
    principal: &Principal,
    signed: SignedBy,
    request: &Request,
) -> Result<NewCall, Failure> {
    let idempotency_key = match request.headers().get(IDEMPOTENCY_KEY).map(HeaderValue::to_str) {
        None | Some(Ok("")) => None,
        Some(Ok(key)) if key.len() <= IDEMPOTENCY_KEY_BYTES_MAX => Some(key.to_owned()),
        Some(_) => {
            let message = format!(
                "X-Muxi-Idempotency-Key must be ASCII of at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes"
            );
            return Err(Failure::new(ProblemKind::ValidationError, message));
        }
    };
    let uri = request.uri();
    let target = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
    Ok(NewCall {
        key: principal.key_id.clone(),
        signature: signed.signature,
        idempotency_key,
        method: request.method().to_string(),
        target: target.to_owned(),
        content_sha256: signed.content_sha256,
    })
}

async fn refuse(refused: Refused, caller: &Caller, request: Request) -> Response {
    let Refused { refusal, claimed_key, wait } = refused;
    caller.is(Asks::Stranger { claimed_key, counted: wait.is_some() });
    match (wait, refusal) {
        (_, Refusal::Store(error)) => {
            discard(request).await;
            Failure::from(error).into_response()
        }
        (_, refusal @ Refusal::TooManyNonces) => {
            Failure::new(ProblemKind::TooManyRequests, refusal.to_string()).into_response()
        }
        (None, refusal) => {
            tracing::warn!(%refusal, "a management call was refused");
            // Strangers get no disk, but they get their answer.
            discard(request).await;
            Failure::new(ProblemKind::Unauthorized, refusal.to_string()).into_response()
        }
        (Some(wait), refusal) => {
            let message = format!("Too many failed attempts; the last one: {refusal}");
            let mut response = Failure::later(ProblemKind::TooManyRequests, message, wait);
            // What it goes on sending is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

// === impl Caller ===

impl Caller {
    fn is(&self, asks: Asks) {
        self.0.set(asks).expect("a request is admitted or refused once");
    }

    /// `None` while nobody has looked, which no route of strangers needs.
    pub(super) fn asks(&self) -> Option<&Asks> {
        self.0.get()
    }
}
