//! One answer to a scraper: what was counted, and what is looked up at this moment.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use muxi_contract::FormationId;
use muxi_contract::management::FormationStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::formation::Formations;
use crate::proxy::routes::Published;
use crate::store::{StoreError, audit, formations};
use crate::supervisor::Context;
use crate::supervisor::usage::{self, Usage};

/// How a scraper wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format that every scraper reads.
    Prometheus,
    OpenMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FormationLabels {
    formation: String,
}

type FloatCounter = Counter<f64, AtomicU64>;
type FloatGauge = Gauge<f64, AtomicU64>;

/// What the store and the kernel say at this moment.
struct Seen {
    restarts: Vec<(FormationId, u32)>,
    ports_leased: usize,
    audit_entries: u64,
    published: Arc<std::collections::BTreeMap<FormationId, Arc<Published>>>,
    instances: Vec<(FormationId, Usage)>,
}

/// Everything in the format that was asked for.
pub(crate) async fn scrape(context: &Context, format: Format) -> Result<String, StoreError> {
    let read =
        |db: &_| Ok((formations::all(db)?, formations::leased_ports(db)?, audit::last(db)?.seq));
    let (stored, leased, audit_entries) = context.store.read(read).await?;
    let published = context.routes.all();
    let pids: Vec<(FormationId, u32)> =
        published.iter().filter_map(|(id, it)| Some((id.clone(), it.pid?))).collect();
    // A file of /proc for each process: short, but many may be there.
    let instances = tokio::task::spawn_blocking(move || {
        pids.into_iter().filter_map(|(id, pid)| Some((id, usage::of(pid)?))).collect()
    })
    .await
    .expect("looking at processes does not panic");
    let seen = Seen {
        restarts: stored.into_iter().map(|it| (it.id, it.restart_count)).collect(),
        ports_leased: leased.len(),
        audit_entries,
        published,
        instances,
    };
    Ok(render(context, &seen, format))
}

fn render(context: &Context, seen: &Seen, format: Format) -> String {
    let mut out = String::with_capacity(16 << 10);
    let (looked_up, process) = (looked_up(context, seen), own_process());
    for registry in [&context.metrics.registry, &looked_up, &process] {
        text::encode_registry(&mut out, registry).expect("a string takes all");
    }
    text::encode_eof(&mut out).expect("a string takes all");
    match format {
        Format::OpenMetrics => out,
        Format::Prometheus => to_prometheus(&out),
    }
}

/// What is not counted but stands somewhere.
fn looked_up(context: &Context, seen: &Seen) -> Registry {
    let mut registry = Registry::with_prefix("muxi");
    registry.register(
        "build",
        "The version of this manager",
        Info::new([("version", crate::VERSION)]),
    );

    let states = Family::<StatusLabels, Gauge>::default();
    for status in STATUSES {
        let count = seen.published.values().filter(|it| it.status == status).count();
        states.get_or_create(&StatusLabels { status: status.as_str() }).set(signed(count));
    }
    registry.register("formations", "Formations by status", states);

    let up = Family::<FormationLabels, Gauge>::default();
    for (id, published) in seen.published.iter() {
        up.get_or_create(&label(id)).set((published.status == FormationStatus::Running).into());
    }
    registry.register("formation_up", "1 while the formation runs, else 0", up);

    let restarts = Family::<FormationLabels, Counter>::default();
    for (id, count) in &seen.restarts {
        restarts.get_or_create(&label(id)).inc_by(u64::from(*count));
    }
    registry.register("formation_restarts", "Restarts since the formation was deployed", restarts);

    let (resident, cpu, threads) = (
        Family::<FormationLabels, Gauge>::default(),
        Family::<FormationLabels, FloatCounter>::default(),
        Family::<FormationLabels, Gauge>::default(),
    );
    for (id, usage) in &seen.instances {
        resident.get_or_create(&label(id)).set(signed(usage.resident_bytes));
        cpu.get_or_create(&label(id)).inc_by(usage.cpu_seconds);
        threads.get_or_create(&label(id)).set(signed(usage.threads));
    }
    let what = "of the formation's process, without processes that it started";
    registry.register("formation_resident_memory_bytes", format!("Memory {what}"), resident);
    registry.register("formation_cpu_seconds", format!("Processor time {what}"), cpu);
    registry.register("formation_threads", format!("Threads {what}"), threads);

    registry.register_collector(Box::new(Formations::look(&context.routes.gates())));

    let audit = Counter::<u64>::default();
    audit.inc_by(seen.audit_entries);
    registry.register("audit_entries", "Entries of the audit log since it began", audit);

    let total = context.ports.total();
    let ports = [
        ("port_pool_ports", "Ports that formations may have", total),
        ("port_pool_leased_ports", "Ports that are leased to formations", seen.ports_leased),
    ];
    for (name, help, count) in ports {
        registry.register(name, help, constant(signed(count)));
    }
    registry
}

/// The names that all scrapers know.
fn own_process() -> Registry {
    let mut registry = Registry::with_prefix("process");
    if let Some(own) = usage::of(std::process::id()) {
        registry.register(
            "resident_memory_bytes",
            "Memory of the manager",
            constant(signed(own.resident_bytes)),
        );
        registry.register(
            "virtual_memory_bytes",
            "Addresses of the manager",
            constant(signed(own.virtual_bytes)),
        );
        registry.register("threads", "Threads of the manager", constant(signed(own.threads)));
        let cpu = FloatCounter::default();
        cpu.inc_by(own.cpu_seconds);
        registry.register("cpu_seconds", "Processor time of the manager", cpu);
        if let Some(boot) = usage::boot_time_seconds() {
            let started = FloatGauge::default();
            #[expect(clippy::cast_precision_loss, reason = "Unix seconds fit a double exactly")]
            started.set(boot as f64 + own.started_seconds);
            registry.register(
                "start_time_seconds",
                "When the manager started, in Unix seconds",
                started,
            );
        }
    }
    if let Some(descriptors) = usage::own_descriptors() {
        registry.register(
            "open_fds",
            "Open descriptors of the manager",
            constant(signed(descriptors)),
        );
    }
    if let Ok((soft, _)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        registry.register(
            "max_fds",
            "Descriptors that the manager may open",
            constant(signed(soft)),
        );
    }
    registry
}

/// The newer format names a family of counters without its suffix, the older one with it.
fn to_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ').skip(1);
        let (keyword, name, rest) = (words.next(), words.next(), words.next());
        match (line.starts_with("# "), keyword, name, rest) {
            (true, Some("HELP"), Some(name), text) => help = Some((name, text.unwrap_or_default())),
            (true, Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                    line_of(&mut out, &["# HELP ", name, suffix, " ", text]);
                }
                line_of(&mut out, &["# TYPE ", name, suffix, " ", kind]);
            }
            _ => line_of(&mut out, &[line]),
        }
    }
    out
}

fn line_of(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
    out.push('\n');
}

const STATUSES: [FormationStatus; 6] = [
    FormationStatus::Starting,
    FormationStatus::Running,
    FormationStatus::Stopping,
    FormationStatus::Stopped,
    FormationStatus::Crashed,
    FormationStatus::CrashLoop,
];

fn label(id: &FormationId) -> FormationLabels {
    FormationLabels { formation: id.to_string() }
}

fn constant(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_its_own_names() {
        let open = "# HELP a Counts.\n# TYPE a counter\na_total 1\n# HELP b Says: it is.\n\
                    # TYPE b info\nb_info{version=\"1\"} 1\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_total Counts.\n# TYPE a_total counter\na_total 1\n\
                        # HELP b_info Says: it is.\n# TYPE b_info gauge\n\
                        b_info{version=\"1\"} 1\n# TYPE c gauge\nc 2\n";
        assert_eq!(to_prometheus(open), expected);
    }
}
