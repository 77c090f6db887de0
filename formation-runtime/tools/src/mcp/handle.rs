//! What a server may ask of us: nothing but to look at its tools again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::NotificationContext;
use rmcp::{ClientHandler, RoleClient};

/// No roots, no sampling and no questions to users are offered; the SDK refuses what is not offered.
#[derive(Debug)]
pub(super) struct Handle {
    stale: Arc<AtomicBool>,
}

impl Handle {
    /// `stale` is set when the server says that its tools changed.
    pub(super) fn new(stale: Arc<AtomicBool>) -> Self {
        Self { stale }
    }
}

impl ClientHandler for Handle {
    fn get_info(&self) -> ClientConfig {
        let client = Implementation::new("muxi-formation-runtime", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.stale.store(true, Ordering::Release);
    }
}
