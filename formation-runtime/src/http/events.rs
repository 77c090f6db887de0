//! Streams of what happens: of a user, of a session, of one request, and the operator's log.
//!
//! Each frame has a number with which a reader that lost its connection goes on. A stream ends when its
//! reader is too slow, when the process stops, and when another instance takes over.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use muxi_contract::chat::TurnEventKind;
use muxi_contract::{ErrorCode, RequestId, SessionId, UserId};
use muxi_memory::{Request, RequestStatus};
use muxi_service::sse::{self, numbered_frame};
use serde_json::{Value, json};

use super::auth::{Admin, Caller, NamedUser, User};
use super::error::Problem;
use super::query::Parameters;
use super::sessions::seconds;
use crate::app::{App, Parts};
use crate::conversation::Update;
use crate::events::{Event, Level, Next, Reader, Record};
use crate::redact::Depth;

/// Which events a reader wants. What is not named does not matter.
#[derive(Debug, Clone, Default)]
struct Filter {
    user: Option<User>,
    session: Option<SessionId>,
    request: Option<RequestId>,
    agent: Option<String>,
    level: Option<Level>,
    /// A kind's name, or its beginning and a star.
    kind: Option<String>,
}

pub(crate) async fn all(
    caller: Caller,
    named: NamedUser,
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = Filter { user: caller.under_both_names(named), ..Filter::default() };
    Ok(follow(app, filter, &headers, Shape::Event))
}

pub(crate) async fn of_session(
    caller: Caller,
    named: NamedUser,
    State(app): State<App>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session.parse().map_err(|_| Problem::session_not_found(&session))?;
    let user = caller.under_both_names(named);
    let filter = Filter { user, session: Some(session), ..Filter::default() };
    Ok(follow(app, filter, &headers, Shape::Event))
}

pub(crate) async fn logs(
    _: Admin,
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let user: Option<UserId> = query.parsed("user_id");
    let filter = Filter {
        user: None,
        session: query.parsed("session_id"),
        request: query.parsed("request_id"),
        agent: query.text("agent_id").map(str::to_owned),
        level: query.text("level").map(str::to_owned).and_then(|name| {
            let level = Level::from_name(&name);
            if level.is_none() {
                query.fault("level", "must be debug, info, warning or error".to_owned());
            }
            level
        }),
        kind: query.text("event_type").map(str::to_owned),
    };
    query.finish()?;
    let filter = match user {
        Some(named) => Filter { user: Some(User::of(named, &app).await?), ..filter },
        None => filter,
    };
    if filter.is_empty() {
        let message = "name at least one of user_id, session_id, request_id, agent_id, level and \
                       event_type, such as event_type=*";
        return Err(Problem::new(ErrorCode::InvalidRequest, message));
    }
    Ok(follow(app, filter, &headers, Shape::Log))
}

pub(crate) async fn of_request(
    caller: Caller,
    caller_names: NamedUser,
    State(app): State<App>,
    Path((session, request)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let not_found = || Problem::request_not_found(&request);
    let id: RequestId = request.parse().map_err(|_| not_found())?;
    let session: SessionId = session.parse().map_err(|_| not_found())?;
    let stored = match caller.user() {
        Some(user) => app.store.for_user(user).request(&id).await?,
        None => app.store.request_of_anyone(&id).await?,
    };
    let user = caller.user().cloned().or_else(|| stored.as_ref().map(|it| it.user.clone()));
    let user = user.ok_or_else(not_found)?;
    let active = app.conversations.requests().find(&user, &id);
    let in_session =
        active.as_ref().map(|it| &it.session).or(stored.as_ref().map(|it| &it.session));
    if in_session != Some(&session) {
        return Err(not_found());
    }
    let after = sse::last_event_id(&headers).and_then(|id| id.parse::<usize>().ok());
    let shown = caller_names.shown(&user).clone();
    let names = Names { user, shown, session, request: id };
    let opening = match after {
        Some(_) => stream::iter(None),
        None => stream::iter(Some(numbered_frame(0, "message", &names.mark("stream_open")))),
    };
    let keepalive = app.limits.events_keepalive;
    let frames = match active {
        Some(active) => {
            let follower = active.follow(after.unwrap_or(0));
            let response = app.manifest.overlord.response;
            let told = stream::unfold(Some((follower, names)), move |state| async move {
                let (mut follower, names) = state?;
                let (number, update) = loop {
                    match follower.next().await? {
                        (_, hidden) if !hidden.is_shown(response) => {}
                        shown => break shown,
                    }
                };
                let is_last = update.is_last();
                let mut frame =
                    numbered_frame(number + 1, "message", &names.update(&update)).to_vec();
                if is_last {
                    frame.extend(numbered_frame(
                        number + 2,
                        "message",
                        &names.mark("stream_completed"),
                    ));
                }
                Some((Bytes::from(frame), (!is_last).then_some((follower, names))))
            });
            opening.chain(told).left_stream()
        }
        None => opening.chain(stored_end(app.clone(), names, stored)).right_stream(),
    };
    Ok(sse::response(ending_with(app, frames), keepalive))
}

/// How an event is written.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Event,
    Log,
}

/// Whose request a frame is about.
#[derive(Debug, Clone)]
struct Names {
    user: UserId,
    /// As the reader calls them.
    shown: UserId,
    session: SessionId,
    request: RequestId,
}

// === impl Filter ===

impl Filter {
    fn is_empty(&self) -> bool {
        let Self { user, session, request, agent, level, kind } = self;
        user.is_none()
            && session.is_none()
            && request.is_none()
            && agent.is_none()
            && level.is_none()
            && kind.is_none()
    }

    fn takes(&self, event: &Event) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| is == Some(wanted))
        }
        let fits_kind = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => event.kind.name().starts_with(beginning),
            None => event.kind.name() == pattern,
        };
        fits(self.user.as_ref().map(|it| &it.id), event.user.as_ref())
            && fits(self.session.as_ref(), event.session.as_ref())
            && fits(self.request.as_ref(), event.request.as_ref())
            && fits(self.agent.as_ref(), event.agent.as_ref())
            && self.level.is_none_or(|least| event.kind.level() >= least)
            && self.kind.as_deref().is_none_or(fits_kind)
    }
}

// === impl Names ===

impl Names {
    fn mark(&self, kind: &str) -> Value {
        json!({
            "type": kind,
            "request_id": self.request,
            "session_id": self.session,
            "user_id": self.shown,
        })
    }

    fn turn(&self, kind: TurnEventKind, content: &str, stage: &str) -> Value {
        let mut value = self.mark("");
        value["type"] = json!(kind);
        value["content"] = json!(content);
        value["stage"] = json!(stage);
        value
    }

    fn update(&self, update: &Update) -> Value {
        match update {
            Update::Heard(text) => self.turn(TurnEventKind::Progress, text, "audio_transcription"),
            Update::Asked { agent, name } => {
                let content = format!("{name} is answering");
                let mut told = self.turn(TurnEventKind::Progress, &content, "init");
                told["agent_id"] = json!(agent);
                told
            }
            Update::Progress { stage, message, more } => {
                with(self.turn(TurnEventKind::Progress, message, stage), more)
            }
            Update::Planning { stage, message, more } => {
                with(self.turn(TurnEventKind::Planning, message, stage), more)
            }
            Update::ToolCall { stage, message, more } => {
                with(self.turn(TurnEventKind::ToolCall, message, stage), more)
            }
            Update::Widget(widget) => {
                let mut told = self.turn(TurnEventKind::Progress, "", "ui");
                told["ui"] = json!([widget]);
                told
            }
            Update::Thinking(text) => {
                self.turn(TurnEventKind::Thinking, text, "response_generation")
            }
            Update::Text(text) => self.turn(TurnEventKind::Content, text, "response_generation"),
            Update::Artifact(artifact) => {
                let content = format!("{} is kept", artifact.name);
                let mut told = self.turn(TurnEventKind::Progress, &content, "artifact_created");
                told["artifact"] = json!(artifact);
                told
            }
            Update::Warning(why) => self.turn(TurnEventKind::Progress, why, "artifact_failed"),
            Update::Completed(answer) => {
                self.turn(TurnEventKind::Completed, &answer.text, "final_response")
            }
            Update::Cancelled(text) => self.turn(TurnEventKind::Cancelled, text, "cancelled"),
            Update::Failed(failure) => {
                let problem = Problem::from(failure.clone());
                self.turn(TurnEventKind::Failed, &problem.message, "failed")
            }
        }
    }
}

// === private helpers ===

fn with(mut told: Value, more: &serde_json::Map<String, Value>) -> Value {
    if let Some(told) = told.as_object_mut() {
        told.extend(more.clone());
    }
    told
}

fn follow(app: App, filter: Filter, headers: &HeaderMap, shape: Shape) -> Response {
    let after = sse::last_event_id(headers).and_then(|id| id.parse().ok());
    let keepalive = app.limits.events_keepalive;
    let reader = app.events.read(after);
    let start = Some((Arc::clone(&app), reader, filter, after));
    let frames = stream::unfold(start, move |state| async move {
        let (app, mut reader, filter, mut after) = state?;
        match next(&mut reader, &filter).await {
            Next::Event(number, event) => Some((
                written(&app, number, &event, shape, filter.user.as_ref()),
                Some((app, reader, filter, None)),
            )),
            // Who comes back is told what it missed and goes on; who is too slow must come back.
            Next::Lost(before) => {
                let comes_back = after.take().is_some();
                let (name, text) = if comes_back {
                    ("gap", "events before this one are no longer kept")
                } else {
                    ("error", "the reader was too slow; come back with Last-Event-ID")
                };
                let data = json!({"error": text, "type": "EVENTS_LOST", "before": before});
                let frame = numbered_frame(before.saturating_sub(1), name, &data);
                Some((frame, comes_back.then_some((app, reader, filter, None))))
            }
        }
    });
    sse::response(ending_with(app, frames), keepalive)
}

async fn next(reader: &mut Reader, filter: &Filter) -> Next {
    loop {
        match reader.next().await {
            Next::Event(_, event) if !filter.takes(&event) => {}
            next @ (Next::Event(..) | Next::Lost(_)) => return next,
        }
    }
}

/// The stream until the process stops or another instance has the port.
pub(super) fn ending_with(
    app: App,
    frames: impl Stream<Item = Bytes> + Send,
) -> impl Stream<Item = Bytes> + Send {
    let end = async move {
        let closing = app.conversations.closing();
        tokio::select! {
            () = closing.cancelled() => {}
            () = app.open_requests.retired() => {}
        }
    };
    frames.take_until(Box::pin(end))
}

/// A user's own stream hides the formation's secrets alone; an operator's hides people's data, too.
fn written(app: &Parts, number: u64, event: &Event, shape: Shape, reader: Option<&User>) -> Bytes {
    let depth = match (shape, reader) {
        (Shape::Event, Some(_)) => Depth::Secrets,
        (Shape::Event, None) | (Shape::Log, _) => Depth::Everything,
    };
    let named = reader.map(|it| &it.named).or(event.user.as_ref());
    let Record { kind, at, message, user, session, request, agent, data, .. } =
        Record::of(event, named, app.redactor.scope(depth));
    let (name, data) = match shape {
        Shape::Event => {
            let mut value = json!({
                "type": kind.name(),
                "timestamp": seconds(at.as_millisecond()),
                "message": message,
                "session_id": session,
                "request_id": request,
                "user_id": user,
                "agent_id": agent,
            });
            if !data.is_empty() {
                value["data"] = Value::Object(data);
            }
            ("message", value)
        }
        Shape::Log => (
            "log",
            json!({
                "timestamp": at.as_millisecond(),
                "level": kind.level().name(),
                "event_type": kind.name(),
                "user_id": user,
                "session_id": session,
                "request_id": request,
                "agent_id": agent,
                "message": message,
                "data": data,
            }),
        ),
    };
    numbered_frame(number, name, &data)
}

/// A request that is not worked on here: its end, as soon as the store knows of it.
fn stored_end(app: App, names: Names, stored: Option<Request>) -> impl Stream<Item = Bytes> + Send {
    stream::once(async move {
        let mut stored = stored;
        while let Some(request) = stored.as_ref().filter(|request| request.status.is_open()) {
            tokio::time::sleep(app.limits.store_look).await;
            let id = request.id.clone();
            stored = app.store.for_user(&names.user).request(&id).await.ok().flatten();
        }
        let (kind, content) = match stored {
            // A question is all that there is to tell for now.
            Some(Request {
                status: RequestStatus::Completed | RequestStatus::AwaitingClarification,
                result,
                ..
            }) => (TurnEventKind::Completed, result.unwrap_or_default()),
            Some(Request { status: RequestStatus::Cancelled, result, .. }) => {
                (TurnEventKind::Cancelled, result.unwrap_or_default())
            }
            Some(Request { error, .. }) => (TurnEventKind::Failed, error.unwrap_or_default()),
            None => (TurnEventKind::Failed, "the request is no longer known".to_owned()),
        };
        let mut frame =
            numbered_frame(1, "message", &names.turn(kind, &content, "final_response")).to_vec();
        frame.extend(numbered_frame(2, "message", &names.mark("stream_completed")));
        Bytes::from(frame)
    })
}
