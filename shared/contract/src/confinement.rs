//! What confines an instance: what an operator is told, and what the launcher reports to the
//! manager. Everything here is what was really applied, never what was wished for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The limits of one formation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    pub memory_bytes: LimitView,
    /// Share of one processor; 200 is two of them.
    pub cpu_percent: LimitView,
    pub open_files: LimitView,
    /// Processes and threads together.
    pub processes: LimitView,
    /// Of its data folder and its temporary files.
    pub disk_bytes: LimitView,
    /// Of an uploaded bundle.
    pub bundle_bytes: LimitView,
}

/// One limit and what holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitView {
    /// Null means that there is no limit.
    pub value: Option<u64>,
    /// Null when nothing holds it; the reason says why.
    pub enforced_by: Option<Enforcer>,
    /// How it is held or why it is not, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforcer {
    /// A control group of the kernel, over all processes of the instance.
    Cgroup,
    /// A limit of each process.
    Rlimit,
    /// The manager measures and acts.
    Watch,
    /// The manager refuses the upload.
    Upload,
}

/// What an instance cannot touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxView {
    pub landlock: LandlockView,
    pub seccomp: SeccompView,
    pub user: UserView,
    /// No program that it starts can gain rights.
    pub no_new_privs: bool,
    /// It has none of the kernel's capabilities.
    pub no_capabilities: bool,
}

/// The kernel's fence around files, signals and abstract sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LandlockView {
    pub state: LandlockState,
    /// The version of the fence that the kernel and this program have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abi: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LandlockState {
    /// Files, signals and abstract sockets are fenced.
    Enforced,
    /// An older kernel fences a part of it.
    Partial,
    /// The configuration says so.
    Off,
    /// This kernel has no such fence.
    Unavailable,
}

/// The filter that refuses system calls no formation needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeccompView {
    pub enforced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whose processes they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Whether this user id belongs to this formation alone.
    pub isolated: bool,
    pub uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the launcher applied; written before it became the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confinement {
    pub limits: LimitsView,
    pub sandbox: SandboxView,
}
