//! What the proxy and the lists know of each formation: an atomic snapshot that actors publish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Uri;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::management::{FormationStatus, RolloutView};
use muxi_service::Clock;

use super::breaker::{Breaker, Leave, Outcome};
use super::gate::{Counted, Gate};
use super::unix::UnixConnector;
use super::upload::Lent;
use crate::config::BreakerConfig;

/// The state of all formations; reading never waits.
#[derive(Debug, Default)]
pub struct Routes {
    table: ArcSwap<BTreeMap<FormationId, Arc<Published>>>,
    /// Of every formation that was ever published, until it is removed.
    gates: ArcSwap<BTreeMap<FormationId, Arc<Gate>>>,
    held: Counted,
    upgrades: Counted,
}

/// What an actor last said of its formation.
#[derive(Debug, Clone)]
pub struct Published {
    pub status: FormationStatus,
    pub pid: Option<u32>,
    /// When the running instance became healthy.
    pub since: Option<Timestamp>,
    pub healthy: Option<bool>,
    /// While an instance is being replaced by another.
    pub rollout: Option<RolloutView>,
    pub reason: Option<String>,
    /// Where to send traffic; only while running.
    pub upstream: Option<Upstream>,
}

/// A pool of connections to one instance, and what is known of its answering.
#[derive(Debug, Clone)]
pub struct Upstream {
    socket: Arc<PathBuf>,
    client: Client<UnixConnector, Lent>,
    breaker: Arc<Mutex<Breaker>>,
}

/// One request to an instance. Whoever drops it before it is settled knows nothing of the instance.
pub(super) struct Attempt {
    breaker: Arc<Mutex<Breaker>>,
    config: BreakerConfig,
    clock: Clock,
    tried: bool,
    outcome: Outcome,
}

/// Shorter than the runtime's own patience with an idle connection, so that none is closed just as it
/// is used again.
const IDLE_MAX: Duration = Duration::from_secs(15);
const IDLE_CONNECTIONS_MAX: usize = 64;

// === impl Routes ===

impl Routes {
    pub fn get(&self, id: &FormationId) -> Option<Arc<Published>> {
        self.table.load().get(id).cloned()
    }

    pub fn all(&self) -> Arc<BTreeMap<FormationId, Arc<Published>>> {
        self.table.load_full()
    }

    /// What the proxy keeps of a formation.
    pub fn gate(&self, id: &FormationId) -> Option<Arc<Gate>> {
        self.gates.load().get(id).cloned()
    }

    pub fn gates(&self) -> Arc<BTreeMap<FormationId, Arc<Gate>>> {
        self.gates.load_full()
    }

    /// Requests that wait, of all formations.
    pub(super) fn held(&self) -> &Counted {
        &self.held
    }

    /// Upgraded connections, of all formations.
    pub(super) fn upgrades(&self) -> &Counted {
        &self.upgrades
    }

    pub fn publish(&self, id: &FormationId, state: Published) {
        if self.gate(id).is_none() {
            let gate = Arc::new(Gate::default());
            self.gates.rcu(|gates| {
                let mut gates = BTreeMap::clone(gates);
                gates.entry(id.clone()).or_insert_with(|| Arc::clone(&gate));
                gates
            });
        }
        let state = Arc::new(state);
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.insert(id.clone(), Arc::clone(&state));
            table
        });
        if let Some(gate) = self.gate(id) {
            gate.announce();
        }
    }

    pub fn remove(&self, id: &FormationId) {
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.remove(id);
            table
        });
        let gate = self.gate(id);
        self.gates.rcu(|gates| {
            let mut gates = BTreeMap::clone(gates);
            gates.remove(id);
            gates
        });
        if let Some(gate) = gate {
            gate.announce();
        }
    }
}

// === impl Upstream ===

impl Upstream {
    pub fn new(socket: PathBuf) -> Self {
        let socket = Arc::new(socket);
        let connector = UnixConnector::new(Arc::clone(&socket));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { socket, client, breaker: Arc::default() }
    }

    /// Whether this pool's instance is the one behind `socket`.
    pub fn is_to(&self, socket: &Path) -> bool {
        *self.socket == socket
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.breaker, &other.breaker)
    }

    /// Leave to send one request; the error says in how many milliseconds to ask again.
    pub(super) fn attempt(&self, clock: &Clock, config: BreakerConfig) -> Result<Attempt, i64> {
        let tried = match lock(&self.breaker).ask(clock.now_ms(), config) {
            Leave::Pass => false,
            Leave::Try => true,
            Leave::Refused { wait_ms } => return Err(wait_ms),
        };
        let (breaker, clock) = (Arc::clone(&self.breaker), clock.clone());
        Ok(Attempt { breaker, config, clock, tried, outcome: Outcome::Unknown })
    }

    pub(super) async fn send(
        &self,
        request: hyper::Request<Lent>,
    ) -> Result<hyper::Response<Incoming>, Error> {
        self.client.request(request).await
    }

    /// The address that the client needs; the connector ignores its host.
    pub(super) fn uri(path_and_query: &str) -> Result<Uri, hyper::http::uri::InvalidUri> {
        format!("http://instance{path_and_query}").parse()
    }
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn answered(&mut self) {
        self.outcome = Outcome::Answered;
    }

    pub(super) fn failed(&mut self) {
        self.outcome = Outcome::Failed;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now_ms = self.clock.now_ms();
        lock(&self.breaker).note(self.outcome, self.tried, now_ms, self.config);
    }
}

/// Whether a failure to connect is the manager's own: it has no descriptor left.
pub(super) fn is_ours(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let code = code.map(rustix::io::Errno::from_raw_os_error);
        if matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) {
            return true;
        }
        source = error.source();
    }
    false
}

fn lock(breaker: &Mutex<Breaker>) -> std::sync::MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Named here so that the connector's stream type stays private to the proxy.
pub(super) type UnixIo = TokioIo<tokio::net::UnixStream>;

#[cfg(test)]
mod tests {
    use muxi_contract::management::FormationStatus;

    use super::*;

    fn starting() -> Published {
        let status = FormationStatus::Starting;
        Published {
            status,
            pid: None,
            since: None,
            healthy: None,
            rollout: None,
            reason: None,
            upstream: None,
        }
    }

    #[tokio::test]
    async fn who_waits_hears_of_every_change() {
        let (routes, id) = (Routes::default(), "hello".parse::<FormationId>().unwrap());
        assert!(routes.gate(&id).is_none());
        routes.publish(&id, starting());
        let gate = routes.gate(&id).unwrap();
        let mut news = gate.subscribe();
        routes.publish(&id, starting());
        news.changed().await.unwrap();
        assert!(Arc::ptr_eq(&gate, &routes.gate(&id).unwrap()), "it stays over publications");
        routes.remove(&id);
        news.changed().await.unwrap();
        assert!(routes.gate(&id).is_none() && routes.get(&id).is_none());
    }

    #[test]
    fn an_attempt_that_nobody_settled_leaves_the_circuit_to_the_next() {
        let upstream = Upstream::new("/nowhere/instance.sock".into());
        let clock = Clock::from_fn(|| Timestamp::UNIX_EPOCH);
        let config = BreakerConfig { failures: 1, cool_down_ms: 0 };
        upstream.attempt(&clock, config).unwrap().failed();
        // Two in a row may find out, because the first one says nothing.
        assert!(upstream.attempt(&clock, config).is_ok());
        let trying = upstream.attempt(&clock, config).unwrap();
        assert!(upstream.attempt(&clock, config).is_err());
        drop(trying);
        assert!(upstream.attempt(&clock, config).is_ok());
    }
}
