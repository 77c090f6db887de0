//! Who calls: extractors that yield a caller only for the right key, and the user that is named.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use muxi_contract::{ErrorCode, UserId};
use serde::Deserialize;

use super::error::Problem;
use crate::app::App;
use crate::keys::KeyClass;

pub(crate) const USER_HEADER: &str = "X-Muxi-User-ID";
pub(crate) const CLIENT_HEADER: &str = "X-Muxi-Client-Key";
pub(crate) const ADMIN_HEADER: &str = "X-Muxi-Admin-Key";

/// A caller with the client key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client;

/// A caller with the admin key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin;

/// A caller with either key: the operator, or a client on behalf of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// On behalf of a user, if one is named.
    Admin(Option<UserId>),
    Client(UserId),
}

/// The user that the header names, if it is there.
#[derive(Debug, Clone)]
pub(crate) struct HeaderUser(pub(crate) Option<UserId>);

/// The user of a route that cannot do without: from the header, else from the query as published
/// clients send it.
#[derive(Debug, Clone)]
pub(crate) struct RequiredUser(pub(crate) UserId);

// === impls ===

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        check(parts, app, KeyClass::Client, CLIENT_HEADER).map(|()| Self)
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        check(parts, app, KeyClass::Admin, ADMIN_HEADER).map(|()| Self)
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    /// The admin key is tried first, as it always was.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let has = |header: &str| parts.headers.get(header).is_some_and(|it| !it.is_empty());
        if has(ADMIN_HEADER) {
            Admin::from_request_parts(parts, app).await?;
            let named = RequiredUser::from_request_parts(parts, app).await;
            return Ok(Self::Admin(named.ok().map(|it| it.0)));
        }
        if !has(CLIENT_HEADER) {
            return Err(Problem::no_key());
        }
        Client::from_request_parts(parts, app).await?;
        RequiredUser::from_request_parts(parts, app).await.map(|it| Self::Client(it.0))
    }
}

impl FromRequestParts<App> for HeaderUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(USER_HEADER) else { return Ok(Self(None)) };
        // Names may be in any script, so the bytes are taken as UTF-8.
        let text = std::str::from_utf8(value.as_bytes()).unwrap_or("\0").trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        let user = text.parse().map_err(|error| {
            Problem::new(ErrorCode::InvalidRequest, format!("{USER_HEADER}: {error}"))
        })?;
        Ok(Self(Some(user)))
    }
}

impl FromRequestParts<App> for RequiredUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Named {
            user_id: Option<UserId>,
        }
        if let HeaderUser(Some(user)) = HeaderUser::from_request_parts(parts, app).await? {
            return Ok(Self(user));
        }
        let named = Query::<Named>::try_from_uri(&parts.uri).ok().and_then(|it| it.0.user_id);
        named.map(Self).ok_or_else(|| {
            let message = format!("the header {USER_HEADER} is required");
            Problem::new(ErrorCode::InvalidRequest, message)
        })
    }
}

fn check(parts: &Parts, app: &App, class: KeyClass, header: &str) -> Result<(), Problem> {
    match parts.headers.get(header) {
        None => Err(Problem::missing_key(class, header)),
        Some(given) if given.is_empty() => Err(Problem::missing_key(class, header)),
        Some(given) if app.keys.is(class, given.as_bytes()) => Ok(()),
        Some(_) => Err(Problem::wrong_key(class, header)),
    }
}
