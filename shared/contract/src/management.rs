//! The management API: envelopes, errors, progress and the shapes of its answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::confinement::{LimitsView, SandboxView};
use crate::ids::FormationId;

/// `{"success": true, "data": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Success<T> {
    pub success: bool,
    pub data: T,
}

/// The body of every failed management call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum ProblemKind {
    /// The signature is missing, malformed, expired or wrong.
    Unauthorized,
    /// The key's role does not allow it; the message names the role that does.
    Forbidden,
    /// Too many failed attempts, or more calls than are kept track of; `Retry-After` says when.
    TooManyRequests,
    NotFound,
    MethodNotAllowed,
    /// The request itself is wrong: a header, a query, a content type.
    ValidationError,
    /// The JSON of a deploy or an update has faults; `details` lists them.
    InvalidPayload,
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
    /// The bundle is the one that the formation serves already.
    NoChange,
    /// There is no generation to roll back to.
    NoPreviousVersion,
    /// No update or rollback is under way.
    NoUpdateInProgress,
    /// The formation is not at the generation that the caller expected.
    PreconditionFailed,
    /// The operator cancelled the operation.
    Cancelled,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub stage: Stage,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The operation that these steps are stored under; in its first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

/// The documented stages of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Extracting,
    Validating,
    ResolvingRuntime,
    Stopping,
    Spawning,
    SpawningStaging,
    SpawningPrevious,
    HealthCheck,
    Swapping,
    StoppingOld,
    StoppingCurrent,
}

/// `data` of an SSE `complete` frame, and of the JSON answer to a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Completed {
    pub formation_id: FormationId,
    pub port: u16,
    pub status: String,
    pub url: String,
    pub health_url: String,
    pub pid: u32,
    pub restart_count: u32,
    /// The operation that came to its end.
    pub operation_id: String,
    /// The generation that was left, of an update or a rollback; text, as clients read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
    /// The generation that serves now, of an update or a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_version: Option<String>,
}

/// `data` of an SSE `error` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failed {
    pub error: ProblemKind,
    pub message: String,
    pub stage: Stage,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Progress {
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self {
            stage,
            message: message.into(),
            version: None,
            attempt: None,
            max_attempts: None,
            operation_id: None,
        }
    }
}

/// What a client sees of a formation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The generations that can be rolled back to, newest first; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<GenerationView>,
    /// While an instance is being replaced by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// Why it is down, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only alone, not in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsView>,
    /// Only alone, and while an instance runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxView>,
}

/// Which bundle a formation serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// SHA-256 of the uploaded bundle.
    pub current: String,
    /// SHA-256 of the bundle that served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The manifest's version.
    pub semantic: String,
    pub generation: u64,
}

/// Which configuration is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// One deployed bundle of a formation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GenerationView {
    pub generation: u64,
    pub role: GenerationRole,
    pub version: String,
    pub bundle_sha256: String,
    pub created_at: String,
}

/// What a generation is to its formation now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GenerationRole {
    /// It serves, or should.
    Current,
    /// It is being rolled out and may still go back.
    OnTrial,
    /// What a rollback without a number returns to.
    Previous,
    Kept,
}

/// How far the replacement of an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    pub phase: RolloutPhase,
    /// The generation whose instance is new.
    pub to_generation: u64,
    /// The generation that serves, or stands by; absent when there is none to go back to at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_generation: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutPhase {
    /// The new instance is not healthy yet; the old one serves.
    Starting,
    /// The new instance serves and is watched; the old one stands by.
    OnTrial,
}

/// `GET /rpc/operations/{id}`: one act of an operator, under way or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    pub id: String,
    /// `deploy`, `update`, `rollback`, `start`, `stop`, `restart` or `delete`.
    pub kind: String,
    pub formation_id: FormationId,
    /// Whether it is about the draft that runs beside the formation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    pub state: OperationState,
    pub started_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Every step so far; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<OperationEventView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    Running,
    Succeeded,
    Failed,
}

/// `GET /rpc/operations`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationList {
    pub operations: Vec<OperationView>,
}

/// One stored step, as the stream of the operation sends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationEventView {
    pub seq: u64,
    /// `progress`, `complete` or `error`.
    pub event: String,
    pub data: serde_json::Value,
}

/// `data` of the answer to an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Updated {
    pub id: FormationId,
    pub status: String,
    /// The generation that serves now.
    pub version: u64,
    pub previous_version: u64,
    pub port: u16,
    pub pid: u32,
    pub message: String,
    /// Absent in the answer to a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_type: Option<String>,
}

/// `POST …/cancel-update`, which has no envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateCancelled {
    pub message: String,
    pub formation_id: FormationId,
    /// The formation's own port: a new generation needs none of its own.
    pub staging_port: u16,
    pub current_port: u16,
    pub status: String,
}

/// The body of a rollback; without one, the previous generation is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RollbackRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
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
            | Self::NoPreviousVersion
            | Self::NoUpdateInProgress
            | Self::HealthCheckFailed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UploadTimeout => 408,
            Self::FormationExists | Self::Conflict | Self::NoChange | Self::Cancelled => 409,
            Self::PreconditionFailed => 412,
            Self::BundleTooLarge => 413,
            Self::InvalidPayload => 422,
            Self::TooManyRequests => 429,
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
