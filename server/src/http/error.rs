//! From use-case errors to answers: the one place of the manager that picks statuses and words.

use std::time::Duration;

use axum::extract::Request;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muxi_contract::RequestId;
use muxi_contract::management::{Failed, Problem, ProblemKind};

use crate::acts::{ActError, DeployError};
use crate::auth::calls::CallRefusal;
use crate::auth::keys::KeyError;
use crate::bundles::{PrepareError, ReceiveError};
use crate::disk::{self, DiskLow};
use crate::download::DownloadError;
use crate::logs::ReadError;
use crate::ports::LeaseError;
use crate::store::StoreError;
use crate::webhooks::WebhookError;

/// A failure on its way out; its body is written by [`render`].
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: ProblemKind,
    pub(crate) message: String,
    pub(crate) details: Vec<String>,
}

/// Writes the bodies of failures, which need the request's id.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default();
    rendered(next.run(request).await, &id)
}

/// The answer with its body; which failure it was stays with it.
pub(super) fn rendered(mut response: Response, request_id: &str) -> Response {
    let Some(failure) = response.extensions_mut().remove::<Failure>() else { return response };
    let kind = failure.kind;
    let problem =
        Problem { details: failure.details, ..Problem::new(kind, failure.message, request_id) };
    let mut rendered = (response.status(), axum::Json(problem)).into_response();
    // What the failure said in headers stays said.
    for name in [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::CONNECTION] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    *rendered.extensions_mut() = std::mem::take(response.extensions_mut());
    rendered.extensions_mut().insert(kind);
    rendered
}

pub(super) async fn not_found() -> Failure {
    Failure::new(ProblemKind::NotFound, "Endpoint not found")
}

pub(super) async fn method_not_allowed(request: Request) -> Failure {
    let message = format!("{} is not served on this path", request.method());
    Failure::new(ProblemKind::MethodNotAllowed, message)
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new() }
    }

    /// A failure with the wait that its answer asks for, rounded up to whole seconds.
    pub(super) fn later(kind: ProblemKind, message: impl Into<String>, wait: Duration) -> Response {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        let mut response = Self::new(kind, message).into_response();
        if let Ok(value) = HeaderValue::from_str(&format!("{seconds:.0}")) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }

    pub(super) fn unknown_formation() -> Self {
        Self::new(ProblemKind::NotFound, "Formation not found")
    }

    /// A query that is not understood.
    pub(super) fn query(rejected: &QueryRejection) -> Self {
        Self::new(ProblemKind::ValidationError, rejected.body_text())
    }

    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::new(ProblemKind::InternalError, "The manager failed; its log says why")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status());
        let mut response = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        if self.kind == ProblemKind::Unauthorized {
            let scheme = HeaderValue::from_static("MUXI-HMAC");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self { kind: failed.error, message: failed.message, details: failed.details }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::UnknownFormation(_) => Self::unknown_formation(),
            StoreError::FormationExists(id) => Self::new(
                ProblemKind::FormationExists,
                format!("Formation '{id}' already exists. Use PUT to update."),
            ),
            StoreError::Busy { kind, .. } if kind == "update" => {
                Self::new(ProblemKind::Conflict, "Formation is already being updated")
            }
            StoreError::Busy { kind, .. } => Self::new(
                ProblemKind::Conflict,
                format!(
                    "Another operation ({kind}) is under way on this formation; try again when it is done"
                ),
            ),
            StoreError::DiskFull => Self::new(
                ProblemKind::InsufficientStorage,
                "The disk of the manager is full; free space and try again",
            ),
            StoreError::PortLeased(_) => Self::new(
                ProblemKind::Conflict,
                "Another deploy took the same port at the same moment; try again",
            ),
            StoreError::Sqlite(_)
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::Unreadable(_)
            | StoreError::Copy { .. }
            | StoreError::Closed => Self::internal(&error),
        }
    }
}

impl From<DiskLow> for Failure {
    fn from(DiskLow { free_bytes, min_bytes }: DiskLow) -> Self {
        Self::new(
            ProblemKind::InsufficientStorage,
            format!(
                "The disk of the manager has {free_bytes} bytes free, and new uploads are taken \
                 with {min_bytes} or more (limits.disk_free_min_bytes); free space, for example by \
                 deleting a formation, and try again"
            ),
        )
    }
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Unknown(_) | WebhookError::UnknownDelivery(_) => {
                Self::new(ProblemKind::NotFound, error.to_string())
            }
            WebhookError::Store(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match &error {
            ReceiveError::TooLarge { bytes_max } => Self::new(
                ProblemKind::BundleTooLarge,
                format!(
                    "The bundle is larger than {bytes_max} bytes; leave out what is not needed, or raise limits.bundle_bytes"
                ),
            ),
            ReceiveError::Idle(_) | ReceiveError::Slow(_) | ReceiveError::Broken(_) => Self::new(
                ProblemKind::UploadTimeout,
                format!("The upload did not arrive whole: {error}; send it again"),
            ),
            ReceiveError::Store(source) => Self::storage(source, &error),
        }
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Prepare(error) => error.into(),
            DeployError::OtherId { .. } | DeployError::OtherVersion { .. } => {
                Self::new(ProblemKind::IdentityMismatch, error.to_string())
            }
            DeployError::OtherGeneration { .. } => {
                Self::new(ProblemKind::PreconditionFailed, error.to_string())
            }
            DeployError::NoChange => Self::new(ProblemKind::NoChange, error.to_string()),
            DeployError::TooMany(_) | DeployError::Lease(LeaseError::NoFreePort(..)) => {
                let message = format!("Failed to allocate port: {error}");
                Self::new(ProblemKind::NoFreePort, message)
            }
            DeployError::Lease(LeaseError::Bind { .. }) => Self::internal(&error),
            DeployError::Place(ref source) => Self::storage(source, &error),
            DeployError::Store(error) => error.into(),
        }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Unpack(muxi_formation::UnpackError::Write { ref source, .. }) => {
                Self::storage(source, &error)
            }
            PrepareError::Unpack(error) => {
                Self::new(ProblemKind::BundleRejected, format!("Failed to extract bundle: {error}"))
            }
            PrepareError::Faults(faults) => {
                let (errors, remarks): (Vec<_>, Vec<_>) =
                    faults.iter().partition(|it| it.is_error());
                let message = match errors.as_slice() {
                    [only] => format!("The bundle has a fault: {only}"),
                    many => format!("The bundle has {} faults; see details", many.len()),
                };
                // Faults first; what stands in nobody's way is told as such.
                let remarks = remarks.into_iter().map(|it| format!("warning: {it}"));
                let details = errors.iter().map(ToString::to_string).chain(remarks).collect();
                Self { kind: ProblemKind::BundleInvalid, message, details }
            }
            PrepareError::Store(ref source) => Self::storage(source, &error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::internal(&error)
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        match &error {
            DownloadError::NoGeneration(_) => {
                Self::new(ProblemKind::NotFound, format!("Formation files not found: {error}"))
            }
            DownloadError::Read { source, .. } => Self::storage(source, &error),
            DownloadError::Database(source)
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                StoreError::DiskFull.into()
            }
            DownloadError::Database(_) | DownloadError::DatabaseBusy(_) => Self::internal(&error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::NoMasterKey | KeyError::Random(_) => Self::internal(&error),
            KeyError::Unknown(_) => Self::new(ProblemKind::NotFound, error.to_string()),
            KeyError::Label => Self::new(ProblemKind::ValidationError, error.to_string()),
            KeyError::Configured(_)
            | KeyError::LastAdmin(_)
            | KeyError::Revoked(_)
            | KeyError::TooMany => Self::new(ProblemKind::Conflict, error.to_string()),
        }
    }
}

impl From<CallRefusal> for Failure {
    fn from(refusal: CallRefusal) -> Self {
        let kind = match refusal {
            CallRefusal::UsedSignature => ProblemKind::Unauthorized,
            CallRefusal::OtherCall | CallRefusal::Unknown | CallRefusal::NotKept(_) => {
                ProblemKind::Conflict
            }
            CallRefusal::TooMany => ProblemKind::TooManyRequests,
            CallRefusal::DiskFull => ProblemKind::InsufficientStorage,
            CallRefusal::Failed => ProblemKind::InternalError,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        match error {
            ActError::AlreadyRunning | ActError::AlreadyStopped => {
                Self::new(ProblemKind::Conflict, error.to_string())
            }
            ActError::NoPrevious => Self::new(ProblemKind::NoPreviousVersion, error.to_string()),
            ActError::NoChange(_) => Self::new(ProblemKind::NoChange, error.to_string()),
            ActError::UnknownGeneration { .. } => {
                Self::new(ProblemKind::NotFound, error.to_string())
            }
            ActError::NoUpdate => Self::new(ProblemKind::NoUpdateInProgress, error.to_string()),
            ActError::OtherGeneration { .. } => {
                Self::new(ProblemKind::PreconditionFailed, error.to_string())
            }
            ActError::Store(error) => error.into(),
        }
    }
}

impl Failure {
    fn storage(source: &std::io::Error, error: &(dyn std::error::Error + 'static)) -> Self {
        if disk::is_full(source) { StoreError::DiskFull.into() } else { Self::internal(error) }
    }
}
