//! The manager put together: open the store, sweep, listen, reconcile, stop.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muxi_service::{Clock, Shutdown, Signals, TaskGroup, TaskKind};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{RwLock, Semaphore};

use crate::audit::Recorder;
use crate::auth::Auth;
use crate::bundles;
use crate::config::{Config, Folders};
use crate::disk::{Disk, Reserve};
use crate::drafts::Drafts;
use crate::http;
use crate::listeners::Listeners;
use crate::logs::{self, CountCache};
use crate::metrics::{self, Metrics};
use crate::notify::Notifier;
use crate::ports::PortPool;
use crate::proxy::routes::Routes;
use crate::ready::Ready;
use crate::reload::Reloader;
use crate::running;
use crate::sandbox;
use crate::store::{self, Store, StoreError, formations, generations};
use crate::supervisor::process::Reaper;
use crate::supervisor::{Context, Supervisor};
use crate::traces::Traces;
use crate::webhooks::{self, Webhooks};

/// A manager that is bound and has opened its store, but has not begun to serve.
#[derive(Debug)]
pub struct Manager {
    context: Arc<Context>,
    listeners: Listeners,
    reloader: Reloader,
    hangup: Signal,
    signals: Signals,
    /// Keeps a second manager off the data folder.
    _lock: File,
}

// === impl Manager ===

impl Manager {
    /// Binds before any work, so that a taken port is told at once.
    pub fn bind(config: Config, mut reloader: Reloader, folders: &Folders) -> anyhow::Result<Self> {
        // From here on, a hang-up is a wish to reload and no longer deadly.
        let hangup = signal(SignalKind::hangup())?;
        let signals = Signals::listen()?;
        let runtime = runtime_program(&config.runtime.program)?;
        let faults = webhooks::faults(&config);
        anyhow::ensure!(faults.is_empty(), "the configuration has faults:\n{}", faults.join("\n"));
        let layout = folders.layout()?;
        layout.create().with_context(|| {
            format!("failed to make the data folder {}", layout.root().display())
        })?;
        let reserve = Reserve::new(layout.reserve());
        // The lock and the store need a few blocks of their own.
        reserve.give_way();
        let lock = running::lock(&layout)?.with_context(|| {
            let root = layout.root().display();
            format!("another manager works on {root}; stop it, or set MUXI_DATA_DIR")
        })?;
        anyhow::ensure!(
            !layout.unfinished_restore().exists(),
            "a restore of {} was interrupted; run `muxi-server restore FILE --force` again",
            layout.root().display()
        );
        let clock = Clock::system();
        let listeners = Listeners::bind(&config, clock.now())?;
        let opening = || format!("failed to open {}", layout.database().display());
        let store = Store::open(&layout.database(), reserve.clone()).with_context(opening)?;
        let shutdown = Shutdown::new();
        let tasks = TaskGroup::new(shutdown.stopping.clone());
        let (read, mut config) = (config.clone(), config);
        config.limits.connections = fit_connections(config.limits.connections);
        // Port 0 asks the system for a port; what is told to formations must be the real one.
        config.server.port = listeners.address()?.port();
        let deploys = Semaphore::new(config.limits.deploys_at_once);
        let starts = Arc::new(Semaphore::new(config.limits.starts_at_once));
        let disk = Disk::new(layout.root(), config.limits.disk_free_min_bytes, reserve);
        let hidden = sandbox::hidden(&config, &layout, folders, reloader.config_file());
        let sandbox = sandbox::Host::new(&config.formations, &layout, &runtime, hidden)?;
        let live = reloader.begin(&read, &config, listeners.pair(), clock.now().to_string());
        let keys = store::connect_beside(&layout.database()).with_context(opening)?;
        let auth =
            Auth::open(&live.config(), &folders.master_key(), &keys, store.clone(), clock.clone())?;
        drop(keys);
        let audit = Recorder::new(
            store.clone(),
            auth.master().cloned(),
            config.audit,
            clock.clone(),
            tasks.clone(),
            shutdown.stopping.clone(),
        );
        let context = Context {
            metrics: Metrics::new(store.metrics().clone()),
            ready: Ready::default(),
            traces: Traces::new(&config.telemetry.otlp, &config.server_id, &clock)?,
            store,
            auth,
            audit,
            ports: PortPool::new(&config.formations),
            models_dir: models_dir(&config.runtime.models_dir),
            config,
            live,
            draft_files: Drafts::new(layout.clone()),
            layout,
            disk,
            sandbox,
            clock,
            steady: Clock::steady(),
            deploys,
            starts,
            bundle_files: RwLock::default(),
            routes: Routes::default(),
            drafts: Routes::default(),
            webhooks: Webhooks::default(),
            reaper: Reaper::start()?,
            tasks,
            shutdown,
            runtime,
            log_counts: CountCache::default(),
        };
        Ok(Self { context: Arc::new(context), listeners, reloader, hangup, signals, _lock: lock })
    }

    /// Where it can be reached from this machine.
    pub fn url(&self) -> std::io::Result<String> {
        self.listeners.url()
    }

    /// Serves until a signal; true when every task ended in time.
    pub async fn serve(self) -> anyhow::Result<bool> {
        let Self { context, listeners, reloader, hangup, signals, _lock } = self;
        let url = listeners.url()?;
        let (stored, used) = context.store.read(kept_files).await?;
        bundles::sweep(&context.layout, &stored, &used);
        let disk = context.disk.clone().watch(context.shutdown.stopping.clone());
        context.tasks.spawn(TaskKind::Critical, "disk", disk);
        // Before anything can happen to a formation.
        webhooks::subscribe(&context).await?;
        let deliver = webhooks::deliver(Arc::clone(&context));
        context.tasks.spawn(TaskKind::Critical, "webhooks", deliver);
        context.audit.open().await?;
        let supervisor = Supervisor::new(Arc::clone(&context));
        let count = supervisor.boot().await?;
        let observing = metrics::observe_operations(Arc::clone(&context));
        context.tasks.spawn(TaskKind::PerFormation, "operations' metrics", observing);
        tracing::info!(formations = count, "reconciling");

        let sweeping = logs::sweep_hourly(Arc::clone(&context));
        context.tasks.spawn(TaskKind::PerFormation, "log sweep", sweeping);
        listeners.serve(http::router(&supervisor), &context)?;
        let (tasks, shutdown) = (context.tasks.clone(), context.shutdown.clone());
        running::report(&context.layout, &reloader.running(url.clone(), &context))
            .context("failed to say in the data folder where the manager listens")?;
        if let Some(notifier) = Notifier::from_environment() {
            let telling = notifier.run(Arc::clone(&context), url);
            tasks.spawn(TaskKind::Critical, "systemd", telling);
        }
        let reloading = reloader.run(Arc::clone(&context), hangup);
        tasks.spawn(TaskKind::Critical, "reload", reloading);

        let grace = Duration::from_millis(context.config.limits.shutdown_ms);
        let drained = async {
            context.shutdown.stopping.cancelled().await;
            tasks.drain(grace).await;
        };
        shutdown.run(signals, grace, drained).await;
        let left = tasks.drain(Duration::from_secs(1)).await;
        let traces = context.traces.clone();
        tokio::task::spawn_blocking(move || traces.shutdown()).await?;
        running::retract(&context.layout);
        if !left.is_empty() {
            tracing::warn!(tasks = left.join(", "), "did not finish in time");
        }
        Ok(left.is_empty() && !tasks.critical_failed())
    }
}

/// Each formation with its generations, and the archives in use.
fn kept_files(db: &rusqlite::Connection) -> Result<(Vec<bundles::Kept>, Vec<String>), StoreError> {
    let mut stored = Vec::new();
    for formation in formations::with_drafts(db)? {
        let kept = generations::of(db, &formation.id)?.iter().map(|it| it.number).collect();
        stored.push(bundles::Kept { formation: formation.id, generations: kept });
    }
    Ok((stored, generations::bundles(db)?))
}

/// Descriptors that connections leave for the store, probes, sockets and logs.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Takes all descriptors that the system grants, and as many connections as they carry: a proxied
/// one needs two.
fn fit_connections(wanted: usize) -> usize {
    let granted = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    let granted = match granted {
        Ok(granted) => granted,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| soft)
        }
    };
    let carried = usize::try_from(granted.saturating_sub(RESERVED_DESCRIPTORS) / 2);
    let carried = carried.unwrap_or(usize::MAX).max(1);
    if carried < wanted {
        tracing::warn!(wanted, carried, "fewer connections: the limit of open files is low");
    }
    wanted.min(carried)
}

pub(crate) fn runtime_program(configured: &str) -> anyhow::Result<PathBuf> {
    const NAME: &str = "formation-runtime";
    if !configured.is_empty() {
        let path = PathBuf::from(configured);
        anyhow::ensure!(path.is_file(), "runtime.program `{configured}` is not a file");
        return Ok(std::path::absolute(path)?);
    }
    let beside = std::env::current_exe()?.with_file_name(NAME);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(NAME));
    std::iter::once(beside).chain(in_path).find(|candidate| candidate.is_file()).with_context(
        || format!("`{NAME}` is neither beside this program nor in PATH; set runtime.program"),
    )
}

pub(crate) fn models_dir(configured: &str) -> PathBuf {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if !configured.is_empty() {
        return PathBuf::from(configured);
    }
    from("MUXI_MODELS_DIR").unwrap_or_else(|| {
        let home = || from("HOME").unwrap_or_else(|| PathBuf::from("/")).join(".cache");
        from("XDG_CACHE_HOME").unwrap_or_else(home).join("muxi/models")
    })
}
