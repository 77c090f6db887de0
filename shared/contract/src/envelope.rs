//! The one object in which a formation answers, and the codes of its errors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::RequestId;

/// Every JSON answer of the formation API except health, with its fields in the documented order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// What `data` is, such as `chat_response`; `error` on failure.
    pub object: String,
    /// When the answer was made, in Unix milliseconds.
    pub timestamp: i64,
    /// What happened, such as `chat.completed` or `error.validation`.
    #[serde(rename = "type")]
    pub kind: String,
    pub request: RequestRef,
    pub success: bool,
    pub error: Option<ErrorBody>,
    /// `{}` on failure.
    pub data: T,
}

/// Which request an envelope answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestRef {
    pub id: RequestId,
    pub idempotency_key: Option<String>,
}

/// The `error` object of an envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: String,
    /// More than one fault, or where the fault is; null when there is nothing to add.
    pub data: Option<serde_json::Value>,
}

/// One fault of a request's body or query (`error.data.validation_errors`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidationError {
    /// Dotted path: `files.0.content`, `query.limit`; empty for the body as a whole.
    pub field: String,
    pub message: String,
    /// `missing`, `wrong_type`, `too_long`, `invalid_format`, `invalid` …
    #[serde(rename = "type")]
    pub kind: String,
}

/// The stable name of a formation's failure; status and `type` follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The body is not JSON.
    ParseError,
    /// The request is JSON but lacks or breaks fields; all of them are listed.
    ValidationError,
    /// The request as a whole cannot be served, for example for want of a header.
    InvalidRequest,
    /// A parameter of the query is missing or cannot be read.
    InvalidParameter,
    /// No key, or the wrong one for this route.
    Unauthorized,
    /// The key is right but the thing is another user's.
    Forbidden,
    AgentNotFound,
    McpServerNotFound,
    SecretNotFound,
    ResourceNotFound,
    RequestNotFound,
    TriggerNotFound,
    SopNotFound,
    NotFound,
    /// The thing is there, but not in a state in which this can be done to it.
    OperationFailed,
    MethodNotAllowed,
    /// The body is larger than the formation takes.
    PayloadTooLarge,
    /// The same idempotency key came with another body.
    Conflict,
    /// Somebody or something else has the name already.
    DuplicateResource,
    /// A secret of this name is there already.
    SecretExists,
    /// The bundle refers to the secret.
    SecretInUse,
    /// The request is right, but the formation's manifest stands against it.
    UnprocessableEntity,
    /// What the formation or the user may spend on models is spent.
    BudgetExceeded,
    /// Somebody cancelled the request while its caller waited.
    Cancelled,
    /// The model provider failed or could not be reached.
    LlmError,
    /// The caller's or the formation's time limit ran out.
    Timeout,
    /// The formation is starting, stopping or full.
    ServiceUnavailable,
    /// Documented, but not built in this version.
    NotImplemented,
    /// The file of the secrets could not be read or written.
    SecretsError,
    /// The secrets could not be taken into use.
    SecretsReloadFailed,
    InternalError,
}

/// An envelope of a failure, as documents describe it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    #[schema(example = "error")]
    pub object: String,
    /// When the answer was made, in Unix milliseconds.
    pub timestamp: i64,
    /// The kind of failure; it follows from the code.
    #[serde(rename = "type")]
    #[schema(example = "error.validation")]
    pub kind: String,
    pub request: RequestRef,
    pub success: bool,
    pub error: ErrorBody,
    /// Always `{}`.
    #[schema(value_type = Object)]
    pub data: serde_json::Map<String, serde_json::Value>,
}

// === impl ErrorCode ===

impl ErrorCode {
    /// As it stands in answers.
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok().and_then(|it| it.as_str().map(str::to_owned));
        name.unwrap_or_default()
    }

    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::ParseError
            | Self::InvalidRequest
            | Self::InvalidParameter
            | Self::OperationFailed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::AgentNotFound
            | Self::McpServerNotFound
            | Self::SecretNotFound
            | Self::ResourceNotFound
            | Self::RequestNotFound
            | Self::TriggerNotFound
            | Self::SopNotFound
            | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict | Self::DuplicateResource | Self::SecretExists | Self::SecretInUse => {
                409
            }
            Self::PayloadTooLarge => 413,
            Self::ValidationError | Self::UnprocessableEntity => 422,
            Self::BudgetExceeded => 429,
            Self::Cancelled => 499,
            Self::SecretsError | Self::SecretsReloadFailed | Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::LlmError => 502,
            Self::ServiceUnavailable => 503,
        }
    }

    /// The envelope's `type`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ParseError
            | Self::ValidationError
            | Self::UnprocessableEntity
            | Self::InvalidRequest
            | Self::InvalidParameter
            | Self::OperationFailed
            | Self::PayloadTooLarge
            | Self::MethodNotAllowed => "error.validation",
            Self::Unauthorized => "error.authentication",
            Self::Forbidden => "error.authorization",
            Self::AgentNotFound
            | Self::McpServerNotFound
            | Self::SecretNotFound
            | Self::ResourceNotFound
            | Self::RequestNotFound
            | Self::TriggerNotFound
            | Self::SopNotFound
            | Self::NotFound => "error.not_found",
            Self::Conflict | Self::DuplicateResource | Self::SecretExists | Self::SecretInUse => {
                "error.conflict"
            }
            Self::BudgetExceeded => "error.rate_limit",
            Self::LlmError | Self::Timeout | Self::Cancelled => "error.processing",
            Self::ServiceUnavailable => "error.unavailable",
            Self::NotImplemented => "error.not_implemented",
            Self::SecretsError | Self::SecretsReloadFailed | Self::InternalError => {
                "error.internal"
            }
        }
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = serde_json::Error;

    /// Reads what [`ErrorCode::name`] gave.
    fn from_str(name: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_value(name.into())
    }
}

// === impl Envelope ===

impl<T> Envelope<T> {
    /// A success.
    pub fn success(object: &str, kind: &str, request: RequestRef, timestamp: i64, data: T) -> Self {
        Self {
            object: object.to_owned(),
            timestamp,
            kind: kind.to_owned(),
            request,
            success: true,
            error: None,
            data,
        }
    }
}

impl Envelope<serde_json::Map<String, serde_json::Value>> {
    /// A failure; `data` is the empty object.
    pub fn failure(error: ErrorBody, request: RequestRef, timestamp: i64) -> Self {
        Self {
            object: "error".to_owned(),
            timestamp,
            kind: error.code.kind().to_owned(),
            request,
            success: false,
            error: Some(error),
            data: serde_json::Map::new(),
        }
    }
}
