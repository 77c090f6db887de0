//! The formation as a server of the Model Context Protocol: `/mcp`, over streamable HTTP.
//!
//! Nothing is told without the client key, the list of tools included. All tools but `chat` are routes
//! of the API ([`operations`]), called within this process.

mod chat;
mod operations;

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, request};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muxi_contract::{ErrorCode, UserId};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ResourceContents,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;

use self::operations::{CHAT, Operation, USER};
use super::auth::{CLIENT_HEADER, USER_HEADER};
use super::body::{self, Room};
use super::error::Problem;
use crate::app::App;
use crate::keys::KeyClass;

/// Stands before the protocol: checks the key, and bounds what a caller may hold.
#[derive(Clone)]
pub(super) struct Door {
    app: App,
    service: StreamableHttpService<Formation, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
}

/// What answers one session, or one call without a session.
#[derive(Debug, Clone)]
struct Formation {
    app: App,
    /// The API as others call it.
    api: Router,
}

/// Sessions of older versions of the protocol that are open at the same time; one that is silent for
/// five minutes ends.
const SESSIONS_MAX: usize = 256;
/// Of one answer of a route.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of the words with which the transport refuses.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(operations::tools);

pub(super) async fn serve(State(door): State<Door>, request: Request) -> Response {
    match door.enter(request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

// === impl Door ===

impl Door {
    pub(super) fn new(app: &App, api: Router) -> Self {
        let sessions = Arc::new(LocalSessionManager::default());
        let formation = Formation { app: Arc::clone(app), api };
        // Whoever has the key may call from anywhere: names of hosts prove nothing, and no browser
        // sends the key by itself. Which pages may read answers is decided for all routes in one place.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_sse_keep_alive(Some(app.limits.events_keepalive))
            .with_cancellation_token(app.conversations.stopping().clone())
            .with_max_request_body_bytes(usize::MAX);
        let service = StreamableHttpService::new(
            move || Ok::<_, io::Error>(formation.clone()),
            Arc::clone(&sessions),
            config,
        );
        Self { app: Arc::clone(app), service, sessions }
    }

    async fn enter(&self, request: Request) -> Result<Response, Problem> {
        self.check_key(request.headers())?;
        let (parts, body) = request.into_parts();
        // Read here, under the bounds of every other body.
        let (bytes, _hold) = body::bytes(body, Room::Message, &self.app).await?;
        if opens_session(&parts.method, &bytes)
            && self.sessions.sessions.read().await.len() >= SESSIONS_MAX
        {
            return Err(Problem::busy("there are too many sessions of the protocol; end some"));
        }
        let is_end = parts.method == Method::DELETE;
        let request = request::Request::from_parts(parts, Body::from(bytes.freeze()));
        let mut response = typed(self.service.handle(request).await.map(Body::new)).await;
        // Clients take what is merely accepted for a failed end.
        if is_end && response.status() == StatusCode::ACCEPTED {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Ok(response)
    }

    /// Clients of the protocol can often send nothing but a bearer token.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let (class, keys) = (KeyClass::Client, &self.app.keys);
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes())
        });
        match headers.get(CLIENT_HEADER).map(http::HeaderValue::as_bytes).or(bearer) {
            None | Some(b"") => Err(Problem::missing_key(class, CLIENT_HEADER)),
            Some(key) if keys.is(class, key) => Ok(()),
            Some(_) => Err(Problem::wrong_key(class, CLIENT_HEADER)),
        }
    }
}

/// Refusals of the transport are bare words; callers get them in the form of all failures.
async fn typed(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() || response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    let words = to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        _ => ErrorCode::InvalidRequest,
    };
    let mut refusal = Problem::new(code, String::from_utf8_lossy(&words)).into_response();
    *refusal.status_mut() = status;
    refusal
}

// === impl Formation ===

impl ServerHandler for Formation {
    fn get_info(&self) -> ServerConfig {
        let manifest = &self.app.manifest;
        let name = format!("muxi-{}", manifest.id);
        let server = Implementation::new(name, manifest.version.clone());
        let instructions = format!(
            "{}\n\nUse `{CHAT}` to ask this formation for anything; the other tools look at \
             what was said, made and remembered.",
            manifest.description
        );
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_instructions(instructions)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(TOOLS.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let user = user(&context, &arguments)?;
        let result = if request.name == CHAT {
            chat::chat(&self.app, user, arguments, context).await?
        } else {
            let unknown = || format!("there is no tool `{}`", request.name);
            let operation = Operation::find(&request.name)
                .ok_or_else(|| ErrorData::invalid_params(unknown(), None))?;
            self.call_route(operation, user.as_ref(), arguments).await?
        };
        Ok(result.into())
    }
}

impl Formation {
    async fn call_route(
        &self,
        operation: &Operation,
        user: Option<&UserId>,
        arguments: JsonObject,
    ) -> Result<CallToolResult, ErrorData> {
        let wanted = operation.wanted(arguments);
        let wanted = wanted.map_err(|fault| ErrorData::invalid_params(fault, None))?;
        let key = secrecy::ExposeSecret::expose_secret(self.app.keys.get(KeyClass::Client));
        let mut request = request::Request::builder()
            .method(wanted.method)
            .uri(wanted.target)
            .header(CLIENT_HEADER, key)
            .header(CONTENT_TYPE, "application/json");
        if let Some(user) = user {
            request = request.header(USER_HEADER, user.as_str().as_bytes());
        }
        let body = wanted.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(|error| internal(&error))?;
        let Ok(response) = self.api.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|error| internal(&error))?;
        if operation.is_file && parts.status.is_success() {
            let media_type = parts.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
            return Ok(file(media_type.unwrap_or("application/octet-stream"), &bytes));
        }
        Ok(told(&bytes))
    }
}

// === private helpers ===

/// On whose behalf: the header's user, or the argument's where there is no header.
fn user(
    context: &RequestContext<RoleServer>,
    arguments: &JsonObject,
) -> Result<Option<UserId>, ErrorData> {
    let headers = context.extensions.get::<request::Parts>().map(|parts| &parts.headers);
    let in_header = headers.and_then(|it| it.get(USER_HEADER)).map(http::HeaderValue::as_bytes);
    let in_header = in_header.and_then(|it| std::str::from_utf8(it).ok()).unwrap_or("").trim();
    let argument = arguments.get(USER).and_then(Value::as_str).unwrap_or("").trim();
    let named = match (in_header, argument) {
        ("", "") => return Ok(None),
        ("", argument) => argument,
        (header, "") => header,
        (header, argument) if header == argument => header,
        _ => {
            let message = format!("`{USER}` is another user than the header {USER_HEADER} names");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    let parsed = named.parse().map(Some);
    parsed.map_err(|fault| ErrorData::invalid_params(format!("`{USER}`: {fault}"), None))
}

/// An envelope as the result of a tool: its data, or why there is none.
fn told(envelope: &[u8]) -> CallToolResult {
    #[derive(Deserialize)]
    struct Envelope {
        data: Value,
        error: Option<Value>,
    }
    match serde_json::from_slice(envelope) {
        Ok(Envelope { data, error: None }) => CallToolResult::structured(data),
        Ok(Envelope { error: Some(error), .. }) => CallToolResult::structured_error(error),
        Err(_) => CallToolResult::error(vec![ContentBlock::text("the answer is no envelope")]),
    }
}

fn file(media_type: &str, bytes: &[u8]) -> CallToolResult {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let encoded = || BASE64_STANDARD.encode(bytes);
    let text = std::str::from_utf8(bytes).ok().filter(|_| {
        essence.starts_with("text/") || ["application/json", "image/svg+xml"].contains(&essence)
    });
    let block = match text {
        Some(text) => ContentBlock::text(text),
        None if essence.starts_with("image/") => ContentBlock::image(encoded(), essence),
        None if essence.starts_with("audio/") => ContentBlock::audio(encoded(), essence),
        None => {
            let resource = ResourceContents::blob(encoded(), "muxi://artifact");
            ContentBlock::resource(resource.with_mime_type(essence))
        }
    };
    CallToolResult::success(vec![block])
}

/// Whether the message begins a session.
fn opens_session(method: &Method, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        method: Cow<'a, str>,
    }
    *method == Method::POST
        && serde_json::from_slice::<Message<'_>>(body).is_ok_and(|it| it.method == "initialize")
}

fn internal(error: &dyn std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
