//! `POST /v1/chat`: one message in, one answer out, as JSON or as a stream.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use muxi_contract::chat::{
    AssistantMessage, ChatData, ChatMode, ChatRequest, ContentPart, StreamFormat, Usage,
};
use muxi_contract::envelope::ValidationError;
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_memory::{RequestKind, RequestMode};
use muxi_service::sse;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::answer::Answer as Enveloped;
use super::auth::{Client, HeaderUser, User};
use super::chat_request::{self, Fault, Parsed};
use super::error::Problem;
use super::{body, stream};
use crate::agents::Agent;
use crate::app::{App, Parts};
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
    pub(crate) agent: Arc<Agent>,
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
    header_user: HeaderUser,
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let fields = match body::object(body, &app).await {
        Ok(fields) => fields,
        Err(problem) => return problem.into_response(),
    };
    // The body's id is the one by which the caller will ask for the request, whatever comes of it.
    let id = chat_request::request_id(&fields).unwrap_or(id);
    let asks_for_stream = sse::is_asked_for(&headers);
    let mut response = match answer(app, header_user, id.clone(), &fields, asks_for_stream).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(id);
    response
}

async fn answer(
    app: App,
    HeaderUser(header_user): HeaderUser,
    id: RequestId,
    fields: &Map<String, Value>,
    asks_for_stream: bool,
) -> Result<Response, Problem> {
    let chars_max = app.manifest.input_limits.max_message_length;
    let Parsed { request, warnings } = chat_request::parse(fields, chars_max)?;
    let delivery = Delivery::choose(&request, asks_for_stream);
    let user = match (header_user, request.user_id) {
        (Some(user), _) => user,
        (None, named) => User::of(named.unwrap_or_else(UserId::anonymous), &app).await?,
    };
    let exchange = Exchange {
        agent: agent(&app, request.agent_id.as_deref())?,
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
        agent: Arc::clone(&exchange.agent),
        text: request.message,
        kind: RequestKind::Chat,
        mode: delivery.mode(),
        expected: expected.map(Arc::new),
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
            whole(&exchange, updates).await.map(IntoResponse::into_response)
        }
        Delivery::Stream(format) => {
            let updates = conversations.start(question)?;
            stream::respond(exchange, format, updates).await
        }
        Delivery::Later => {
            let webhook_url = question.webhook_url.clone();
            conversations.accept(question).await?;
            exchange.app.events.tell(Event {
                user: Some(exchange.user.id.clone()),
                session: Some(exchange.session.clone()),
                request: Some(exchange.request.clone()),
                agent: Some(exchange.agent.config.id.clone()),
                ..exchange.app.event(EventKind::RequestAccepted, "a request was accepted")
            });
            Ok(exchange.processing(webhook_url.as_deref()))
        }
    }
}

async fn whole(exchange: &Exchange, updates: mpsc::Receiver<Update>) -> Result<Enveloped, Problem> {
    Ok(exchange.envelope(finished(updates).await?))
}

/// Waits for the end of a turn.
pub(super) async fn finished(mut updates: mpsc::Receiver<Update>) -> Result<Answer, Problem> {
    loop {
        match updates.recv().await {
            Some(Update::Asked | Update::Text(_)) => {}
            Some(Update::Completed(answer)) => return Ok(answer),
            Some(Update::Failed(failure)) => return Err(failure.into()),
            Some(Update::Cancelled(text)) => return Err(Problem::cancelled(&text)),
            None => return Err(Failure::Stopping.into()),
        }
    }
}

fn usual_webhook(app: &Parts) -> Option<String> {
    app.manifest.asynchronous.webhook_url.clone()
}

fn agent(app: &Parts, id: Option<&str>) -> Result<Arc<Agent>, Problem> {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => app.agents.find(id).ok_or_else(|| Problem::agent_not_found(id)),
        None => app.agents.default_agent().ok_or_else(|| Problem::agent_not_found("")),
    }
}

// === impl Delivery ===

impl Delivery {
    /// The body decides; where it is silent, the Accept header does. Published clients that say
    /// `stream: true` read events, the API reference's Accept example reads tokens.
    fn choose(request: &ChatRequest, asks_for_stream: bool) -> Self {
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
            Some(false) | None => Self::Json,
        }
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
    fn processing(&self, webhook_url: Option<&str>) -> Response {
        let poll_url = format!("/v1/requests/{}", self.request);
        let (delivery, told) = match webhook_url {
            Some(_) => ("webhook", "The answer will be sent to the webhook."),
            None => ("polling", "The answer will be at `poll_url`."),
        };
        let mut data = json!({
            "message": {
                "status": "processing",
                "request_id": self.request,
                "message": told,
                "delivery": delivery,
                "webhook_url": webhook_url,
                "poll_url": poll_url,
            },
            "status": "processing",
            "processing_mode": "async",
            "poll_url": poll_url,
            "webhook_url": webhook_url,
            "user_id": self.user.named,
            "session_id": self.session,
            "request_id": self.request,
        });
        if !self.warnings.is_empty() {
            data["warnings"] = json!(self.warnings);
        }
        (StatusCode::ACCEPTED, Enveloped::new("request", "request.processing", &data))
            .into_response()
    }

    fn envelope(&self, answer: Answer) -> Enveloped {
        #[derive(Serialize)]
        struct Data {
            #[serde(flatten)]
            chat: ChatData,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            warnings: Vec<String>,
        }
        let usage = usage(&answer);
        let metadata = json!({
            "session_id": self.session,
            "agent_id": self.agent.config.id,
            "model": self.agent.model,
            "finish_reason": answer.finish_reason,
            "processing_time_ms": self.processing_time_ms(),
        });
        let chat = ChatData {
            message: AssistantMessage {
                role: "assistant".to_owned(),
                content: answer.text.clone(),
                artifacts: None,
                metadata,
            },
            response: vec![ContentPart::Text { text: answer.text }],
            structured: answer.structured,
            status: "completed".to_owned(),
            processing_mode: "sync".to_owned(),
            usage,
            user_id: self.user.named.clone(),
            session_id: self.session.clone(),
            request_id: self.request.clone(),
        };
        let data = Data { chat, warnings: self.warnings.clone() };
        Enveloped::new("chat_response", "chat.completed", &data)
    }
}

pub(crate) fn usage(answer: &Answer) -> Usage {
    Usage {
        prompt_tokens: answer.usage.prompt_tokens,
        completion_tokens: answer.usage.completion_tokens,
        total_tokens: answer.usage.total_tokens(),
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(faults) => Self::invalid(&faults),
            Fault::NotBuilt(what) => Self::not_built(&what),
        }
    }
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
            let request = ChatRequest {
                message: "hi".to_owned(),
                user_id: None,
                session_id: None,
                request_id: None,
                agent_id: None,
                stream,
                stream_format,
                mode: None,
                webhook_url: None,
                output_schema: None,
            };
            assert_eq!(Delivery::choose(&request, accept), expected, "{request:?} {accept}");
        }
    }
}
