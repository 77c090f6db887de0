//! What all handlers share: the formation as it was loaded, and the parts that do the work.

use std::sync::Arc;

use jiff::Timestamp;
use muxi_formation::Manifest;
use muxi_memory::Store;
use muxi_service::Clock;

use crate::agents::Agents;
use crate::conversation::Conversations;
use crate::keys::Keys;
use crate::limits::Limits;

/// A handle to the serving formation.
pub type App = Arc<Parts>;

#[derive(Debug)]
pub struct Parts {
    pub manifest: Manifest,
    /// The manifest as JSON for the operator: placeholders as written, keys masked.
    pub document: serde_json::Value,
    pub agents: Agents,
    pub conversations: Conversations,
    pub store: Store,
    pub keys: Keys,
    pub clock: Clock,
    pub started: Timestamp,
    pub limits: Limits,
}

// === impl Parts ===

impl Parts {
    pub fn uptime_seconds(&self) -> i64 {
        self.clock.now().duration_since(self.started).as_secs().max(0)
    }
}
