//! What a formation's actor saw: starts, probes, and that it was given up.

use std::time::Duration;

use muxi_contract::FormationId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{LONG_SECONDS, QUICK_SECONDS};
use crate::supervisor::Context;

/// The counters of one formation.
#[derive(Debug)]
pub struct Supervised {
    pub(super) start_seconds: Histogram,
    pub(super) probe_seconds: Histogram,
    pub(super) probe_failures: Counter,
    pub(super) crash_loops: Counter,
}

/// An instance gave its first healthy answer.
pub(crate) fn started(context: &Context, id: &FormationId, took: Duration) {
    if let Some(gate) = context.routes.gate(id) {
        gate.supervised.start_seconds.observe(took.as_secs_f64());
    }
    context.traces.supervised("instance start", id.as_str(), took, true);
}

/// A liveness probe ended. Only one that failed is worth a span.
pub(crate) fn probed(context: &Context, id: &FormationId, took: Duration, healthy: bool) {
    if let Some(gate) = context.routes.gate(id) {
        gate.supervised.probe_seconds.observe(took.as_secs_f64());
        if !healthy {
            gate.supervised.probe_failures.inc();
        }
    }
    if !healthy {
        context.traces.supervised("probe", id.as_str(), took, false);
    }
}

/// The formation was given up after too many deaths.
pub(crate) fn given_up(context: &Context, id: &FormationId) {
    if let Some(gate) = context.routes.gate(id) {
        gate.supervised.crash_loops.inc();
    }
}

// === impl Supervised ===

impl Default for Supervised {
    fn default() -> Self {
        Self {
            start_seconds: Histogram::new(LONG_SECONDS),
            probe_seconds: Histogram::new(QUICK_SECONDS),
            probe_failures: Counter::default(),
            crash_loops: Counter::default(),
        }
    }
}
