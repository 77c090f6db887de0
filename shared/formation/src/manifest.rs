//! A checked manifest, typed. Only what this version reads has a field here.
//!
//! Invariant: keys are [`SecretString`]s, so that no log and no `Debug` shows them.

mod a2a;
mod agent;
mod approvals;
mod artifacts;
mod blocks;
mod llm;
pub mod logging;
mod mcp;
mod overlord;
mod retention;

use std::collections::BTreeMap;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use muxi_contract::FormationId;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

pub(crate) use self::a2a::RemoteAgentFields;
pub use self::a2a::{
    A2a, A2aInbound, A2aOutbound, ApiKey, Basic, Bearer, ClientCredentials, CustomHeaders, Hmac,
    InboundAuth, OpenId, OutboundAuth, RemoteAgent,
};
pub use self::agent::{
    Agent, AgentA2a, AgentTimeout, Attachment, Selection, Specialization, SystemBehavior,
};
pub use self::approvals::{ApprovalAction, ApprovalRule, Approvals, TaintedAction};
pub use self::artifacts::{
    ArtifactEncryption, ArtifactRetention, ArtifactStorage, Artifacts, RetentionPolicy,
};
pub use self::blocks::{Link, Runtime, Skills, UserCredentials};
pub use self::llm::{
    Capability, ChosenModel, ImageSettings, InvalidModelName, Llm, Model, ModelName, ModelSettings,
    Models,
};
pub(crate) use self::mcp::McpServerFields;
pub use self::mcp::{Mcp, McpAuth, McpServer, McpTransport, Scalar, Watch};
pub use self::overlord::{
    Clarification, ClarificationRounds, ClarificationStyle, ComplexityMethod, ComplexityWeights,
    ErrorRecovery, Overlord, OverlordLlm, OverlordRole, PlanApproval, Replanning, Response,
    ResponseFormat, RoutingCache, RoutingStrategy, Workflow, WorkflowRetry, WorkflowTimeouts,
};
pub use self::retention::MemoryRetention;
use logging::Logging;

/// `formation.afs` without its agents and its soul.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub id: FormationId,
    pub description: String,
    /// This and `author` to `repository` are for people: shown, and without effect.
    pub name: Option<String>,
    #[serde(default = "default_version")]
    pub version: String,
    pub author: Option<String>,
    pub url: Option<String>,
    pub license: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub repository: Option<String>,
    #[serde(default)]
    pub server: Server,
    #[serde(default)]
    pub llm: Llm,
    #[serde(default)]
    pub memory: Memory,
    #[serde(default)]
    pub scheduler: Scheduler,
    #[serde(default)]
    pub overlord: Overlord,
    #[serde(default)]
    pub mcp: Mcp,
    #[serde(default)]
    pub a2a: A2a,
    #[serde(default)]
    pub approvals: Approvals,
    #[serde(default)]
    pub runtime: Runtime,
    #[serde(default)]
    pub skills: Skills,
    /// By the service whose credentials are entrusted there; `credential_portal` is for all others.
    #[serde(default)]
    pub links: BTreeMap<String, Link>,
    #[serde(default)]
    pub user_credentials: UserCredentials,
    #[serde(default)]
    pub input_limits: InputLimits,
    /// How those who do not wait are told.
    #[serde(default, rename = "async")]
    pub asynchronous: Asynchronous,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default)]
    pub logging: Logging,
    #[serde(default)]
    pub artifacts: Artifacts,
    #[serde(default)]
    pub limits: Limits,
}

/// Used when the runtime listens by itself; a manager hands it a socket instead.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub access_log: bool,
    pub api_keys: ServerKeys,
}

/// Absent keys are made by the runtime.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServerKeys {
    #[serde(deserialize_with = "secret")]
    pub admin_key: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    pub client_key: Option<SecretString>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub buffer: Buffer,
    pub persistent: Persistent,
    pub retention: MemoryRetention,
}

/// `size` messages go into a prompt. A memory without a disk keeps `size × multiplier` of a session;
/// one with a disk keeps all of them, so that the multiplier is for the former only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Buffer {
    pub size: u32,
    pub multiplier: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(from = "PersistentFields")]
pub enum Persistent {
    Off,
    /// A file below the formation's data folder.
    Sqlite {
        file: Utf8PathBuf,
    },
    /// A server that several machines may share; the address holds a password.
    Postgres {
        url: SecretString,
    },
}

/// Jobs: what is asked at times that were set before. A manifest that has the block wants them, unless
/// it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Of jobs that name none.
    pub timezone: String,
    /// How soon a job is seen that another process made; this one's own are begun to the second.
    pub check_interval_minutes: u32,
    pub max_concurrent_jobs: u32,
    /// In a row.
    pub max_failures_before_pause: u32,
    /// Of those that may still run.
    pub max_jobs_per_user: u32,
    pub missed_runs: MissedRuns,
    /// `HH:MM`, for a job that names a day only.
    pub default_time: String,
}

/// What becomes of recurring runs whose times passed while nobody could begin them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedRuns {
    /// All of them together are one run, as soon as that is possible.
    Once,
    /// They are left out.
    Skip,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct InputLimits {
    /// In characters.
    pub max_message_length: usize,
    /// In characters.
    pub max_memory_entry_size: usize,
    pub max_batch_items: usize,
    pub max_memories_per_user: u32,
    /// Of one file, and of all files of one message together.
    pub max_file_size_bytes: usize,
    /// In bytes, of what one call of a tool gives back; the rest is cut off.
    pub max_tool_output_size: usize,
}

/// What model calls cost, and what they may cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub currency: String,
    pub prices: BTreeMap<ModelName, Price>,
    pub budgets: Budgets,
}

/// Of a million tokens, in the currency.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Price {
    pub input: f64,
    pub output: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Budgets {
    /// Of all users together.
    pub formation: Option<Budget>,
    /// Of each user.
    pub user: Option<Budget>,
}

/// What may be used up in one hour, day or month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Budget {
    pub per: Period,
    pub tokens: Option<u64>,
    pub money: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Hour,
    Day,
    Month,
}

/// `async`: what becomes of requests whose callers do not wait.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Asynchronous {
    /// A message whose answer is expected to take at least so long is answered later.
    pub threshold_seconds: f64,
    /// Whether times are estimated at all.
    pub enable_estimation: bool,
    /// Told of every asynchronous request that names no address of its own.
    pub webhook_url: Option<String>,
    /// Further attempts after the first.
    pub webhook_retries: u32,
    /// Seconds that one attempt may take.
    pub webhook_timeout: u32,
    /// Whether clients may name addresses that are not public.
    pub webhook_allow_private: bool,
}

/// What the formation itself wants to stay below. Only the operator can allow more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    #[serde(rename = "memory")]
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<u64>,
    pub open_files: Option<u64>,
    pub processes: Option<u64>,
    #[serde(rename = "disk")]
    pub disk_bytes: Option<u64>,
}

// === impl Server ===

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".to_owned(),
            port: 8271,
            access_log: false,
            api_keys: ServerKeys::default(),
        }
    }
}

// === impl Buffer ===

impl Default for Buffer {
    fn default() -> Self {
        Self { size: 10, multiplier: 10 }
    }
}

// === impl Persistent ===

impl Default for Persistent {
    fn default() -> Self {
        PersistentFields::default().into()
    }
}

impl From<PersistentFields> for Persistent {
    fn from(fields: PersistentFields) -> Self {
        match (fields.enabled, fields.server) {
            (false, _) => Self::Off,
            (true, Some(url)) => Self::Postgres { url },
            (true, None) => Self::Sqlite { file: fields.file },
        }
    }
}

// === impl Usage ===

impl Default for Usage {
    fn default() -> Self {
        Self { currency: "USD".to_owned(), prices: BTreeMap::new(), budgets: Budgets::default() }
    }
}

// === impl Period ===

impl Period {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

// === impl Asynchronous ===

impl Default for Asynchronous {
    fn default() -> Self {
        Self {
            threshold_seconds: 30.0,
            enable_estimation: true,
            webhook_url: None,
            webhook_retries: 3,
            webhook_timeout: 10,
            webhook_allow_private: false,
        }
    }
}

// === impl Scheduler ===

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            enabled: false,
            timezone: "UTC".to_owned(),
            check_interval_minutes: 1,
            max_concurrent_jobs: 10,
            max_failures_before_pause: 3,
            max_jobs_per_user: 100,
            missed_runs: MissedRuns::Once,
            default_time: "09:00".to_owned(),
        }
    }
}

// === impl MissedRuns ===

impl MissedRuns {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
        }
    }
}

// === impl InputLimits ===

impl Default for InputLimits {
    fn default() -> Self {
        Self {
            max_message_length: 100_000,
            max_memory_entry_size: 10_000,
            max_batch_items: 100,
            max_memories_per_user: 10_000,
            max_file_size_bytes: 50 * MIB,
            max_tool_output_size: MIB,
        }
    }
}

// === private helpers ===

#[derive(Deserialize)]
#[serde(default)]
struct PersistentFields {
    enabled: bool,
    file: Utf8PathBuf,
    #[serde(deserialize_with = "secret")]
    server: Option<SecretString>,
}

impl Default for PersistentFields {
    fn default() -> Self {
        Self { enabled: true, file: "memory.db".into(), server: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatabaseFault {
    #[error("is neither the address of a SQLite file nor of a PostgreSQL server")]
    Scheme,
    #[error("must stay below the formation's data folder: no leading `/`, no `..`")]
    Outside,
}

/// Where a connection string leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    File(Utf8PathBuf),
    Server,
}

/// The file of `sqlite:///path`, where a fourth slash would make it absolute, or of a bare path; or
/// a server.
pub(crate) fn database(connection: &str) -> Result<Database, DatabaseFault> {
    let file = match connection.split_once("://") {
        Some(("sqlite", rest)) => rest.strip_prefix('/').ok_or(DatabaseFault::Scheme)?,
        Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => return Ok(Database::Server),
        Some(_) => return Err(DatabaseFault::Scheme),
        None if connection.contains(':') => return Err(DatabaseFault::Scheme),
        None => connection,
    };
    let path = Utf8Path::new(file);
    let is_inside = path.components().all(|part| matches!(part, Utf8Component::Normal(_)));
    if file.is_empty() || file.ends_with('/') || file.contains('?') {
        return Err(DatabaseFault::Scheme);
    }
    if is_inside { Ok(Database::File(path.to_owned())) } else { Err(DatabaseFault::Outside) }
}

const MIB: usize = 1024 * 1024;

const fn yes() -> bool {
    true
}

fn default_version() -> String {
    "1.0.0".to_owned()
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretString::from))
}

fn secret_text<'de, D: Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    Ok(String::deserialize(from)?.into())
}

pub(crate) fn secrets<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(from)?;
    Ok(plain.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_in_the_data_folder() {
        let file = |file: &str| Ok(Database::File(file.into()));
        for (connection, expected) in [
            ("memory.db", file("memory.db")),
            ("sqlite:///data/memory.db", file("data/memory.db")),
            ("sqlite:////var/memory.db", Err(DatabaseFault::Outside)),
            ("../memory.db", Err(DatabaseFault::Outside)),
            ("sqlite:///a/../../b", Err(DatabaseFault::Outside)),
            ("sqlite://memory.db", Err(DatabaseFault::Scheme)),
            ("sqlite:///", Err(DatabaseFault::Scheme)),
            (":memory:", Err(DatabaseFault::Scheme)),
            ("mysql://h/d", Err(DatabaseFault::Scheme)),
            ("postgresql://", Err(DatabaseFault::Scheme)),
            ("postgresql://u:p@h/d", Ok(Database::Server)),
            ("postgres://h", Ok(Database::Server)),
        ] {
            assert_eq!(database(connection), expected, "{connection}");
        }
    }
}
