//! The secrets of the formation, for its operator: masked on the way out, never shown whole.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use muxi_contract::ErrorCode;
use muxi_contract::formation::secrets::{Secret, SecretChanged, SecretList, SecretsReloaded};
use secrecy::{ExposeSecret as _, SecretString};

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::Admin;
use super::body;
use super::error::Problem;
use super::fields::{Fields, NAME_CHARS_MAX};
use super::path::Id;
use crate::app::App;
use crate::secrets::{self, Effect, Opened, SecretError, Secrets};

/// Longer than any key, certificate or account file.
const VALUE_CHARS_MAX: usize = 64 * 1024;

pub(crate) async fn list(_: Admin, State(app): State<App>) -> Result<Answer, Problem> {
    let opened = on_disk(&app, Secrets::read).await?;
    let masked = |name: &str| Some((name.to_owned(), masked(&opened, name)?));
    let secrets: BTreeMap<String, String> = opened.names().into_iter().filter_map(masked).collect();
    let data = SecretList { count: secrets.len(), secrets };
    Ok(Answer::new("secret_list", "secret.list", &data))
}

pub(crate) async fn get(_: Admin, State(app): State<App>, Id(name): Id) -> Result<Answer, Problem> {
    let name = muxi_vault::normalize_name(&name);
    let opened = on_disk(&app, Secrets::read).await?;
    let value = masked(&opened, &name).ok_or(SecretError::NotFound(name.clone()))?;
    Ok(Answer::new("secret", "secret.retrieved", &Secret { key: name, value }))
}

pub(crate) async fn create(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    body: Body,
) -> Result<(StatusCode, Answer), Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let (Some(name), Some(value)) = (name(&mut fields), value(&mut fields)) else {
        return Err(Problem::invalid(&fields.faults));
    };
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
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let value = value(&mut fields).ok_or_else(|| Problem::invalid(&fields.faults))?;
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
    let data = SecretsReloaded {
        message: format!("{count} secrets are in use."),
        added: reloaded.added,
        overwritten: reloaded.overwritten,
        preserved: reloaded.preserved,
        removed: reloaded.removed,
        next_start: reloaded.next_start,
        count,
    };
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
    let (key, effective) = (name.to_owned(), effective.to_owned());
    Answer::new("secret", kind, &SecretChanged { message, key, effective })
}

fn now_unix_s(app: &App) -> u64 {
    app.clock.now().as_second().try_into().unwrap_or_default()
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    let name = muxi_vault::normalize_name(fields.required_text("key", NAME_CHARS_MAX)?);
    if name.is_empty() {
        fields.fault("key", "has no letter or digit", "invalid_format");
        return None;
    }
    Some(name)
}

fn value(fields: &mut Fields<'_>) -> Option<SecretString> {
    fields.required_text("value", VALUE_CHARS_MAX).map(SecretString::from)
}
