//! What all handlers share: the formation as it was loaded, and the parts that do the work.

use std::sync::Arc;

use jiff::Timestamp;
use muxi_formation::{Manifest, McpServer, Procedure, Skill, Trigger};
use muxi_memory::Store;
use muxi_service::Clock;
use tokio::sync::Semaphore;

use crate::activity::OpenRequests;
use crate::agents::Agents;
use crate::artifacts::Artifacts;
use crate::callers::Callers;
use crate::conversation::Conversations;
use crate::events::{Event, EventKind, EventLog};
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::logging::Logging;
use crate::redact::Redactor;
use crate::safe::Safe;
use crate::scheduler::Scheduler;
use crate::secrets::Secrets;
use crate::team::Team;

/// A handle to the serving formation.
pub type App = Arc<Parts>;

#[derive(Debug)]
pub struct Parts {
    pub manifest: Manifest,
    /// The manifest as JSON for the operator: placeholders as written, keys masked.
    pub document: serde_json::Value,
    /// The persona with its placeholders.
    pub soul_written: String,
    pub secrets: Secrets,
    pub agents: Agents,
    pub team: Arc<Team>,
    pub triggers: Vec<Trigger>,
    pub procedures: Vec<Procedure>,
    pub skills: Vec<Skill>,
    pub mcp_servers: Vec<McpServer>,
    pub conversations: Conversations,
    pub store: Store,
    pub artifacts: Artifacts,
    pub scheduler: Scheduler,
    pub jobs: Jobs,
    pub events: EventLog,
    pub redactor: Redactor,
    pub logging: Logging,
    pub open_requests: OpenRequests,
    /// The right to read a body that is longer than any message.
    pub large_bodies: Arc<Semaphore>,
    pub keys: Keys,
    /// Agents elsewhere that may call; nothing if none may.
    pub callers: Option<Callers>,
    /// Where the key of users' credentials is.
    pub safe: Safe,
    pub clock: Clock,
    pub started: Timestamp,
    pub limits: Limits,
}

// === impl Parts ===

impl Parts {
    /// An event of this moment, to be completed and told.
    pub fn event(&self, kind: EventKind, message: impl Into<String>) -> Event {
        Event::new(kind, self.clock.now(), message)
    }

    pub fn uptime_seconds(&self) -> i64 {
        self.clock.now().duration_since(self.started).as_secs().max(0)
    }
}
