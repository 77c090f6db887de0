//! What the proxy counted for each formation, as families of metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use muxi_contract::FormationId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::proxy::Gate;
use crate::proxy::observe::TrafficTotals;

/// A look at all formations; one that is removed is in the next no more.
#[derive(Debug)]
pub(super) struct Formations {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    id: FormationId,
    gate: Arc<Gate>,
    totals: TrafficTotals,
}

const CLASSES: [&str; 6] = ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"];

// === impl Formations ===

impl Formations {
    pub(super) fn look(gates: &BTreeMap<FormationId, Arc<Gate>>) -> Self {
        let seen = gates.iter().map(|(id, gate)| Seen {
            id: id.clone(),
            gate: Arc::clone(gate),
            totals: gate.traffic.totals(),
        });
        Self { seen: seen.collect() }
    }
}

impl Collector for Formations {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families { encoder, seen: &self.seen };
        families.many(
            "proxy_requests",
            "Answers of the formation that ended, by class of status.",
            |it| {
                // Statuses begin at 100.
                let classes = CLASSES.into_iter().zip(it.totals.answered).skip(1);
                classes.map(|(class, count)| ("status", class, ConstCounter::new(count))).collect()
            },
        )?;
        families.many(
            "proxy_refused",
            "Requests that the proxy answered itself, by reason.",
            |it| {
                let reasons = it.totals.refused.iter();
                reasons
                    .map(|(reason, count)| ("reason", *reason, ConstCounter::new(*count)))
                    .collect()
            },
        )?;
        families.one(
            "proxy_cut",
            "Answers that did not reach their end, because one side left.",
            |it| ConstCounter::new(it.totals.cut),
        )?;
        families.one(
            "proxy_upgraded",
            "Connections that were upgraded, such as web sockets, and have ended.",
            |it| ConstCounter::new(it.totals.upgraded),
        )?;
        families.one(
            "proxy_received_bytes",
            "Bytes from clients: of bodies, and over upgraded connections.",
            |it| ConstCounter::new(it.totals.bytes_in),
        )?;
        families.one(
            "proxy_sent_bytes",
            "Bytes to clients: of bodies, and over upgraded connections.",
            |it| ConstCounter::new(it.totals.bytes_out),
        )?;
        families.one(
            "proxy_requests_in_flight",
            "Requests that the formation works on now, open streams included.",
            |it| gauge(it.gate.active()),
        )?;
        families.one("proxy_requests_held", "Requests that wait for an instance now.", |it| {
            gauge(it.gate.held())
        })?;
        families.borrowed(
            "proxy_head_duration_seconds",
            "From a proxied request to the head of the formation's answer.",
            |it| it.gate.traffic.head_seconds(),
        )?;
        families.borrowed(
            "formation_start_duration_seconds",
            "From the start of an instance's process, or its adoption, to its first healthy answer.",
            |it| &it.gate.supervised.start_seconds,
        )?;
        families.borrowed(
            "formation_probe_duration_seconds",
            "How long liveness probes took, failed ones included.",
            |it| &it.gate.supervised.probe_seconds,
        )?;
        families.borrowed(
            "formation_probe_failures",
            "Liveness probes without a good answer.",
            |it| &it.gate.supervised.probe_failures,
        )?;
        families.borrowed(
            "formation_crash_loops",
            "Times that the formation was given up after too many deaths.",
            |it| &it.gate.supervised.crash_loops,
        )
    }
}

/// Writes one family of metrics after the other, each with its lines for every formation.
struct Families<'a, 'e> {
    encoder: DescriptorEncoder<'e>,
    seen: &'a [Seen],
}

impl Families<'_, '_> {
    fn one<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        metric: fn(&Seen) -> M,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, M::TYPE)?;
        for seen in self.seen {
            metric(seen).encode(family.encode_family(&[("formation", seen.id.as_str())])?)?;
        }
        Ok(())
    }

    fn borrowed<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        metric: fn(&Seen) -> &M,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, M::TYPE)?;
        for seen in self.seen {
            metric(seen).encode(family.encode_family(&[("formation", seen.id.as_str())])?)?;
        }
        Ok(())
    }

    /// Each metric comes with one more label.
    fn many<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        metrics: fn(&Seen) -> Vec<(&'static str, &'static str, M)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, M::TYPE)?;
        for seen in self.seen {
            for (label, value, metric) in metrics(seen) {
                let labels = [("formation", seen.id.as_str()), (label, value)];
                metric.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}
