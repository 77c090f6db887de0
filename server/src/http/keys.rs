//! `/rpc/keys`: list, make, rotate, revoke.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::keys::{KeyList, KeyView, KeyWithSecret, NewKey, RotateKey};
use muxi_contract::management::{ProblemKind, Success};
use rusqlite::Transaction;
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::auth::keys::{self, KeyError, KeyRules, Wanted};
use crate::auth::when;
use crate::supervisor::Supervisor;

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<KeyList>>, Failure> {
    let context = supervisor.context();
    let (rules, fresh) = (context.auth.rules(&context.live()), context.auth.fresh_uses());
    let keys = context.store.read(move |db| keys::list(db, &rules, &fresh)).await?;
    Ok(success(KeyList { total: keys.len(), keys }))
}

pub(super) async fn add(
    State(supervisor): State<Supervisor>,
    body: Bytes,
) -> Result<Response, Failure> {
    let new: NewKey = parse(&body)?;
    let now = supervisor.context().clock.now();
    let expires_at = new.expires.map(|text| when::expiry(&text, now)).transpose();
    let expires_at = expires_at.map_err(|error| invalid(format!("expires: {error}")))?;
    let wanted = Wanted { label: new.label, role: new.role, expires_at };
    let made = act(&supervisor, move |tx, rules| keys::add(tx, rules, wanted)).await?;
    Ok((StatusCode::CREATED, success(made)).into_response())
}

pub(super) async fn revoke(
    State(supervisor): State<Supervisor>,
    Path(id): Path<String>,
) -> Result<Json<Success<KeyView>>, Failure> {
    Ok(success(act(&supervisor, move |tx, rules| keys::revoke(tx, rules, &id, false)).await?))
}

pub(super) async fn rotate(
    State(supervisor): State<Supervisor>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Success<KeyWithSecret>>, Failure> {
    let asked: RotateKey = parse(&body)?;
    let now = supervisor.context().clock.now();
    let grace = asked.grace.map(|text| when::grace(&text, now)).transpose();
    let grace = grace.map_err(|error| invalid(format!("grace: {error}")))?;
    Ok(success(act(&supervisor, move |tx, rules| keys::rotate(tx, rules, &id, grace)).await?))
}

async fn act<T, A>(supervisor: &Supervisor, act: A) -> Result<T, KeyError>
where
    T: Send + 'static,
    A: FnOnce(&Transaction<'_>, &KeyRules) -> Result<T, KeyError> + Send + 'static,
{
    let context = supervisor.context();
    let rules = context.auth.rules(&context.live());
    // A refusal has written nothing.
    context.store.write(move |tx| Ok(act(tx, &rules))).await?
}

fn success<T>(data: T) -> Json<Success<T>> {
    Json(Success { success: true, data })
}

/// Clients send `{}`, nothing, or what they want.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| invalid(format!("The body is wrong: {error}")))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ProblemKind::ValidationError, message)
}
