//! Triggers: other systems send data, and the text that it is filled into is answered.
//!
//! The data comes from outside, so each text of it is fenced where it is filled in, as results of tools
//! are, and the turn is tainted from its beginning.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use muxi_contract::envelope::ValidationError;
use muxi_contract::formation::triggers::{
    Trigger as TriggerView, TriggerAccepted, TriggerCompleted, TriggerList,
};
use muxi_contract::{ErrorCode, RequestId, SessionId, UserId};
use muxi_formation::{FillError, Trigger, plain_value as plain};
use muxi_memory::{RequestKind, RequestMode};
use muxi_orchestration::fence;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::auth::{Client, HeaderUser, User};
use super::body;
use super::chat;
use super::error::Problem;
use super::fields::Fields;
use super::path::Id;
use super::query::Parameters;
use crate::app::{App, Parts};
use crate::conversation::Question;
use crate::events::{Event, EventKind};
use crate::toolbox::new_boundary;

const UTF8_BYTES_MAX: usize = 4;
/// What the documented form of a body holds; a body with anything else is the data itself.
const ENVELOPE: [&str; 3] = ["data", "session_id", "use_async"];

/// What a body and its query ask for.
#[derive(Debug, Clone, PartialEq)]
struct Firing {
    data: Value,
    session: Option<SessionId>,
    waits: bool,
}

pub(crate) async fn list(_: Client, State(app): State<App>) -> Answer {
    let triggers: Vec<String> = app.triggers.iter().map(|trigger| trigger.name.clone()).collect();
    let formation_id = app.manifest.id.clone();
    let data = TriggerList { formation_id, count: triggers.len(), triggers };
    Answer::new("list", "list.retrieved", &data)
}

pub(crate) async fn get(
    _: Client,
    State(app): State<App>,
    Id(name): Id,
) -> Result<Answer, Problem> {
    let trigger = find(&app, &name)?;
    let data = TriggerView {
        name: trigger.name.clone(),
        content: trigger.template.source().to_owned(),
        data_fields: Some(trigger.template.fields()).filter(|fields| !fields.is_empty()),
    };
    Ok(Answer::new("trigger", "trigger.retrieved", &data))
}

pub(crate) async fn fire(
    _: Client,
    HeaderUser(user): HeaderUser,
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    Id(name): Id,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let trigger = find(&app, &name)?;
    let body = body::object(body, &app).await?;
    let Firing { data, session, waits } = firing(body, &uri)?;
    let text = text(&app, trigger, &data)?;
    let user = match user {
        Some(user) => user,
        None => User::of(UserId::anonymous(), &app).await?,
    };
    let own_webhook = trigger.webhook.as_ref().map(|url| url.expose_secret().to_owned());
    let question = Question {
        user: user.id,
        session: session.unwrap_or_else(SessionId::generate),
        request_id: id.clone(),
        agent: None,
        text,
        files: Vec::new(),
        kind: RequestKind::Trigger,
        mode: if waits { RequestMode::Sync } else { RequestMode::Async },
        expected: None,
        resumes: None,
        picked: None,
        depth: 0,
        webhook_url: own_webhook
            .or_else(|| app.manifest.asynchronous.webhook_url.clone().filter(|_| !waits)),
        accepted: None,
        created_ms: app.clock.now_ms(),
    };
    let session = question.session.clone();
    if waits {
        let answer = chat::finished(app.conversations.start(question)?).await?;
        let data = TriggerCompleted {
            status: "completed".to_owned(),
            usage: chat::usage(&answer),
            content: answer.text,
            trigger: name,
            user_id: user.named,
            session_id: session,
            request_id: id,
            artifacts: answer.artifacts,
            warnings: answer.warnings,
        };
        return Ok(Answer::new("request", "request.completed", &data).into_response());
    }
    let user_id = question.user.clone();
    app.conversations.accept(question).await?;
    app.events.tell(
        Event {
            user: Some(user_id),
            session: Some(session.clone()),
            request: Some(id.clone()),
            ..app.event(EventKind::RequestAccepted, "a trigger was fired")
        }
        .with("trigger", name.clone()),
    );
    let data = TriggerAccepted {
        status: "processing".to_owned(),
        trigger: name,
        poll_url: format!("/v1/requests/{id}"),
        user_id: user.named,
        session_id: session,
        request_id: id,
    };
    Ok((StatusCode::ACCEPTED, Answer::new("request", "request.processing", &data)).into_response())
}

// === private helpers ===

fn find<'a>(app: &'a Parts, name: &str) -> Result<&'a Trigger, Problem> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_name) {
        let message = "the name of a trigger has letters, digits, `-` and `_` only";
        return Err(Problem::new(ErrorCode::InvalidRequest, message));
    }
    app.triggers.iter().find(|trigger| trigger.name == name).ok_or_else(|| {
        Problem::new(ErrorCode::TriggerNotFound, format!("trigger '{name}' was not found"))
    })
}

/// Reads both published forms: the data within an object that says more, and the data alone.
fn firing(mut body: Map<String, Value>, uri: &Uri) -> Result<Firing, Problem> {
    let mut query = Parameters::of(uri);
    let in_query = query.text("async").is_some().then(|| query.flag("async"));
    query.finish()?;
    let is_enveloped =
        body.contains_key("data") && body.keys().all(|name| ENVELOPE.contains(&name.as_str()));
    if !is_enveloped {
        let waits = in_query.is_some_and(|is_async| !is_async);
        return Ok(Firing { data: Value::Object(body), session: None, waits });
    }
    let mut fields = Fields::of(&body);
    if !fields.value("data").is_some_and(Value::is_object) {
        fields.fault("data", "must be an object", "wrong_type");
    }
    let session = fields.parsed("session_id");
    let is_async = fields.flag("use_async", in_query.unwrap_or(true));
    fields.finish()?;
    let data = body.remove("data").unwrap_or_default();
    Ok(Firing { data, session, waits: !is_async })
}

fn text(app: &Parts, trigger: &Trigger, data: &Value) -> Result<String, Problem> {
    let chars_max = app.manifest.input_limits.max_message_length;
    let too_long = || {
        Problem::invalid(&[ValidationError {
            field: "data".to_owned(),
            message: format!("data makes a message of more than {chars_max} characters"),
            kind: "too_long".to_owned(),
        }])
    };
    let bytes_max = chars_max.saturating_mul(UTF8_BYTES_MAX);
    // The fences are not the sender's, so that they are not measured.
    match trigger.template.fill(data, bytes_max, &|_, value| plain(value)) {
        Ok(text) if text.chars().count() > chars_max => Err(too_long()),
        Ok(text) if text.trim().is_empty() => {
            let message = format!("with this data, trigger '{}' says nothing", trigger.name);
            Err(Problem::new(ErrorCode::InvalidRequest, message))
        }
        Ok(_) => trigger.template.fill(data, usize::MAX, &fenced()).map_err(|_| too_long()),
        Err(FillError::TooLong(_)) => Err(too_long()),
        Err(error @ FillError::Missing(_)) => {
            let message = format!("{error}, which trigger '{}' needs", trigger.name);
            let mut problem = Problem::new(ErrorCode::InvalidRequest, message);
            if let FillError::Missing(paths) = error {
                problem.data = Some(json!({"missing": paths}));
            }
            Err(problem)
        }
    }
}

/// Shows numbers as they are, since they tell nobody to do anything, and everything else between marks.
fn fenced() -> impl Fn(&str, &Value) -> String {
    let boundary = new_boundary();
    move |path, value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => plain(value),
        Value::String(_) | Value::Array(_) | Value::Object(_) => {
            fence::fence(path, &plain(value), &boundary, usize::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_published_forms_are_read() {
        let read = |body: Value, query: &str| {
            let Value::Object(body) = body else { panic!() };
            firing(body, &format!("/v1/triggers/x{query}").parse().unwrap())
                .map(|it| (it.data, it.session.map(|it| it.to_string()), it.waits))
        };
        let data = json!({"a": 1});
        for (body, query, expected) in [
            (json!({"data": {"a": 1}}), "", (None, false)),
            (json!({"data": {"a": 1}, "use_async": false}), "?async=true", (None, true)),
            (json!({"data": {"a": 1}, "session_id": "s"}), "?async=false", (Some("s"), true)),
            (json!({"a": 1}), "?async=false", (None, true)),
            (json!({"a": 1}), "?async=true", (None, false)),
            (json!({"a": 1}), "", (None, false)),
        ] {
            let (session, waits) = expected;
            let expected = (data.clone(), session.map(str::to_owned), waits);
            assert_eq!(read(body.clone(), query).unwrap(), expected, "{body} {query}");
        }
        // What others call `data` is theirs, if they say more.
        let foreign = json!({"data": {"a": 1}, "object": "event"});
        assert_eq!(read(foreign.clone(), "").unwrap().0, foreign);
        for body in [
            json!({"data": 5}),
            json!({"data": null, "use_async": true}),
            json!({"data": {}, "use_async": "yes"}),
            json!({"data": {}, "session_id": 1}),
        ] {
            assert_eq!(read(body, "").unwrap_err().code, ErrorCode::ValidationError);
        }
        assert!(read(json!({}), "?async=perhaps").is_err());
    }
}
