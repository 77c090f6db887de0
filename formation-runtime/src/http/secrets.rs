//! The secrets of the formation, for its operator: masked on the way out, never shown whole.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use muxi_contract::ErrorCode;
use muxi_contract::envelope::ValidationError;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::Admin;
use super::body;
use super::error::Problem;
use super::path::Id;
use crate::app::App;
use crate::secrets::{self, Effect, Opened, SecretError, Secrets};

const NAME_CHARS_MAX: usize = 128;

pub(crate) async fn list(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let opened = on_disk(&app, Secrets::read).await?;
    let masked: Map<String, Value> = opened
        .names()
        .into_iter()
        .map(|name| (name.to_owned(), masked(&opened, name).into()))
        .collect();
    let data = json!({"count": masked.len(), "secrets": masked});
    Ok(Answer::new("secret_list", "secret.list", &data))
}

pub(crate) async fn get(_: Admin, State(app): State<App>, Id(name): Id) -> Result<Answer, Problem> {
    let name = muxi_vault::normalize_name(&name);
    let opened = on_disk(&app, Secrets::read).await?;
    let value = masked(&opened, &name).ok_or(SecretError::NotFound(name.clone()))?;
    Ok(Answer::new("secret", "secret.retrieved", &json!({"key": name, "value": value})))
}

pub(crate) async fn create(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    body: Body,
) -> Result<(StatusCode, Answer), Problem> {
    let fields = body::object(body, &app).await?;
    let mut faults = Vec::new();
    let name = name(&fields, &mut faults);
    let value = value(&fields, &mut faults);
    let (Some(name), Some(value)) = (name, value) else { return Err(Problem::invalid(&faults)) };
    let effect = trail
        .record(act("secret.created", &name), async {
            let (name, now) = (name.clone(), now_unix_s(&app));
            on_disk(&app, move |secrets| secrets.create(&name, value, now)).await
        })
        .await
        .map(|()| secrets::after_change(&app, &name))?
        .await;
    Ok((StatusCode::CREATED, changed("secret.created", "created", &name, effect)))
}

pub(crate) async fn replace(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(name): Id,
    body: Body,
) -> Result<Answer, Problem> {
    let name = muxi_vault::normalize_name(&name);
    let fields = body::object(body, &app).await?;
    let mut faults = Vec::new();
    let value = value(&fields, &mut faults).ok_or_else(|| Problem::invalid(&faults))?;
    let effect = trail
        .record(act("secret.updated", &name), async {
            let (name, now) = (name.clone(), now_unix_s(&app));
            on_disk(&app, move |secrets| secrets.replace(&name, value, now)).await
        })
        .await
        .map(|()| secrets::after_change(&app, &name))?
        .await;
    Ok(changed("secret.updated", "updated", &name, effect))
}

pub(crate) async fn delete(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    Id(name): Id,
) -> Result<Answer, Problem> {
    let name = muxi_vault::normalize_name(&name);
    trail
        .record(act("secret.deleted", &name), async {
            let (name, now) = (name.clone(), now_unix_s(&app));
            on_disk(&app, move |secrets| secrets.delete(&name, now)).await
        })
        .await?;
    // Nothing refers to it, so that nothing has to be told.
    Ok(changed("secret.deleted", "deleted", &name, Effect::Now))
}

pub(crate) async fn reload(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
) -> Result<Answer, Problem> {
    let act = Act { action: "secret.reloaded", resource: Resource::Secret, id: None };
    let reloaded =
        trail.record(act, async { secrets::reload(&app).await.map_err(Problem::from) }).await?;
    let count = reloaded.added.len() + reloaded.overwritten.len() + reloaded.preserved.len();
    let data = json!({
        "message": format!("{count} secrets are in use."),
        "added": reloaded.added,
        "overwritten": reloaded.overwritten,
        "preserved": reloaded.preserved,
        "removed": reloaded.removed,
        "next_start": reloaded.next_start,
        "count": count,
    });
    Ok(Answer::new("secret", "secret.reloaded", &data))
}

// === private helpers ===

/// Work on the files of the secrets, where waiting for a disk holds nobody up.
pub(super) async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Secrets) -> Result<T, SecretError> + Send + 'static,
) -> Result<T, Problem> {
    let app = App::clone(app);
    let done = tokio::task::spawn_blocking(move || work(&app.secrets)).await;
    let broke_off = |_| Problem::new(ErrorCode::SecretsError, "the work on the secrets broke off");
    Ok(done.map_err(broke_off)??)
}

fn masked(opened: &Opened, name: &str) -> Option<String> {
    opened.get(name).map(|value| secrets::mask(value.expose_secret()))
}

fn act(action: &'static str, name: &str) -> Act {
    Act { action, resource: Resource::Secret, id: Some(name.to_owned()) }
}

fn changed(kind: &'static str, done: &str, name: &str, effect: Effect) -> Answer {
    let (effective, from_when) = match effect {
        Effect::Now => ("now", ""),
        Effect::NextStart => ("next_start", "; the change counts from the formation's next start"),
    };
    let message = format!("The secret '{name}' was {done}{from_when}.");
    Answer::new("secret", kind, &json!({"message": message, "key": name, "effective": effective}))
}

fn now_unix_s(app: &App) -> u64 {
    app.clock.now().as_second().try_into().unwrap_or_default()
}

fn name(fields: &Map<String, Value>, faults: &mut Vec<ValidationError>) -> Option<String> {
    let written = text(fields, "key", faults)?;
    let name = muxi_vault::normalize_name(written);
    let fault = if name.is_empty() {
        Some(("key has no letter or digit".to_owned(), "invalid_format"))
    } else {
        let is_long = name.chars().count() > NAME_CHARS_MAX;
        is_long.then(|| (format!("key has more than {NAME_CHARS_MAX} characters"), "too_long"))
    };
    let Some((message, kind)) = fault else { return Some(name) };
    faults.push(ValidationError { field: "key".to_owned(), message, kind: kind.to_owned() });
    None
}

fn value(fields: &Map<String, Value>, faults: &mut Vec<ValidationError>) -> Option<SecretString> {
    text(fields, "value", faults).map(SecretString::from)
}

fn text<'a>(
    fields: &'a Map<String, Value>,
    field: &str,
    faults: &mut Vec<ValidationError>,
) -> Option<&'a str> {
    let (message, kind) = match fields.get(field) {
        Some(Value::String(text)) => return Some(text),
        None | Some(Value::Null) => (format!("{field} is required"), "missing"),
        Some(_) => (format!("{field} must be a text"), "wrong_type"),
    };
    faults.push(ValidationError { field: field.to_owned(), message, kind: kind.to_owned() });
    None
}
