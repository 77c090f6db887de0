//! `POST /v1/chat`: one message in, one answer out, as JSON or as a stream.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use muxi_contract::chat::{
    AssistantMessage, ChatData, ChatMode, ContentPart, Processing, ProcessingMessage, StreamFormat,
    Usage,
};
use muxi_contract::envelope::ValidationError;
use muxi_contract::{ErrorCode, RequestId, SessionId, UserId};
use muxi_formation::manifest::ResponseFormat;
use muxi_memory::{PendingKind, RequestKind, RequestMode};
use muxi_service::sse;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::answer::Answer as Enveloped;
use super::auth::{Client, HeaderUser, User};
use super::body::{Hold, Room};
use super::chat_request::files::{FileRules, Takes};
use super::chat_request::{self, Parsed, Request, Rules};
use super::error::Problem;
use super::{body, stream};
use crate::agents::{Agent, Model};
use crate::app::{App, Parts};
use crate::conversation::estimate;
use crate::conversation::structured::Expected;
use crate::conversation::{Answer, Failure, Question, Update};
use crate::events::{Event, EventKind};

/// What the answers of one chat request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) app: App,
    pub(crate) user: User,
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
    pub(crate) warnings: Vec<String>,
    pub(crate) began: Timestamp,
}

/// How the caller wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Json,
    Stream(StreamFormat),
    /// At once, before there is an answer.
    Later,
}

pub(crate) async fn chat(
    _: Client,
    user: HeaderUser,
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(app, Takes::Files, (user, id), &headers, body).await
}

/// `POST /v1/audiochat`: the same for what was said.
pub(crate) async fn audio_chat(
    _: Client,
    user: HeaderUser,
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(app, Takes::Recordings, (user, id), &headers, body).await
}

async fn respond(
    app: App,
    takes: Takes,
    (user, id): (HeaderUser, RequestId),
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let (fields, hold) = match body::object_of(body, Room::Files, &app).await {
        Ok(read) => read,
        Err(problem) => return problem.into_response(),
    };
    // The body's id is the one by which the caller will ask for the request, whatever comes of it.
    let id = chat_request::request_id(&fields).unwrap_or(id);
    let asks_for_stream = sse::is_asked_for(headers);
    let mut response =
        match answer(app, (takes, asks_for_stream), user, id.clone(), (fields, hold)).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
    response.extensions_mut().insert(id);
    response
}

async fn answer(
    app: App,
    asked: (Takes, bool),
    HeaderUser(header_user): HeaderUser,
    id: RequestId,
    (fields, hold): (Map<String, Value>, Hold),
) -> Result<Response, Problem> {
    let (takes, asks_for_stream) = asked;
    let named = agent(&app, chat_request::agent_id(&fields));
    let bytes = if hold.is_some() { usize::MAX } else { 0 };
    let expected = named.as_ref().ok().and_then(|it| it.as_deref());
    let parsed = body::aside(bytes, || parse(&app, asked, expected, &fields))?;
    let Parsed { request, files, warnings } = parsed;
    // What was read of it is all that is needed; with files it is long.
    drop(fields);
    let named = named?;
    // Who answers is found out in the turn; this is who would, if nobody were found.
    let usual = named.clone().or_else(|| app.agents.default_agent());
    let agent = usual.ok_or_else(|| Problem::agent_not_found(""))?;
    if takes == Takes::Recordings && agent.audio.is_none() {
        let message = "this formation hears nothing: name a model that transcribes as `audio` in \
                       `llm.models`";
        return Err(Problem::new(ErrorCode::ServiceUnavailable, message));
    }
    let estimated_seconds = estimated(&app, &agent, &request).await?;
    let usual_max = app.manifest.asynchronous.threshold_seconds;
    let streams = app.manifest.overlord.response.streaming;
    let delivery = Delivery::choose(&request, asks_for_stream, streams).or_later(
        &request,
        usual_max,
        estimated_seconds,
    );
    let user = match (header_user, request.user_id) {
        (Some(user), _) => user,
        (None, named) => User::of(named.unwrap_or_else(UserId::anonymous), &app).await?,
    };
    let exchange = Exchange {
        user,
        session: request.session_id.unwrap_or_else(SessionId::generate),
        request: id,
        warnings,
        began: app.clock.now(),
        app,
    };
    let expected = request.output_schema.map(Expected::new).transpose();
    let expected = expected.map_err(|error| {
        Problem::invalid(&[ValidationError {
            field: "output_schema".to_owned(),
            message: format!("output_schema {error}"),
            kind: "invalid".to_owned(),
        }])
    })?;
    let question = Question {
        user: exchange.user.id.clone(),
        session: exchange.session.clone(),
        request_id: exchange.request.clone(),
        agent: named,
        text: request.message,
        files,
        kind: RequestKind::Chat,
        mode: delivery.mode(),
        expected: expected.map(Arc::new),
        resumes: None,
        picked: request.picked,
        depth: 0,
        webhook_url: match delivery {
            Delivery::Later => request.webhook_url.or_else(|| usual_webhook(&exchange.app)),
            Delivery::Json | Delivery::Stream(_) => None,
        },
        accepted: None,
        created_ms: exchange.began.as_millisecond(),
    };
    let conversations = &exchange.app.conversations;
    match delivery {
        Delivery::Json => {
            let updates = conversations.start(question)?;
            // From here on the turn counts its files.
            drop(hold);
            whole(&exchange, updates).await.map(IntoResponse::into_response)
        }
        Delivery::Stream(format) => {
            let updates = conversations.start(question)?;
            drop(hold);
            stream::respond(exchange, format, updates).await
        }
        Delivery::Later => {
            let webhook_url = question.webhook_url.clone();
            conversations.accept(question).await?;
            exchange.app.events.tell(Event {
                user: Some(exchange.user.id.clone()),
                session: Some(exchange.session.clone()),
                request: Some(exchange.request.clone()),
                ..exchange.app.event(EventKind::RequestAccepted, "a request was accepted")
            });
            Ok(exchange.processing(webhook_url.as_deref(), estimated_seconds))
        }
    }
}

async fn whole(
    exchange: &Exchange,
    mut updates: mpsc::Receiver<Update>,
) -> Result<Enveloped, Problem> {
    let mut transcript = None;
    let end = loop {
        match updates.recv().await {
            Some(Update::Heard(text)) => transcript = Some(text),
            Some(update) if !update.is_last() => {}
            end => break end,
        }
    };
    Ok(exchange.envelope(ended(end)?, transcript))
}

/// Waits for the end of a turn.
pub(super) async fn finished(mut updates: mpsc::Receiver<Update>) -> Result<Answer, Problem> {
    loop {
        match updates.recv().await {
            Some(update) if !update.is_last() => {}
            end => return ended(end),
        }
    }
}

/// The end of a turn as its answer, or as why there is none.
pub(super) fn ended(update: Option<Update>) -> Result<Answer, Problem> {
    match update {
        Some(Update::Completed(answer)) => Ok(*answer),
        Some(Update::Failed(failure)) => Err(failure.into()),
        Some(Update::Cancelled(text)) => Err(Problem::cancelled(&text)),
        None
        | Some(
            Update::Heard(_)
            | Update::Asked { .. }
            | Update::Progress { .. }
            | Update::Planning { .. }
            | Update::ToolCall { .. }
            | Update::Widget(_)
            | Update::Thinking(_)
            | Update::Text(_)
            | Update::Artifact(_)
            | Update::Warning(_),
        ) => Err(Failure::Stopping.into()),
    }
}

/// The body of a chat, by the rules of the formation and of the agent that is named.
pub(super) fn parse(
    app: &Parts,
    (takes, asks_for_stream): (Takes, bool),
    agent: Option<&Agent>,
    fields: &Map<String, Value>,
) -> Result<Parsed, Problem> {
    // An agent that is not there takes what the usual one takes, until the caller is told.
    let usual = app.agents.default_agent();
    let Some(agent) = agent.or(usual.as_deref()) else { return Err(Problem::agent_not_found("")) };
    let only_reads = |model: Option<&Model>| {
        let model = model.unwrap_or(&agent.text);
        model.is_local.then(|| model.name.clone())
    };
    let (blind, unlettered) =
        (only_reads(agent.vision.as_ref()), only_reads(agent.documents.as_ref()));
    let limits = &app.manifest.input_limits;
    let later = &app.manifest.asynchronous;
    let rules = Rules {
        message_chars_max: limits.max_message_length,
        private_webhooks: later.webhook_allow_private,
        asks_for_stream: asks_for_stream || app.manifest.overlord.response.streaming,
        estimates: later.enable_estimation || later.threshold_seconds == 0.0,
        files: FileRules {
            takes,
            count_max: app.limits.files,
            bytes_max: limits.max_file_size_bytes,
            limits: agent.file_limits,
            blind: blind.as_deref(),
            unlettered: unlettered.as_deref(),
        },
    };
    chat_request::parse(fields, &rules).map_err(|faults| invalid(&faults))
}

/// Clients of the original look for the name of a field that is about files beside the faults.
fn invalid(faults: &[ValidationError]) -> Problem {
    let mut problem = Problem::invalid(faults);
    let is_of_files = |fault: &ValidationError| fault.field.split('.').next() == Some("files");
    if let Some(data) = problem.data.as_mut().filter(|_| faults.iter().any(is_of_files)) {
        data["field"] = json!("files");
    }
    problem
}

/// How long the answer may take; nothing where nobody would ask, or nothing is known.
async fn estimated(app: &Parts, agent: &Agent, request: &Request) -> Result<Option<f64>, Problem> {
    let matters = request.stream != Some(true) && request.mode != Some(ChatMode::Sync);
    if !matters || !app.manifest.asynchronous.enable_estimation {
        return Ok(None);
    }
    let recent = app.store.recent_durations_ms(&agent.config.id, estimate::SAMPLE).await?;
    Ok(estimate::seconds(recent))
}

fn usual_webhook(app: &Parts) -> Option<String> {
    app.manifest.asynchronous.webhook_url.clone()
}

/// The agent that the request names, if it names one.
fn agent(app: &Parts, id: Option<&str>) -> Result<Option<Arc<Agent>>, Problem> {
    let Some(id) = id else { return Ok(None) };
    app.agents.find(id).map(Some).ok_or_else(|| Problem::agent_not_found(id))
}

// === impl Delivery ===

impl Delivery {
    /// The body decides; where it is silent, the Accept header does, and then the formation. Published clients that say
    /// `stream: true` read events, the API reference's Accept example reads tokens.
    fn choose(request: &Request, asks_for_stream: bool, streams: bool) -> Self {
        let format = |usual| Self::Stream(request.stream_format.unwrap_or(usual));
        if request.mode == Some(ChatMode::Async) {
            return Self::Later;
        }
        // Only a whole answer can be checked.
        if request.output_schema.is_some() {
            return Self::Json;
        }
        match request.stream {
            Some(true) => format(StreamFormat::Events),
            None if asks_for_stream => format(StreamFormat::Tokens),
            None if streams => format(StreamFormat::Events),
            Some(false) | None => Self::Json,
        }
    }

    /// An answer that would be waited for longer than anybody wants to is given later.
    fn or_later(self, request: &Request, usual_max: f64, estimated_seconds: Option<f64>) -> Self {
        let max = request.threshold_seconds.unwrap_or(usual_max);
        // Nothing is known of the first answers, but all of them take some time.
        let seconds = estimated_seconds.unwrap_or(0.0);
        let is_undecided = self == Self::Json && request.mode.is_none();
        if is_undecided && seconds >= max { Self::Later } else { self }
    }

    const fn mode(self) -> RequestMode {
        match self {
            Self::Json => RequestMode::Sync,
            Self::Stream(_) => RequestMode::Stream,
            Self::Later => RequestMode::Async,
        }
    }
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn processing_time_ms(&self) -> i64 {
        let took = self.app.clock.now().duration_since(self.began).as_millis();
        i64::try_from(took).unwrap_or(i64::MAX).max(0)
    }

    /// The answer to whoever does not wait.
    fn processing(&self, webhook_url: Option<&str>, estimated_seconds: Option<f64>) -> Response {
        let poll_url = format!("/v1/requests/{}", self.request);
        let (delivery, told) = match webhook_url {
            Some(_) => ("webhook", "The answer will be sent to the webhook."),
            None => ("polling", "The answer will be at `poll_url`."),
        };
        let webhook_url = webhook_url.map(str::to_owned);
        let data = Processing {
            message: ProcessingMessage {
                status: "processing".to_owned(),
                request_id: self.request.clone(),
                message: told.to_owned(),
                delivery: delivery.to_owned(),
                webhook_url: webhook_url.clone(),
                poll_url: poll_url.clone(),
            },
            status: "processing".to_owned(),
            processing_mode: "async".to_owned(),
            estimated_seconds,
            poll_url,
            webhook_url,
            user_id: self.user.named.clone(),
            session_id: self.session.clone(),
            request_id: self.request.clone(),
            warnings: self.warnings.clone(),
        };
        (StatusCode::ACCEPTED, Enveloped::new("request", "request.processing", &data))
            .into_response()
    }

    /// The words as the formation wants them told; a value of a given shape is JSON already.
    pub(super) fn formatted(&self, answer: &Answer) -> String {
        let wraps = self.app.manifest.overlord.response.format == ResponseFormat::Json;
        if !wraps || answer.structured.is_some() {
            return answer.text.clone();
        }
        json!({"content": answer.text, "type": "response", "format": "json"}).to_string()
    }

    fn envelope(&self, answer: Answer, transcript: Option<String>) -> Enveloped {
        let usage = usage(&answer);
        let text = self.formatted(&answer);
        let mut metadata = json!({
            "session_id": self.session,
            "agent_id": answer.about.agent,
            "model": answer.about.model,
            "finish_reason": answer.finish_reason,
            "processing_time_ms": self.processing_time_ms(),
        });
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.extend(about(&answer));
        }
        let shows_widgets = self.app.manifest.overlord.response.widgets;
        let ui = Some(answer.widgets).filter(|it| shows_widgets && !it.is_empty());
        if let Some(transcript) = transcript {
            metadata["transcript"] = json!(transcript);
        }
        let data = ChatData {
            message: AssistantMessage {
                role: "assistant".to_owned(),
                content: text.clone(),
                artifacts: (!answer.artifacts.is_empty()).then_some(answer.artifacts),
                metadata,
                ui,
            },
            response: vec![ContentPart::Text { text }],
            structured: answer.structured,
            status: "completed".to_owned(),
            processing_mode: "sync".to_owned(),
            usage,
            user_id: self.user.named.clone(),
            session_id: self.session.clone(),
            request_id: self.request.clone(),
            warnings: [self.warnings.clone(), answer.warnings].concat(),
        };
        Enveloped::new("chat_response", "chat.completed", &data)
    }
}

pub(crate) fn usage(answer: &Answer) -> Usage {
    let usage = answer.about.usage;
    Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.total_tokens(),
    }
}

/// How the answer came to be, for whoever wants to know why.
pub(super) fn about(answer: &Answer) -> Map<String, Value> {
    let told = &answer.about.told;
    let mut about = Map::from_iter([
        ("agents_used".to_owned(), json!(told.agents)),
        ("model_calls".to_owned(), json!(answer.about.calls)),
        ("decisions".to_owned(), json!(told.decisions)),
    ]);
    if !told.tools.is_empty() {
        about.insert("tools_called".to_owned(), json!(told.tools));
    }
    if let Some(waits) = &answer.waits {
        about.insert("requires_user_response".to_owned(), true.into());
        about.insert(
            "pending".to_owned(),
            json!({"id": waits.id, "kind": waits.kind.as_str(), "detail": waits.shown}),
        );
        let needs_approval = matches!(waits.kind, PendingKind::Approval | PendingKind::Plan);
        about.insert("approval_required".to_owned(), needs_approval.into());
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_how_to_answer() {
        use StreamFormat::{Events, Tokens};
        for (stream, stream_format, accept, expected) in [
            (None, None, false, Delivery::Json),
            (None, None, true, Delivery::Stream(Tokens)),
            (Some(false), None, true, Delivery::Json),
            (Some(true), None, false, Delivery::Stream(Events)),
            (Some(true), None, true, Delivery::Stream(Events)),
            (Some(true), Some(Tokens), false, Delivery::Stream(Tokens)),
            (None, Some(Events), true, Delivery::Stream(Events)),
            (None, Some(Events), false, Delivery::Json),
        ] {
            let request = Request { stream, stream_format, ..Request::default() };
            let found = Delivery::choose(&request, accept, false);
            assert_eq!(found, expected, "{request:?} {accept}");
        }
        let silent = Request::default();
        assert_eq!(Delivery::choose(&silent, false, true), Delivery::Stream(Events));
        let refuses = Request { stream: Some(false), ..Request::default() };
        assert_eq!(Delivery::choose(&refuses, false, true), Delivery::Json);
    }

    #[test]
    fn who_would_wait_too_long_is_answered_later() {
        let stream = Delivery::Stream(StreamFormat::Events);
        for (chosen, mode, threshold_seconds, estimated, expected) in [
            (Delivery::Json, None, None, None, Delivery::Json),
            (Delivery::Json, None, None, Some(29.9), Delivery::Json),
            (Delivery::Json, None, None, Some(30.0), Delivery::Later),
            (Delivery::Json, None, Some(5.0), Some(6.0), Delivery::Later),
            (Delivery::Json, None, Some(60.0), Some(31.0), Delivery::Json),
            (Delivery::Json, None, Some(0.0), None, Delivery::Later),
            (Delivery::Json, Some(ChatMode::Sync), Some(0.0), Some(31.0), Delivery::Json),
            (stream, None, Some(0.0), Some(31.0), stream),
        ] {
            let request = Request { mode, threshold_seconds, ..Request::default() };
            let found = chosen.or_later(&request, 30.0, estimated);
            assert_eq!(found, expected, "{chosen:?} {request:?} {estimated:?}");
        }
    }
}
