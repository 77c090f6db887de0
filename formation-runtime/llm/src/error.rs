//! What can go wrong with a model call, and what of it is worth another try.

use std::error::Error as StdError;
use std::time::Duration;

/// A failed model call. `Display` is safe to log and to show to the formation's owner.
#[derive(Debug, thiserror::Error)]
#[error("model `{}`: {message}", self.full_name())]
pub struct LlmError {
    pub kind: LlmErrorKind,
    pub provider: String,
    pub model: String,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlmErrorKind {
    /// No connection, or it broke before the provider answered.
    Unreachable,
    /// No response head, or no byte of the answer, within the deadline.
    Timeout,
    /// The key is missing, wrong or not allowed to use this model.
    Auth,
    RateLimited {
        retry_after: Option<Duration>,
    },
    /// The account has no credit left; waiting does not mend it.
    QuotaExceeded,
    BadRequest,
    ModelNotFound,
    /// The provider's policy refused the request.
    Refused,
    /// The provider failed on its side; 529 stands for "overloaded" reported inside a stream.
    ServerError {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The connection broke in the middle of an answer.
    Interrupted,
    /// The answer ended without the wire's closing mark.
    CutOff,
    /// The provider said something the wire does not allow.
    Protocol,
}

/// A provider that cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "the provider `{provider}` is not known by name; set llm.base_urls.{provider} to its OpenAI-compatible base URL"
    )]
    UnknownProvider { provider: String },
    #[error("the provider `{provider}` needs a key; set llm.api_keys.{provider}")]
    MissingKey { provider: String },
    #[error("the key for the provider `{provider}` holds characters that no HTTP header may carry")]
    InvalidKey { provider: String },
    #[error("the base URL of the provider `{provider}` is not an http or https URL")]
    InvalidBaseUrl { provider: String },
}

// === impl LlmError ===

impl LlmError {
    /// Local models carry their provider in their name already.
    fn full_name(&self) -> String {
        let Self { provider, model, .. } = self;
        let prefixed = model.strip_prefix(provider.as_str()).is_some_and(|it| it.starts_with('/'));
        if prefixed { model.clone() } else { format!("{provider}/{model}") }
    }

    /// Whether a model was offered tools and takes none; the same request without them may succeed.
    pub fn is_about_tools(&self) -> bool {
        self.message.contains(crate::wire::TAKES_NO_TOOLS)
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

// === impl LlmErrorKind ===

impl LlmErrorKind {
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::RateLimited { .. }
            | Self::ServerError { .. }
            | Self::Interrupted
            | Self::CutOff => true,
            Self::Auth
            | Self::QuotaExceeded
            | Self::BadRequest
            | Self::ModelNotFound
            | Self::Refused
            | Self::Protocol => false,
        }
    }

    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::ServerError { retry_after, .. } => {
                retry_after
            }
            Self::Unreachable
            | Self::Timeout
            | Self::Auth
            | Self::QuotaExceeded
            | Self::BadRequest
            | Self::ModelNotFound
            | Self::Refused
            | Self::Interrupted
            | Self::CutOff
            | Self::Protocol => None,
        }
    }
}
