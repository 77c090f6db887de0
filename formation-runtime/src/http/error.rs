//! Failures on their way to the caller: the only place of the API that knows which one is which.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use muxi_contract::ErrorCode;
use muxi_contract::envelope::ValidationError;
use muxi_memory::StoreError;
use muxi_vault::VaultError;
use serde_json::{Value, json};

use crate::conversation::{AcceptError, Failure, StartError};
use crate::keys::KeyClass;
use crate::secrets::{ReloadError, SecretError};

/// A failure that becomes an error envelope on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
    hint: Hint,
}

/// What a header tells besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    None,
    Challenge(KeyClass),
    RetryAfterSeconds(u32),
}

/// A path with a slash too many leads to the one without it, as it always did.
pub(crate) async fn no_route(uri: Uri) -> Response {
    match without_slash(&uri) {
        Some(target) => Redirect::temporary(&target).into_response(),
        None => Problem::no_route(&uri).into_response(),
    }
}

/// The router adds the Allow header.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{} does not take {method}; see the Allow header", uri.path());
    Problem::new(ErrorCode::MethodNotAllowed, message)
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, hint: Hint::None }
    }

    pub(crate) fn no_route(uri: &Uri) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("there is nothing at {}", uri.path()))
    }

    /// All faults of a request's fields at once.
    pub(crate) fn invalid(faults: &[ValidationError]) -> Self {
        let data = json!({"validation_errors": faults});
        let message = format!("Validation failed: {} error(s)", faults.len());
        Self { data: Some(data), ..Self::new(ErrorCode::ValidationError, message) }
    }

    pub(crate) fn not_built(what: &str) -> Self {
        let message = format!("{what} is documented but not built in this version");
        Self::new(ErrorCode::NotImplemented, message)
    }

    pub(crate) fn missing_key(class: KeyClass, header: &str) -> Self {
        Self::unauthorized(class, format!("a valid {class} key is required; send it as {header}"))
    }

    pub(crate) fn wrong_key(class: KeyClass, header: &str) -> Self {
        Self::unauthorized(class, format!("invalid {class} key in {header}"))
    }

    pub(crate) fn session_not_found(id: &str) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("session '{id}' was not found"))
    }

    pub(crate) fn agent_not_found(id: &str) -> Self {
        Self::new(ErrorCode::AgentNotFound, format!("agent '{id}' was not found"))
    }

    /// The caller still waited when somebody cancelled the request.
    pub(crate) fn cancelled(text: &str) -> Self {
        Self {
            data: Some(json!({"partial_content": text})),
            ..Self::new(ErrorCode::Cancelled, "the request was cancelled")
        }
    }

    pub(crate) fn request_not_found(id: &str) -> Self {
        Self::new(ErrorCode::RequestNotFound, format!("request '{id}' was not found"))
    }

    pub(crate) fn no_key() -> Self {
        let message = "provide either a client key as X-Muxi-Client-Key or an admin key as \
                       X-Muxi-Admin-Key";
        Self::unauthorized(KeyClass::Client, message.to_owned())
    }

    /// The formation is full, for a moment.
    pub(crate) fn busy(message: &str) -> Self {
        Self::new(ErrorCode::ServiceUnavailable, message).come_back(2)
    }

    fn unauthorized(class: KeyClass, message: String) -> Self {
        Self { hint: Hint::Challenge(class), ..Self::new(ErrorCode::Unauthorized, message) }
    }

    fn come_back(self, seconds: u32) -> Self {
        Self { hint: Hint::RetryAfterSeconds(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status());
        let mut response = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        match self.hint {
            Hint::None => {}
            Hint::Challenge(class) => {
                let challenge = match class {
                    KeyClass::Client => r#"MuxiKey header="X-Muxi-Client-Key""#,
                    KeyClass::Admin => r#"MuxiKey header="X-Muxi-Admin-Key""#,
                };
                let challenge = HeaderValue::from_static(challenge);
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Hint::RetryAfterSeconds(seconds) => {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = ?error, "the memory failed");
        match error {
            StoreError::Gone => {
                Self::new(ErrorCode::ServiceUnavailable, "the formation's memory has failed")
            }
            StoreError::Database(_) => Self::new(
                ErrorCode::InternalError,
                "the formation's memory refused; the log says why",
            ),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Start(error) => error.into(),
            AcceptError::Store(error) => error.into(),
        }
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        let code = match &error {
            SecretError::Exists(_) => ErrorCode::SecretExists,
            SecretError::NotFound(_) => ErrorCode::SecretNotFound,
            SecretError::InUse(_) => ErrorCode::SecretInUse,
            SecretError::OfBundle(_) => ErrorCode::OperationFailed,
            SecretError::Vault(VaultError::TooLarge { bytes_max, .. }) => {
                let message = format!("all secrets together may have {bytes_max} encrypted bytes");
                return Self::new(ErrorCode::PayloadTooLarge, message);
            }
            SecretError::Vault(fault) => {
                tracing::error!(error = ?fault, "the secrets failed");
                ErrorCode::SecretsError
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        tracing::error!(error = ?error, "the secrets could not be taken into use");
        Self::new(ErrorCode::SecretsReloadFailed, error.to_string())
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let seconds = match &error {
            StartError::IdInUse(_) => return Self::new(ErrorCode::Conflict, error.to_string()),
            StartError::SessionFull(_) | StartError::Full(_) | StartError::FilesFull => 2,
            StartError::Stopping => 1,
        };
        Self::new(ErrorCode::ServiceUnavailable, error.to_string()).come_back(seconds)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let problem = Self::new(failure.code(), failure.to_string());
        match failure {
            Failure::Model { retryable, .. } => {
                Self { data: Some(json!({"retryable": retryable})), ..problem }
            }
            Failure::Budget { seconds, .. } => problem.come_back(seconds),
            Failure::Stopping => problem.come_back(1),
            Failure::Memory { is_gone: true } => StoreError::Gone.into(),
            Failure::Memory { is_gone: false } | Failure::NothingHeard | Failure::Nobody => problem,
        }
    }
}

// === private helpers ===

/// Relative, so that it also holds behind a proxy that adds a prefix, and never leads to another host.
fn without_slash(uri: &Uri) -> Option<String> {
    let (_, last) = uri.path().strip_suffix('/')?.rsplit_once('/')?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    (!last.is_empty()).then(|| format!("../{last}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_is_gone_is_out_of_service_and_one_that_refuses_is_at_fault() {
        for (is_gone, status) in [(true, 503), (false, 500)] {
            let problem = Problem::from(Failure::Memory { is_gone });
            assert_eq!(problem.code.status(), status);
        }
    }

    #[test]
    fn a_slash_too_many_leads_beside_itself_only() {
        for (path, target) in [
            ("/v1/sessions/?limit=1", Some("../sessions?limit=1")),
            ("/health/", Some("../health")),
            ("//evil.example/", Some("../evil.example")),
            ("/v1/nothing", None),
            ("/v1//", None),
            ("//", None),
            ("/", None),
        ] {
            assert_eq!(without_slash(&path.parse().unwrap()).as_deref(), target, "{path}");
        }
    }
}
