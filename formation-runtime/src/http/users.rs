//! Who is who: identifiers, and the persons whom they are linked to.

use axum::body::Body;
use axum::extract::State;
use jiff::Timestamp;
use muxi_contract::formation::users::{
    Identifier, IdentifierList, IdentifierUnlinked, IdentifiersLinked, LinkedIdentifier, UserFound,
    UserResolved,
};
use muxi_contract::{ErrorCode, MuxiUserId, UserId};
use muxi_memory::{LinkRefusal, NewIdentifier};
use serde_json::Value;

use super::answer::Answer;
use super::audit::{Act, Resource, Trail};
use super::auth::{Client, EitherKey};
use super::body;
use super::error::Problem;
use super::fields::{Fields, NAME_CHARS_MAX};
use super::path::Id;
use crate::app::App;
use crate::events::EventKind;

const IDENTIFIERS_MAX: usize = 100;

pub(crate) async fn resolve(
    _: Client,
    State(app): State<App>,
    body: Body,
) -> Result<Answer, Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let written = fields.required_text("identifier", NAME_CHARS_MAX);
    let identifier = written.and_then(|text| identifier(&mut fields, "identifier", text));
    let kind = fields.text("identifier_type", NAME_CHARS_MAX).map(str::to_owned);
    let may_create = fields.flag("create_user", true);
    fields.finish()?;
    let (Some(written), Some(identifier)) = (written, identifier) else {
        return Err(Problem::no_identifier(""));
    };
    // The id of a person is given, not chosen.
    let is_own_id = written.parse::<MuxiUserId>().is_ok();
    let (id, is_new) = if may_create && !is_own_id {
        let new = NewIdentifier { identifier: identifier.clone(), kind };
        app.store.person_or_new(new, app.clock.now_ms()).await?
    } else {
        let found = app.store.person(&identifier).await?;
        (found.ok_or_else(|| Problem::no_identifier(written))?, false)
    };
    if is_new {
        tell(&app, EventKind::UserCreated, &id, "a person was made for an identifier");
    }
    let data = UserResolved { identifier: written.to_owned(), muxi_user_id: id, created: is_new };
    Ok(Answer::new("user", "user.resolved", &data))
}

pub(crate) async fn get(
    _: Client,
    State(app): State<App>,
    Id(written): Id,
) -> Result<Answer, Problem> {
    let not_found = || Problem::no_identifier(&written);
    let identifier: UserId = written.parse().map_err(|_| not_found())?;
    let id = app.store.person(&identifier).await?.ok_or_else(not_found)?;
    let data = UserFound { identifier: written, muxi_user_id: id };
    Ok(Answer::new("user", "user.resolved", &data))
}

pub(crate) async fn link(
    key: EitherKey,
    trail: Trail,
    State(app): State<App>,
    body: Body,
) -> Result<Answer, Problem> {
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    let whom: Option<MuxiUserId> = fields.parsed("muxi_user_id");
    fields.require("identifiers");
    let entries = fields.list("identifiers", IDENTIFIERS_MAX).unwrap_or_default();
    let identifiers: Vec<NewIdentifier> = entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| new_identifier(&mut fields, index, entry))
        .collect();
    fields.finish()?;
    let act = Act {
        action: "user.identifiers.associated",
        resource: Resource::User,
        id: whom.as_ref().map(ToString::to_string),
    };
    let linking = async {
        let now_ms = app.clock.now_ms();
        let linked = app.store.link_identifiers(whom, identifiers.clone(), now_ms).await?;
        linked.map_err(|refusal| match refusal {
            LinkRefusal::NoSuchPerson => Problem::no_person(&body["muxi_user_id"]),
            LinkRefusal::SomebodyElses(identifier) => {
                let message = format!("the identifier '{identifier}' is linked to another user");
                Problem::new(ErrorCode::DuplicateResource, message)
            }
        })
    };
    let id = trail.record_if(key == EitherKey::Admin, act, linking).await?;
    tell(&app, EventKind::UserLinked, &id, "identifiers were linked to a person");
    let identifiers: Vec<LinkedIdentifier> = identifiers
        .into_iter()
        .map(|it| LinkedIdentifier { identifier: it.identifier, kind: it.kind })
        .collect();
    let data = IdentifiersLinked { muxi_user_id: id, count: identifiers.len(), identifiers };
    Ok(Answer::new("user_identifier_list", "user.identifiers.associated", &data))
}

/// Of the person, whom any of the identifiers names as well as the id does.
pub(crate) async fn list(
    _: EitherKey,
    State(app): State<App>,
    Id(written): Id,
) -> Result<Answer, Problem> {
    let not_found = || Problem::no_person(&Value::from(written.as_str()));
    let named: UserId = written.parse().map_err(|_| not_found())?;
    let id = app.store.person(&named).await?.ok_or_else(not_found)?;
    let found = app.store.identifiers(&id).await?.ok_or_else(not_found)?;
    let identifiers: Vec<Identifier> = found
        .into_iter()
        .map(|it| Identifier {
            identifier: it.identifier,
            kind: it.kind,
            created_at: time(it.linked_ms),
        })
        .collect();
    let data = IdentifierList { muxi_user_id: id, count: identifiers.len(), identifiers };
    Ok(Answer::new("user_identifier_list", "user.identifiers.list", &data))
}

pub(crate) async fn unlink(
    key: EitherKey,
    trail: Trail,
    State(app): State<App>,
    Id(written): Id,
) -> Result<Answer, Problem> {
    let not_found = || Problem::no_identifier(&written);
    let identifier: UserId = written.parse().map_err(|_| not_found())?;
    let act = Act {
        action: "user.identifier.deleted",
        resource: Resource::User,
        id: Some(identifier.to_string()),
    };
    let unlinking = async { app.store.unlink_identifier(&identifier).await?.ok_or_else(not_found) };
    let id = trail.record_if(key == EitherKey::Admin, act, unlinking).await?;
    tell(&app, EventKind::UserUnlinked, &id, "an identifier was unlinked from its person");
    let message = format!("The identifier '{identifier}' is no longer linked.");
    let data = IdentifierUnlinked { message, muxi_user_id: id };
    Ok(Answer::new("message", "user.identifier.deleted", &data))
}

/// As published clients read the times of stored things. Beyond what can be written it is the end.
pub(super) fn time(ms: i64) -> String {
    let end = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(end).to_string()
}

// === impl Problem ===

impl Problem {
    fn no_identifier(identifier: &str) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("the user '{identifier}' was not found"))
    }

    fn no_person(id: &Value) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("the user {id} was not found"))
    }
}

// === private helpers ===

/// A text, `[identifier, type]` or `{identifier, type}`.
fn new_identifier(fields: &mut Fields<'_>, index: usize, entry: &Value) -> Option<NewIdentifier> {
    let place = format!("identifiers.{index}");
    let (written, kind) = match entry {
        Value::String(_) => (entry, &Value::Null),
        Value::Array(pair) => match pair.as_slice() {
            [written] => (written, &Value::Null),
            [written, kind] => (written, kind),
            _ => (&Value::Null, &Value::Null),
        },
        Value::Object(entry) => (
            entry.get("identifier").unwrap_or(&Value::Null),
            entry.get("type").unwrap_or(&Value::Null),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => (&Value::Null, &Value::Null),
    };
    let (Value::String(written), Value::String(_) | Value::Null) = (written, kind) else {
        let message = "must be an identifier, or one with its type";
        fields.fault(&place, message, "wrong_type");
        return None;
    };
    let identifier = identifier(fields, &place, written)?;
    if written.parse::<MuxiUserId>().is_ok() {
        fields.fault(&place, "is the id of a user, not an identifier", "invalid");
        return None;
    }
    let kind = match kind.as_str() {
        Some(kind) => Some(fields.checked(&place, kind, NAME_CHARS_MAX)?.to_owned()),
        None => None,
    };
    Some(NewIdentifier { identifier, kind })
}

fn identifier(fields: &mut Fields<'_>, place: &str, written: &str) -> Option<UserId> {
    match written.parse::<UserId>() {
        Ok(user) if user.is_anonymous() => {
            fields.fault(place, "is the anonymous user, who is nobody", "invalid");
            None
        }
        Ok(user) => Some(user),
        Err(error) => {
            fields.fault(place, &format!("is no identifier: {error}"), "invalid");
            None
        }
    }
}

fn tell(app: &App, kind: EventKind, id: &MuxiUserId, message: &str) {
    app.events.tell(app.event(kind, message).with("muxi_user_id", id.as_str()));
}
