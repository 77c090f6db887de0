//! Credentials that users gave: kept sealed, shown masked, deleted by those whose they are.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::formation::credentials::{
    Credential, CredentialDeleted, CredentialList, CredentialServices,
};
use muxi_contract::ids::nanoid;
use muxi_contract::{ErrorCode, UserId};
use muxi_memory::{NotKept, SealedCredential};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::answer::Answer;
use super::auth::{Caller, EitherKey, RequiredUser};
use super::body;
use super::error::Problem;
use super::fields::{Fields, NAME_CHARS_MAX};
use super::path::Id;
use super::users::time;
use crate::app::App;
use crate::events::{Event, EventKind};
use crate::safe::{Key, Purpose, SafeError};

const CREDENTIALS_MAX: u32 = 100;
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
/// Of a shorter secret a preview would tell too much.
const PREVIEW_CHARS_MIN: usize = 15;
const REDACTED: &str = "***redacted***";
/// Fields that hold a token, which a preview helps to recognise. Passwords are not shown in part.
const TOKEN_FIELDS: [&str; 4] = ["token", "access_token", "api_key", "key"];

/// No tool server asks for credentials of users: there are none in this version.
pub(crate) async fn services(_: EitherKey) -> Answer {
    Answer::new("credential_list", "credentials.listed", &CredentialServices::default())
}

pub(crate) async fn list(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
) -> Result<Answer, Problem> {
    let found = app.store.for_user(&user).credentials().await?;
    let mut credentials = Vec::new();
    if !found.is_empty() {
        let key = app.safe.key()?;
        for credential in &found {
            credentials.push(opened(&key, &user, credential)?);
        }
    }
    let data = CredentialList { count: credentials.len(), credentials };
    Ok(Answer::new("credential_list", "credentials.listed", &data))
}

pub(crate) async fn create(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let service = fields.required_text("service", NAME_CHARS_MAX).unwrap_or_default();
    let name = fields.text("name", NAME_CHARS_MAX).unwrap_or(service);
    fields.require("credential");
    let secret = fields.object("credential");
    if secret.is_some_and(Map::is_empty) {
        fields.fault("credential", "must not be empty", "too_short");
    }
    let plain = Zeroizing::new(serde_json::to_vec(&secret).unwrap_or_default());
    if plain.len() > CREDENTIAL_BYTES_MAX {
        let message = format!("may have {CREDENTIAL_BYTES_MAX} bytes");
        fields.fault("credential", &message, "too_long");
    }
    fields.finish()?;
    // Made at the first credential, and never again while one is kept.
    let key =
        if app.store.has_credentials().await? { app.safe.key()? } else { app.safe.key_or_new()? };
    let (id, at_ms) = (format!("cred_{}", nanoid()), app.clock.now_ms());
    let new = SealedCredential {
        sealed: key.seal(&context(&id, &user), &plain)?,
        sealed_by: key.fingerprint().to_owned(),
        id,
        service: service.to_owned(),
        name: name.to_owned(),
        created_ms: at_ms,
        updated_ms: at_ms,
    };
    let kept = app.store.for_user(&user).keep_credential(new.clone(), CREDENTIALS_MAX - 1).await?;
    kept.map_err(|refusal| match refusal {
        NotKept::OtherKey => SafeError::Foreign(Purpose::Credentials).into(),
        NotKept::NameTaken => {
            let message =
                format!("there is a credential '{name}' for '{service}'; delete it first");
            Problem::new(ErrorCode::DuplicateResource, message)
        }
        NotKept::TooMany => {
            let message = format!("a user may have {CREDENTIALS_MAX} credentials");
            Problem::new(ErrorCode::Conflict, message)
        }
    })?;
    tell(&app, EventKind::CredentialCreated, &user, &new.id, "a credential is kept");
    let data = opened(&key, &user, &new)?;
    let answer = Answer::new("credential", "credentials.created", &data);
    Ok((StatusCode::CREATED, answer).into_response())
}

pub(crate) async fn get(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.for_user(&user).credential(&id).await?;
    let found = found.ok_or_else(|| not_found(&id))?;
    let data = opened(&app.safe.key()?, &user, &found)?;
    Ok(Answer::new("credential", "credentials.retrieved", &data))
}

pub(crate) async fn delete(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    if !app.store.for_user(&user).delete_credential(&id).await? {
        return Err(not_found(&id));
    }
    tell(&app, EventKind::CredentialDeleted, &user, &id, "a credential was deleted");
    let data = CredentialDeleted { credential_id: id, deleted: true };
    Ok(Answer::new("credential", "credentials.deleted", &data))
}

// === impl Problem ===

impl From<SafeError> for Problem {
    fn from(error: SafeError) -> Self {
        tracing::error!(error = ?error, "what is sealed cannot be opened");
        Self::new(ErrorCode::InternalError, error.to_string())
    }
}

// === private helpers ===

/// A row that was copied to another user, or under another id, does not open.
fn context(id: &str, user: &UserId) -> String {
    format!("{id} {user}")
}

fn opened(key: &Key, user: &UserId, credential: &SealedCredential) -> Result<Credential, Problem> {
    let SealedCredential { id, service, name, sealed, sealed_by, created_ms, updated_ms } =
        credential;
    let plain = key.open(&context(id, user), sealed, sealed_by)?;
    Ok(Credential {
        credential_id: id.clone(),
        service: service.clone(),
        name: name.clone(),
        credential_preview: preview(&plain),
        created_at: time(*created_ms),
        updated_at: time(*updated_ms),
    })
}

fn preview(plain: &[u8]) -> String {
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(plain) else {
        return REDACTED.to_owned();
    };
    let token = TOKEN_FIELDS.iter().find_map(|name| fields.get(*name)?.as_str());
    token.map_or_else(|| REDACTED.to_owned(), mask)
}

fn mask(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    if chars.len() < PREVIEW_CHARS_MIN {
        return REDACTED.to_owned();
    }
    let first: String = chars[..7].iter().collect();
    let last: String = chars[chars.len() - 3..].iter().collect();
    format!("{first}*****{last}")
}

fn not_found(id: &str) -> Problem {
    Problem::new(ErrorCode::ResourceNotFound, format!("credential '{id}' was not found"))
}

fn tell(app: &App, kind: EventKind, user: &UserId, id: &str, message: &str) {
    let event = app.event(kind, message).with("credential_id", id);
    app.events.tell(Event { user: Some(user.clone()), ..event });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_tells_little() {
        for (plain, shown) in [
            (r#"{"token": "ghp_0123456789abc"}"#, "ghp_012*****abc"),
            (r#"{"api_key": "12345678901234"}"#, REDACTED),
            (r#"{"username": "alice", "password": "0123456789abcdef"}"#, REDACTED),
            ("{", REDACTED),
        ] {
            assert_eq!(preview(plain.as_bytes()), shown);
        }
    }
}
