//! The HTTP side that both wires share: clients, one request, and what a refusal means.

use std::error::Error as StdError;
use std::fs::File;
use std::os::fd::IntoRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::multipart::Form;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::known;
use crate::{LlmError, LlmErrorKind, SetupError};

/// Where a provider is reached, with which key, and how long its silence is borne.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `None` means the address that belongs to the provider's name.
    pub base_url: Option<String>,
    pub api_key: Option<SecretString>,
    /// Speaks over this socket instead of TCP; the base URL then only gives the path.
    pub unix_socket: Option<PathBuf>,
    /// Deadline for the response head, and again for each silence within the answer; not a total.
    pub timeout: Duration,
}

/// The pooled HTTP clients of one process. Each is built at its first use: the one for https loads the
/// machine's certificate authorities, which a process that never calls out should not pay for.
#[derive(Clone, Debug, Default)]
pub struct HttpClients {
    tls: Arc<OnceLock<Client>>,
    plain: Arc<OnceLock<Client>>,
}

// === impl Endpoint ===

impl Default for Endpoint {
    fn default() -> Self {
        Self { base_url: None, api_key: None, unix_socket: None, timeout: Duration::from_mins(1) }
    }
}

impl Endpoint {
    pub fn at(base_url: impl Into<String>) -> Self {
        Self { base_url: Some(base_url.into()), ..Self::default() }
    }

    pub fn over_unix_socket(path: impl Into<PathBuf>) -> Self {
        Self {
            base_url: Some("http://localhost/v1".to_owned()),
            unix_socket: Some(path.into()),
            ..Self::default()
        }
    }
}

// === connections ===

/// How a wire presents the key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyHeader {
    Bearer,
    Named(&'static str),
}

/// One provider's address with everything a request needs.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) provider: String,
    pub(crate) timeout: Duration,
    base_url: String,
    host: String,
    headers: HeaderMap,
    api_key: Option<SecretString>,
    client: LazyClient,
}

#[derive(Debug)]
enum LazyClient {
    Tls(Arc<OnceLock<Client>>),
    Plain(Arc<OnceLock<Client>>),
    Unix(PathBuf, OnceLock<Client>),
}

/// A failure before it is known whose it is.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: LlmErrorKind,
    pub(crate) message: String,
    pub(crate) source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the connection keeps for naming a failure that comes in the middle of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Blame {
    provider: String,
    model: String,
    api_key: Option<SecretString>,
}

impl Connection {
    pub(crate) fn new(
        provider: &str,
        endpoint: Endpoint,
        clients: &HttpClients,
        key_header: KeyHeader,
    ) -> Result<Self, SetupError> {
        let provider = provider.to_owned();
        let base_url = match (endpoint.base_url, known(&provider)) {
            (Some(base_url), _) => base_url,
            (None, Some(known)) if known.needs_key && endpoint.api_key.is_none() => {
                return Err(SetupError::MissingKey { provider });
            }
            (None, Some(known)) => known.base_url.to_owned(),
            (None, None) => return Err(SetupError::UnknownProvider { provider }),
        };
        let Some(url) = usable(&base_url) else {
            return Err(SetupError::InvalidBaseUrl { provider });
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = &endpoint.api_key {
            let Some((name, value)) = key_header.render(key) else {
                return Err(SetupError::InvalidKey { provider });
            };
            headers.insert(name, value);
        }
        let client = match endpoint.unix_socket {
            Some(path) => LazyClient::Unix(path, OnceLock::new()),
            None if url.scheme() == "https" => LazyClient::Tls(clients.tls.clone()),
            None => LazyClient::Plain(clients.plain.clone()),
        };
        let host = match &client {
            LazyClient::Unix(path, _) => path.display().to_string(),
            LazyClient::Tls(_) | LazyClient::Plain(_) => url.authority().to_owned(),
        };
        Ok(Self {
            provider,
            timeout: endpoint.timeout,
            base_url: base_url.trim_end_matches('/').to_owned(),
            host,
            headers,
            api_key: endpoint.api_key,
            client,
        })
    }

    /// Adds a header that every request of this wire carries.
    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    pub(crate) fn blame(&self, model: &str) -> Blame {
        Blame {
            provider: self.provider.clone(),
            model: model.to_owned(),
            api_key: self.api_key.clone(),
        }
    }

    /// Sends one request and returns once the head of a successful event stream is here.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Response, Fault> {
        let response = self.send(path, |request| Ok(request.json(body))).await?;
        if response.status().is_success() && !is_json(response.headers()) {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// Sends a form and reads the whole answer, which is short.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        form: impl Fn() -> Result<Form, Fault>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Fault> {
        let response = self.send(path, |request| Ok(request.multipart(form()?))).await?;
        self.read(response, bytes_max).await
    }

    /// Sends JSON and reads the whole answer, which is no stream.
    pub(crate) async fn post_for_json(
        &self,
        path: &str,
        body: &Value,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Fault> {
        let response = self.send(path, |request| Ok(request.json(body))).await?;
        self.read(response, bytes_max).await
    }

    async fn read(&self, response: Response, bytes_max: usize) -> Result<Vec<u8>, Fault> {
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        match tokio::time::timeout(self.timeout, whole(response, bytes_max)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(silent(self.timeout)),
        }
    }

    async fn send(
        &self,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> Result<RequestBuilder, Fault>,
    ) -> Result<Response, Fault> {
        let client = self.client.get().map_err(|error| self.unsent(error))?;
        let request = client.post(format!("{}{path}", self.base_url)).headers(self.headers.clone());
        match tokio::time::timeout(self.timeout, fill(request)?.send()).await {
            Ok(sent) => sent.map_err(|error| self.unsent(error)),
            Err(_) => Err(silent(self.timeout)),
        }
    }

    async fn refused(&self, response: Response) -> Fault {
        let (status, asked_pause) = (response.status(), retry_after(response.headers()));
        let text =
            tokio::time::timeout(self.timeout, error_body(response)).await.unwrap_or_default();
        refusal(status, asked_pause, &text)
    }

    fn unsent(&self, error: reqwest::Error) -> Fault {
        let error = error.without_url();
        Fault {
            kind: LlmErrorKind::Unreachable,
            message: format!("could not reach {}: {}", self.host, root_cause(&error)),
            source: Some(error.into()),
        }
    }
}

impl KeyHeader {
    fn render(self, key: &SecretString) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Self::Bearer => (
                reqwest::header::AUTHORIZATION,
                SecretString::from(format!("Bearer {}", key.expose_secret())),
            ),
            Self::Named(name) => (HeaderName::from_static(name), key.clone()),
        };
        let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

impl LazyClient {
    fn get(&self) -> Result<&Client, reqwest::Error> {
        let (cell, builder): (_, fn(ClientBuilder) -> ClientBuilder) = match self {
            Self::Tls(cell) => (cell.as_ref(), |builder| builder),
            // Plain http is for servers nearby: neither a proxy nor a certificate store is wanted.
            Self::Plain(cell) => (cell.as_ref(), |it| it.no_proxy().tls_certs_only([])),
            Self::Unix(_, cell) => (cell, |it| it.no_proxy().tls_certs_only([])),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = builder(Client::builder())
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .user_agent(concat!("muxi-runtime/", env!("CARGO_PKG_VERSION")))
            // A redirected POST would lose its body, and a key must not follow to another host.
            .redirect(reqwest::redirect::Policy::none());
        if let Self::Unix(path, _) = self {
            builder = builder.unix_socket(short(path).as_path());
        }
        let client = builder.build()?;
        Ok(cell.get_or_init(|| client))
    }
}

// === impl Blame ===

impl Blame {
    pub(crate) fn error(&self, fault: Fault) -> LlmError {
        LlmError {
            kind: fault.kind,
            provider: self.provider.clone(),
            model: self.model.clone(),
            message: self.presentable(&fault.message),
            source: fault.source,
        }
    }

    /// One line of bounded length; some providers repeat the key they were sent.
    fn presentable(&self, message: &str) -> String {
        let mut text = message.to_owned();
        if let Some(key) = &self.api_key
            && !key.expose_secret().is_empty()
        {
            text = text.replace(key.expose_secret(), "[key]");
        }
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(MESSAGE_CHARS_MAX).collect()
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn new(kind: LlmErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}

/// The kind that a provider's own error object stands for, by its type, code or status word.
pub(crate) fn kind_of_word(word: &str) -> Option<LlmErrorKind> {
    let kind = match word {
        "authentication_error" | "permission_error" | "invalid_api_key" => LlmErrorKind::Auth,
        "insufficient_quota" | "billing_error" => LlmErrorKind::QuotaExceeded,
        "rate_limit_error" | "rate_limit_exceeded" | "requests" | "tokens" => {
            LlmErrorKind::RateLimited { retry_after: None }
        }
        "model_not_found" | "not_found_error" => LlmErrorKind::ModelNotFound,
        "content_filter" | "content_policy_violation" | "moderation_blocked" => {
            LlmErrorKind::Refused
        }
        "overloaded_error" => LlmErrorKind::ServerError { status: 529, retry_after: None },
        "timeout_error" => LlmErrorKind::Timeout,
        "server_error" | "api_error" | "internal_error" => {
            LlmErrorKind::ServerError { status: 500, retry_after: None }
        }
        "invalid_request_error" | "request_too_large" => LlmErrorKind::BadRequest,
        _ => return None,
    };
    Some(kind)
}

/// The words and the text of an error object in any of the shapes that providers use.
pub(crate) fn error_object(error: &Value) -> (Option<LlmErrorKind>, String) {
    let field = |name: &str| error.get(name).and_then(Value::as_str);
    // The code is the finer word of the two.
    let kind =
        field("code").and_then(kind_of_word).or_else(|| field("type").and_then(kind_of_word));
    let kind = kind.or_else(|| {
        let status = error.get("code").and_then(Value::as_u64)?;
        kind_of_status(u16::try_from(status).ok()?, None)
    });
    let text = error.as_str().or_else(|| field("message")).map(str::to_owned);
    (kind, text.unwrap_or_else(|| error.to_string()))
}

/// An answer that never began within the deadline.
pub(crate) fn silent(timeout: Duration) -> Fault {
    Fault::new(LlmErrorKind::Timeout, format!("silent for {} s", timeout.as_secs_f32()))
}

// === private helpers ===

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Shorter than the idle limit of common load balancers, so a pooled connection is seldom a dead one.
const POOL_IDLE: Duration = Duration::from_secs(50);
const POOL_IDLE_MAX: usize = 32;
const SOCKET_PATH_BYTES_MAX: usize = 107;
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
const MESSAGE_CHARS_MAX: usize = 600;
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

fn usable(base_url: &str) -> Option<Url> {
    let url = Url::parse(base_url).ok()?;
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    // Credentials in the address would end up in messages.
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (http && bare).then_some(url)
}

/// The kernel takes at most 107 bytes of socket path. A folder's descriptor makes a longer one short.
fn short(socket: &Path) -> PathBuf {
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return socket.to_owned();
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return socket.to_owned();
    };
    match File::open(folder) {
        // The client keeps the path for as long as the process lives, so the folder stays open.
        Ok(folder) => Path::new("/proc/self/fd").join(folder.into_raw_fd().to_string()).join(name),
        Err(_) => socket.to_owned(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|it| it.trim_start().starts_with("application/json"))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after"));
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())))
}

/// As much of the body as is worth showing; a body that breaks off is shown as far as it came.
async fn error_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ERROR_BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    body
}

async fn whole(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let broken = |error: reqwest::Error| Fault {
        kind: LlmErrorKind::Interrupted,
        message: "the answer broke off".to_owned(),
        source: Some(error.without_url().into()),
    };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > bytes_max {
            let message = format!("the answer has more than {bytes_max} bytes");
            return Err(Fault::new(LlmErrorKind::Protocol, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: StatusCode, asked_pause: Option<Duration>, body: &[u8]) -> Fault {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let (word, text) = match &parsed {
        // Google wraps its error object in a list.
        Some(value) => {
            let value = value.get(0).unwrap_or(value);
            error_object(value.get("error").unwrap_or(value))
        }
        None => (None, String::from_utf8_lossy(body).into_owned()),
    };
    if status.is_success() {
        let kind = word.unwrap_or(LlmErrorKind::Protocol);
        return Fault::new(kind, format!("answered with JSON instead of a stream: {text}"));
    }
    let code = status.as_u16();
    let by_status = kind_of_status(code, asked_pause);
    let kind = match (by_status, word) {
        // These words say more than the status they come with.
        (
            _,
            Some(
                word @ (LlmErrorKind::QuotaExceeded
                | LlmErrorKind::Refused
                | LlmErrorKind::ModelNotFound),
            ),
        ) => word,
        (Some(by_status), _) => by_status,
        (None, word) => word.unwrap_or(LlmErrorKind::Protocol),
    };
    let text = if text.trim().is_empty() { "no explanation" } else { text.as_str() };
    Fault::new(kind, format!("HTTP {code}: {text}"))
}

fn kind_of_status(status: u16, retry_after: Option<Duration>) -> Option<LlmErrorKind> {
    let kind = match status {
        401 | 403 => LlmErrorKind::Auth,
        402 => LlmErrorKind::QuotaExceeded,
        404 => LlmErrorKind::ModelNotFound,
        429 => LlmErrorKind::RateLimited { retry_after },
        // The provider says "not now" rather than "never".
        408 | 409 | 425 | 500..=599 => LlmErrorKind::ServerError { status, retry_after },
        400..=499 => LlmErrorKind::BadRequest,
        _ => return None,
    };
    Some(kind)
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
