//! The management API: envelopes, errors, progress and the shapes of its answers.

use serde::{Deserialize, Serialize};

use crate::ids::FormationId;

/// `{"success": true, "data": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Success<T> {
    pub success: bool,
    pub data: T,
}

/// The body of every failed management call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    pub success: bool,
    /// A stable name; see [`ProblemKind`].
    pub error: ProblemKind,
    pub message: String,
    /// The HTTP status.
    pub code: u16,
    pub request_id: String,
    /// Every fault, where there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// The stable names of management failures, which are also the codes of SSE `error` frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProblemKind {
    /// The signature is missing, malformed, expired or wrong.
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    /// The request itself is wrong: a header, a query, a content type.
    ValidationError,
    /// The archive cannot be unpacked safely.
    BundleRejected,
    /// The archive unpacks, but its manifest or files have faults; `details` lists them.
    BundleInvalid,
    /// The upload passes the size limit.
    BundleTooLarge,
    /// The upload came slower than the limit, or its sender left.
    UploadTimeout,
    /// The header's id or version is not the manifest's.
    IdentityMismatch,
    /// The id is taken.
    FormationExists,
    /// What was asked does not fit the formation's state.
    Conflict,
    /// Every port of the range is leased or taken.
    NoFreePort,
    /// The new instance did not become healthy; the message has the end of its log.
    HealthCheckFailed,
    /// The instance could not be started at all.
    SpawnError,
    /// The manager stopped before the operation was finished.
    Interrupted,
    /// The disk refused to take what had to be stored.
    InsufficientStorage,
    /// The manager is stopping.
    ShuttingDown,
    /// Documented, but not built in this version.
    NotImplemented,
    InternalError,
}

/// `data` of a progress frame. Absent fields are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

/// The documented stages of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Extracting,
    Validating,
    ResolvingRuntime,
    Stopping,
    Spawning,
    HealthCheck,
}

/// `data` of an SSE `complete` frame, and of the JSON answer to a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    pub formation_id: FormationId,
    pub port: u16,
    pub status: String,
    pub url: String,
    pub health_url: String,
    pub pid: u32,
    pub restart_count: u32,
}

/// `data` of an SSE `error` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub error: ProblemKind,
    pub message: String,
    pub stage: Stage,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// What a client sees of a formation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormationStatus {
    Starting,
    Running,
    Stopping,
    Stopped,
    /// Down, and waiting for the next try.
    Crashed,
    /// Down after too many tries; only an operator starts it again.
    CrashLoop,
}

/// One formation, in the list and alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormationView {
    pub id: FormationId,
    pub name: String,
    pub status: FormationStatus,
    pub port: u16,
    /// 0 while no process runs.
    pub pid: u32,
    /// Seconds since the running process became healthy; 0 unless running.
    pub uptime: u64,
    pub restart_count: u32,
    /// Null while starting or stopped.
    pub healthy: Option<bool>,
    pub created_at: String,
    pub deployed_at: String,
    pub updated_at: String,
    pub version: VersionView,
    /// Why it is down, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which bundle a formation serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// SHA-256 of the uploaded bundle.
    pub current: String,
    /// The manifest's version.
    pub semantic: String,
    pub generation: u64,
}

/// Which configuration is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// When the configuration in effect was read.
    pub loaded_at: String,
    /// How often it was read again since the start, refused times included.
    pub reloads: u32,
    /// False when the last reload had faults and therefore changed nothing.
    pub last_reload_ok: bool,
    /// Keys that nothing reads, and changes that wait for a restart.
    pub warnings: Vec<String>,
}

// === impl Problem ===

impl Problem {
    pub fn new(error: ProblemKind, message: impl Into<String>, request_id: &str) -> Self {
        Self {
            success: false,
            error,
            message: message.into(),
            code: error.status(),
            request_id: request_id.to_owned(),
            details: Vec::new(),
        }
    }
}

// === impl ProblemKind ===

impl ProblemKind {
    /// The HTTP status that goes with the name.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError
            | Self::BundleRejected
            | Self::BundleInvalid
            | Self::IdentityMismatch
            | Self::HealthCheckFailed => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UploadTimeout => 408,
            Self::FormationExists | Self::Conflict => 409,
            Self::BundleTooLarge => 413,
            Self::InternalError | Self::SpawnError | Self::Interrupted => 500,
            Self::NotImplemented => 501,
            Self::NoFreePort | Self::ShuttingDown => 503,
            Self::InsufficientStorage => 507,
        }
    }
}

// === impl FormationStatus ===

impl FormationStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::CrashLoop => "crash_loop",
        }
    }
}
