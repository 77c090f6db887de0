//! What the proxy and the lists know of each formation: an atomic snapshot that actors publish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::management::FormationStatus;

use super::unix::UnixConnector;

/// The state of all formations; reading never waits.
#[derive(Debug, Default)]
pub struct Routes {
    table: ArcSwap<BTreeMap<FormationId, Arc<Published>>>,
}

/// What an actor last said of its formation.
#[derive(Debug, Clone)]
pub struct Published {
    pub status: FormationStatus,
    pub pid: Option<u32>,
    /// When the running instance became healthy.
    pub since: Option<Timestamp>,
    pub healthy: Option<bool>,
    pub reason: Option<String>,
    /// Where to send traffic; only while running.
    pub upstream: Option<Upstream>,
}

/// A pool of connections to one instance.
#[derive(Debug, Clone)]
pub struct Upstream {
    socket: Arc<PathBuf>,
    client: Client<UnixConnector, Body>,
}

// === impl Routes ===

impl Routes {
    pub fn get(&self, id: &FormationId) -> Option<Arc<Published>> {
        self.table.load().get(id).cloned()
    }

    pub fn all(&self) -> Arc<BTreeMap<FormationId, Arc<Published>>> {
        self.table.load_full()
    }

    pub fn publish(&self, id: &FormationId, state: Published) {
        let state = Arc::new(state);
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.insert(id.clone(), Arc::clone(&state));
            table
        });
    }

    pub fn remove(&self, id: &FormationId) {
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.remove(id);
            table
        });
    }
}

// === impl Upstream ===

impl Upstream {
    pub fn new(socket: PathBuf) -> Self {
        let socket = Arc::new(socket);
        let connector = UnixConnector::new(Arc::clone(&socket));
        Self { socket, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Whether this pool's instance is the one behind `socket`.
    pub fn is_to(&self, socket: &Path) -> bool {
        *self.socket == socket
    }

    pub async fn send(
        &self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
        self.client.request(request).await
    }

    /// The address that the client needs; the connector ignores its host.
    pub fn uri(path_and_query: &str) -> Result<Uri, hyper::http::uri::InvalidUri> {
        format!("http://instance{path_and_query}").parse()
    }
}

/// Named here so that the connector's stream type stays private to the proxy.
pub(super) type UnixIo = TokioIo<tokio::net::UnixStream>;
