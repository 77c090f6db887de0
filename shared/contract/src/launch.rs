//! How the manager starts an instance and speaks to it in private.
//!
//! The launcher (the manager's own binary, re-executed) reads a [`LaunchSpec`] from standard
//! input, narrows its own rights, and becomes the program. Sockets arrive as inherited descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::confinement::LimitsView;

/// Index (from descriptor 3) of the socket on the formation's own port.
pub const SHARED_LISTENER: usize = 0;
/// Index of the Unix socket over which the manager probes and proxies.
pub const PRIVATE_LISTENER: usize = 1;
/// Index of the Unix socket that hands the shared listener to a manager that comes back.
pub const HANDOFF_LISTENER: usize = 2;

/// Private-socket route: begin to accept on the shared listener.
pub const ACCEPT_ROUTE: &str = "/_instance/accept";
/// Private-socket route: stop to accept on the shared listener; what is open goes on.
pub const RETIRE_ROUTE: &str = "/_instance/retire";
/// Private-socket route: how many requests are open; the answer is an [`Activity`].
pub const ACTIVITY_ROUTE: &str = "/_instance/activity";
/// Private-socket route of the health answer that the manager probes.
pub const HEALTH_ROUTE: &str = "/v1/health";

/// Set for an instance that runs a draft, whose memory is apart from what serves.
pub const DRAFT_VAR: &str = "MUXI_DRAFT";
/// The environment variable that names the model host's Unix socket.
pub const MODEL_HOST_SOCKET_VAR: &str = "MUXI_MODEL_HOST";

/// Requests that the manager has open at one instance at most. The instance takes this many over its
/// private socket, and a reserve in which the manager's questions always find room.
pub const PROXIED_REQUESTS_MAX: usize = 2_048;

/// What an instance still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Requests whose answers have not ended.
    pub requests: u64,
}

/// What the launcher applies to itself before it becomes the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    pub program: String,
    pub args: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// How many descriptors from 3 on are sockets for the program.
    pub sockets: u32,
    pub limits: ResourceLimits,
    /// The control group to enter, which has its limits already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Whom to become; absent means to stay who the manager is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<LaunchUser>,
    /// Absent means no fence at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// Where to say what was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportTo>,
}

/// Limits of one process, set with `setrlimit`. Absent ones stay as the manager's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    pub open_files: u64,
    /// Core dumps could hold secrets, so the default is 0.
    pub core_bytes: u64,
    /// Private writable memory. Not address space, in which mapped models and idle heaps count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Of the whole user, so only of use to a formation that has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Size of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
}

/// A user of one formation, and the group of all formations' users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchUser {
    /// Also the id of its own group.
    pub uid: u32,
    pub shared_gid: u32,
}

/// What stays reachable; everything else on the disk does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Without the kernel's support the program must not start.
    pub required: bool,
    pub read: Vec<String>,
    pub read_and_execute: Vec<String>,
    pub write: Vec<String>,
    /// Devices: read, written and controlled, but not made or removed.
    pub devices: Vec<String>,
}

/// A report of what was applied, see [`crate::confinement::Confinement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportTo {
    pub path: String,
    /// What holds each limit if the launcher succeeds in all that this spec says.
    pub limits: LimitsView,
    /// Why there is no user of the formation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_user_reason: Option<String>,
}
