//! What the manager counts about itself, as Prometheus reads it.
//!
//! Invariants: counting never waits and never fails; every label has few values by construction;
//! what is counted for a formation lives in one value a formation and goes with the formation.

mod body;
mod formation;
mod operations;
mod scrape;
mod supervised;

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use self::body::{Counted, Watch};
pub(crate) use self::operations::observe as observe_operations;
pub(crate) use self::scrape::{Format, scrape};
pub use self::supervised::Supervised;
pub(crate) use self::supervised::{given_up, probed, started};

/// All counters of one manager. What can be looked up is not kept here but read at each scrape.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub store: StoreMetrics,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    unrouted: Counter,
    received_bytes: Counter,
    auth_failures: Family<ReasonLabels, Counter>,
    operations: Family<OperationLabels, Counter>,
    operation_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
}

/// What the store's handles count; clones share it.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    queued: Gauge,
    command_seconds: Family<AccessLabels, Histogram, fn() -> Histogram>,
    failures: Counter,
}

/// One command to the store on its way.
#[derive(Debug)]
pub(crate) struct Asked {
    metrics: StoreMetrics,
    access: &'static str,
    since: Instant,
}

/// Whose answer came in which class: `2xx`, `4xx`, …
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccessLabels {
    access: &'static str,
}

/// From a local answer to a slow model's first word.
pub(crate) const REQUEST_SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];
/// One transaction, and one probe.
const QUICK_SECONDS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0, 5.0];
/// A start, a whole deploy.
const LONG_SECONDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// `2xx` and so on; few label values whatever the statuses are.
pub(crate) const fn status_class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// A method as a label: one of those that HTTP defines.
pub(crate) fn method_label(method: &axum::http::Method) -> &'static str {
    const KNOWN: [&str; 8] =
        ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

// === impl Metrics ===

impl Metrics {
    /// Counts from zero; the store counts for itself.
    pub fn new(store: StoreMetrics) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("muxi"),
            store,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(requests),
            unrouted: Counter::default(),
            received_bytes: Counter::default(),
            auth_failures: Family::default(),
            operations: Family::default(),
            operation_seconds: Family::new_with_constructor(long),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "Answered requests of the management API by route pattern and class of status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "From the head of a management request to the head of its answer",
            self.request_seconds.clone(),
        );
        registry.register(
            "proxy_unrouted_requests",
            "Requests to be passed on to formations that do not exist",
            self.unrouted.clone(),
        );
        registry.register(
            "http_received_bytes",
            "Bytes of bodies that came to the management API, which are bundles above all",
            self.received_bytes.clone(),
        );
        registry.register(
            "auth_failures",
            "Management calls that were not let in, by reason",
            self.auth_failures.clone(),
        );
        registry.register(
            "operations",
            "Deploys, updates and other acts on formations that ended, by kind and result",
            self.operations.clone(),
        );
        registry.register(
            "operation_duration_seconds",
            "From the wish that began an act to its end",
            self.operation_seconds.clone(),
        );
        registry.register(
            "store_queued_commands",
            "Commands that wait for the database's thread or are run by it",
            self.store.queued.clone(),
        );
        registry.register(
            "store_command_duration_seconds",
            "From asking the database's thread to its answer, by kind of access",
            self.store.command_seconds.clone(),
        );
        registry.register(
            "store_failures",
            "Commands that the database could not carry out, such as writes to a full disk",
            self.store.failures.clone(),
        );
    }

    /// A management request that was answered.
    pub(crate) fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        match status {
            401 => self.not_let_in("unauthorized"),
            403 => self.not_let_in("forbidden"),
            429 => self.not_let_in("too_many_requests"),
            _ => {}
        }
        let route = route.to_owned();
        let labels = RouteLabels { method, route: route.clone() };
        self.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        let labels = RequestLabels { method, route, status: status_class(status) };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request to a formation that nobody knows.
    pub(crate) fn unrouted(&self) {
        self.unrouted.inc();
    }

    /// A management call that was not let in.
    fn not_let_in(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Bytes of a management request's body.
    pub(crate) fn received(&self, bytes: u64) {
        self.received_bytes.inc_by(bytes);
    }

    /// The kinds are those that the store knows.
    fn operation_ended(&self, kind: &str, result: &'static str, took: Duration) {
        let kind = kind.to_owned();
        self.operations.get_or_create(&OperationLabels { kind: kind.clone(), result }).inc();
        let seconds = self.operation_seconds.get_or_create(&KindLabels { kind });
        seconds.observe(took.as_secs_f64());
    }
}

// === impl StoreMetrics ===

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            queued: Gauge::default(),
            command_seconds: Family::new_with_constructor(quick),
            failures: Counter::default(),
        }
    }
}

impl StoreMetrics {
    /// A command waits from now on; it is counted when the value is told how it ended, or goes.
    pub(crate) fn asked(&self, access: &'static str) -> Asked {
        self.queued.inc();
        Asked { metrics: self.clone(), access, since: Instant::now() }
    }
}

// === impl Asked ===

impl Asked {
    pub(crate) fn answered(self, failed: bool) {
        let labels = AccessLabels { access: self.access };
        let seconds = self.metrics.command_seconds.get_or_create(&labels);
        seconds.observe(self.since.elapsed().as_secs_f64());
        if failed {
            self.metrics.failures.inc();
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.metrics.queued.dec();
    }
}

fn requests() -> Histogram {
    Histogram::new(REQUEST_SECONDS)
}

fn quick() -> Histogram {
    Histogram::new(QUICK_SECONDS)
}

fn long() -> Histogram {
    Histogram::new(LONG_SECONDS)
}
