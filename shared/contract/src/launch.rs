//! How the manager starts an instance and speaks to it in private.
//!
//! The launcher (the manager's own binary, re-executed) reads a [`LaunchSpec`] from standard
//! input, narrows its own rights, and becomes the program. Sockets arrive as inherited descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// The environment variable that names the model host's Unix socket.
pub const MODEL_HOST_SOCKET_VAR: &str = "MUXI_MODEL_HOST";

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
}

/// Limits of one process, set with `setrlimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    pub open_files: u64,
    /// Core dumps could hold secrets, so the default is 0.
    pub core_bytes: u64,
}
