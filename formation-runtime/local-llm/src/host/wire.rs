//! The `OpenAI` wire: requests, answers, chunks and errors.

mod messages;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::messages::{WireMessage, WireTool};
use super::models::{Unavailable, with_causes};
use crate::engine::{ChatRequest, EngineError, FinishReason, Usage};
use crate::files::ModelName;

/// What a client that names none gets. A long answer of a small model is rarely a better one.
const MAX_TOKENS_DEFAULT: usize = 256;
/// The makers of the model advise these.
const TEMPERATURE_DEFAULT: f64 = 0.2;
const TOP_P_DEFAULT: f64 = 0.9;

const STOPS_MAX: usize = 4;
const STOP_BYTES_MAX: usize = 256;

/// A chat request that has been checked.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) model: ModelName,
    pub(super) request: ChatRequest,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// An error as this wire writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WireError {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    param: Option<&'static str>,
    message: String,
    retry_after_s: Option<u64>,
}

/// What every chunk of an answer repeats.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    messages: Vec<WireMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    tools: Option<Vec<WireTool>>,
    tool_choice: Option<Value>,
    // Read only to refuse what would otherwise be ignored.
    n: Option<u64>,
    functions: Option<Vec<Value>>,
    response_format: Option<ResponseFormat>,
    logprobs: Option<bool>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

// === impl Call ===

impl Call {
    /// `random_seed` is used when the client names none.
    pub(super) fn parse(body: &[u8], random_seed: u64) -> Result<Self, WireError> {
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            WireError::invalid(None, format!("the body is not understood: {error}"))
        })?;
        body.refuse_unsupported()?;
        let offered = body.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        let tools = messages::tools(body.tools.unwrap_or_default())?;
        let model =
            body.model.parse().map_err(|error: crate::files::InvalidModelName| WireError {
                status: StatusCode::NOT_FOUND,
                code: "model_not_found",
                ..WireError::invalid(Some("model"), error.to_string())
            })?;
        let stream_options = body.stream_options.as_ref();
        Ok(Self {
            model,
            stream: body.stream.unwrap_or(false),
            include_usage: stream_options.and_then(|it| it.include_usage).unwrap_or(false),
            request: ChatRequest {
                max_tokens: max_tokens(body.max_completion_tokens.or(body.max_tokens))?,
                temperature: within(
                    body.temperature,
                    0.0..=2.0,
                    "temperature",
                    TEMPERATURE_DEFAULT,
                )?,
                top_p: within(body.top_p, f64::MIN_POSITIVE..=1.0, "top_p", TOP_P_DEFAULT)?,
                seed: body.seed.map_or(random_seed, i64::cast_unsigned),
                stop: stops(body.stop)?,
                messages: messages::messages(body.messages)?,
                tools: if offered { tools } else { Vec::new() },
            },
        })
    }
}

// === impl Body ===

impl Body {
    fn refuse_unsupported(&self) -> Result<(), WireError> {
        let is_set = |number: Option<f64>| number.is_some_and(|number| number != 0.0);
        let is_filled = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|it| !it.is_empty());
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1)),
            // No model here can be held to calling one.
            (
                "tool_choice",
                self.tool_choice.as_ref().is_some_and(|it| it != "auto" && it != "none"),
            ),
            ("functions", is_filled(&self.functions)),
            (
                "response_format",
                self.response_format.as_ref().is_some_and(|format| format.r#type != "text"),
            ),
            ("logprobs", self.logprobs == Some(true)),
            ("frequency_penalty", is_set(self.frequency_penalty)),
            ("presence_penalty", is_set(self.presence_penalty)),
        ];
        match refused.into_iter().find(|(_, refused)| *refused) {
            None => Ok(()),
            Some((param, _)) => Err(WireError {
                code: "unsupported_parameter",
                ..WireError::invalid(
                    Some(param),
                    format!("local models do not support `{param}`; leave it out"),
                )
            }),
        }
    }
}

// === impl WireError ===

impl WireError {
    pub(super) fn invalid(param: Option<&'static str>, message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: "invalid_value",
            param,
            message,
            retry_after_s: None,
        }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            ..Self::invalid(None, format!("there is no {what}"))
        }
    }

    /// The same error under another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn shutting_down() -> Self {
        Self::server(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting_down",
            "the model host is shutting down; try again".to_owned(),
        )
    }

    pub(super) fn internal(message: String) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "engine_error", message)
    }

    pub(super) fn to_json(&self) -> Value {
        serde_json::json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }

    fn server(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, kind: "server_error", code, param: None, message, retry_after_s: None }
    }

    fn busy(retry_after_s: u64, message: String) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: "rate_limit_error",
            code: "queue_full",
            param: None,
            message,
            retry_after_s: Some(retry_after_s),
        }
    }
}

impl From<EngineError> for WireError {
    fn from(error: EngineError) -> Self {
        let message = with_causes(&error);
        match error {
            EngineError::PromptTooLong { .. } => {
                Self { code: "context_length_exceeded", ..Self::invalid(Some("messages"), message) }
            }
            EngineError::Template(_) | EngineError::Tokenize(_) => {
                Self::invalid(Some("messages"), message)
            }
            EngineError::Busy { retry_after_s } => Self::busy(retry_after_s, message),
            EngineError::Open { .. }
            | EngineError::Load { .. }
            | EngineError::Unsupported { .. }
            | EngineError::Thread(_)
            | EngineError::Compute(_)
            | EngineError::Crashed => Self::internal(message),
        }
    }
}

impl From<Unavailable> for WireError {
    fn from(unavailable: Unavailable) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        match unavailable {
            // Of this kind, since asking again mends neither.
            Unavailable::Missing(reason) => {
                Self { kind: "model_not_found", ..Self::server(status, "model_missing", reason) }
            }
            Unavailable::Failed(reason) => {
                Self { kind: "model_not_found", ..Self::server(status, "model_failed", reason) }
            }
            Unavailable::NoRoom => Self::busy(
                5,
                "other models are at work and this one does not fit beside them".into(),
            ),
        }
    }
}

impl IntoResponse for WireError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

// === impl Head ===

impl Head {
    pub(super) fn completion(
        &self,
        text: &str,
        calls: &[Value],
        reason: FinishReason,
        usage: Usage,
    ) -> Value {
        let mut message =
            serde_json::json!({ "role": "assistant", "content": text, "refusal": null });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
            if text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        serde_json::json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": reason_name(reason, !calls.is_empty()),
            }],
            "usage": usage_json(usage),
        })
    }

    pub(super) fn chunk(&self, delta: &Value) -> Value {
        self.chunk_of(&serde_json::json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": null,
        }]))
    }

    pub(super) fn last_chunk(&self, reason: FinishReason, called: bool) -> Value {
        self.chunk_of(&serde_json::json!([{
            "index": 0, "delta": {}, "logprobs": null, "finish_reason": reason_name(reason, called),
        }]))
    }

    pub(super) fn usage_chunk(&self, usage: Usage) -> Value {
        let mut chunk = self.chunk_of(&Value::Array(Vec::new()));
        chunk["usage"] = usage_json(usage);
        chunk
    }

    fn chunk_of(&self, choices: &Value) -> Value {
        serde_json::json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "choices": choices,
        })
    }
}

// === private helpers ===

fn usage_json(usage: Usage) -> Value {
    serde_json::json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

fn reason_name(reason: FinishReason, called: bool) -> &'static str {
    match reason {
        FinishReason::Stop if called => "tool_calls",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}

fn max_tokens(asked: Option<u64>) -> Result<usize, WireError> {
    match asked {
        None => Ok(MAX_TOKENS_DEFAULT),
        Some(0) => {
            Err(WireError::invalid(Some("max_tokens"), "max_tokens must be at least 1".into()))
        }
        // The window of the model is the bound.
        Some(tokens) => Ok(usize::try_from(tokens).unwrap_or(usize::MAX)),
    }
}

fn within(
    number: Option<f64>,
    range: std::ops::RangeInclusive<f64>,
    param: &'static str,
    default: f64,
) -> Result<f64, WireError> {
    let number = number.unwrap_or(default);
    if range.contains(&number) {
        Ok(number)
    } else {
        let bounds = if *range.start() > 0.0 { "more than 0 and at most" } else { "from 0 to" };
        Err(WireError::invalid(Some(param), format!("{param} must be {bounds} {}", range.end())))
    }
}

fn stops(stop: Option<OneOrMany>) -> Result<Vec<String>, WireError> {
    let stops = match stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    let fits = |stop: &String| !stop.is_empty() && stop.len() <= STOP_BYTES_MAX;
    if stops.len() <= STOPS_MAX && stops.iter().all(fits) {
        Ok(stops)
    } else {
        let message = format!("stop takes up to {STOPS_MAX} texts of 1 to {STOP_BYTES_MAX} bytes");
        Err(WireError::invalid(Some("stop"), message))
    }
}

#[cfg(test)]
mod tests;
