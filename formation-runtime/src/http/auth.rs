//! Who calls: extractors that yield a caller only for the right key, and the user that is named.
//!
//! A name that is linked to a person becomes that person here and nowhere else, so that no handler
//! can forget it.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use muxi_contract::ids::InvalidOpaqueId;
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

/// A caller with either key, for what belongs to no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EitherKey {
    Admin,
    Client,
}

/// The user that the header names, if it is there.
#[derive(Debug, Clone)]
pub(crate) struct HeaderUser(pub(crate) Option<User>);

/// The user of a route that cannot do without: from the header, else from the query as published
/// clients send it.
#[derive(Debug, Clone)]
pub(crate) struct RequiredUser(pub(crate) UserId);

/// The same user as the caller calls them, for answers.
#[derive(Debug, Clone)]
pub(crate) struct NamedUser(pub(crate) Option<UserId>);

/// A user under both names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// As the caller calls them.
    pub(crate) named: UserId,
    /// Under whom everything of theirs is kept.
    pub(crate) id: UserId,
}

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

impl FromRequestParts<App> for EitherKey {
    type Rejection = Problem;

    /// The admin key is tried first, as it always was.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let has = |header: &str| parts.headers.get(header).is_some_and(|it| !it.is_empty());
        if has(ADMIN_HEADER) {
            return Admin::from_request_parts(parts, app).await.map(|_| Self::Admin);
        }
        if has(CLIENT_HEADER) {
            return Client::from_request_parts(parts, app).await.map(|_| Self::Client);
        }
        Err(Problem::no_key())
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match EitherKey::from_request_parts(parts, app).await? {
            EitherKey::Admin => {
                let user = user(parts, app).await?;
                Ok(Self::Admin(user.map(|it| it.id)))
            }
            EitherKey::Client => {
                RequiredUser::from_request_parts(parts, app).await.map(|it| Self::Client(it.0))
            }
        }
    }
}

impl FromRequestParts<App> for HeaderUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match named_by_header(parts)? {
            Some(named) => Ok(Self(Some(User::of(named, app).await?))),
            None => Ok(Self(None)),
        }
    }
}

impl FromRequestParts<App> for RequiredUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        user(parts, app).await?.map(|it| Self(it.id)).ok_or_else(|| {
            let message = format!("the header {USER_HEADER} is required");
            Problem::new(ErrorCode::InvalidRequest, message)
        })
    }
}

impl FromRequestParts<App> for NamedUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        named(parts).map(Self)
    }
}

// === impl User ===

impl User {
    pub(crate) async fn of(named: UserId, app: &App) -> Result<Self, Problem> {
        // The anonymous user is nobody, and can be linked to nobody.
        let id = if named.is_anonymous() {
            named.clone()
        } else {
            app.store.acting_user(&named).await?
        };
        Ok(Self { named, id })
    }
}

// === impl NamedUser ===

impl NamedUser {
    /// As the caller calls them, or as they are kept if the caller named nobody.
    pub(crate) fn shown<'a>(&'a self, kept: &'a UserId) -> &'a UserId {
        self.0.as_ref().unwrap_or(kept)
    }
}

// === private helpers ===

/// The user whom the request names, looked up once however many extractors ask.
async fn user(parts: &mut Parts, app: &App) -> Result<Option<User>, Problem> {
    if let Some(known) = parts.extensions.get::<User>() {
        return Ok(Some(known.clone()));
    }
    let Some(named) = named(parts)? else { return Ok(None) };
    let user = User::of(named, app).await?;
    parts.extensions.insert(user.clone());
    Ok(Some(user))
}

fn named(parts: &Parts) -> Result<Option<UserId>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        user_id: Option<String>,
    }
    if let Some(user) = named_by_header(parts)? {
        return Ok(Some(user));
    }
    let named = Query::<Named>::try_from_uri(&parts.uri).ok().and_then(|it| it.0.user_id);
    let named = named.filter(|text| !text.trim().is_empty());
    named.map(|text| text.parse().map_err(|error| unreadable("query.user_id", &error))).transpose()
}

fn named_by_header(parts: &Parts) -> Result<Option<UserId>, Problem> {
    let Some(value) = parts.headers.get(USER_HEADER) else { return Ok(None) };
    // Names may be in any script, so the bytes are taken as UTF-8.
    let text = std::str::from_utf8(value.as_bytes()).unwrap_or("\0").trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| unreadable(USER_HEADER, &error))
}

fn unreadable(place: &str, error: &InvalidOpaqueId) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, format!("{place}: {error}"))
}

fn check(parts: &Parts, app: &App, class: KeyClass, header: &str) -> Result<(), Problem> {
    match parts.headers.get(header) {
        None => Err(Problem::missing_key(class, header)),
        Some(given) if given.is_empty() => Err(Problem::missing_key(class, header)),
        Some(given) if app.keys.is(class, given.as_bytes()) => Ok(()),
        Some(_) => Err(Problem::wrong_key(class, header)),
    }
}
