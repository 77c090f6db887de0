//! Puts a formation on its sockets and sees it through to its end.

use std::io::{self, IsTerminal as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use muxi_contract::FormationId;
use muxi_contract::launch::DRAFT_VAR;
use muxi_formation::{Manifest, Persistent};
use muxi_memory::{DATABASE_FILE, Location, Retention, Store};
use muxi_service::listen::{self, Inherited};
use muxi_service::{Clock, Shutdown, Signals, TaskGroup, TaskKind, accept, handoff};
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::activity::OpenRequests;
use crate::app::{App, Parts};
use crate::artifacts::Artifacts;
use crate::callers::Callers;
use crate::cli::Serve;
use crate::conversation::{Conversations, TurnContext, recovery};
use crate::events::{Event, EventKind, EventLog};
use crate::http;
use crate::instance::{SharedPort, send_at_once};
use crate::jobs::{self, Jobs};
use crate::keys::{KEYS_FILE, KeyClass, Keys};
use crate::limits::Limits;
use crate::load::Formation;
use crate::logging::{Entities, Logging, Means, Worker};
use crate::models::{self, BoundSocket, PrivateSocket};
use crate::redact::Redactor;
use crate::report;
use crate::safe::{Purpose, Safe};
use crate::scheduler;
use crate::team::Team;
use crate::tools::{self, Entrusted, Entrusting, Tools};
use crate::webhooks;

/// Where a formation that was loaded is to be served.
#[derive(Debug)]
pub struct Place {
    pub arguments: Serve,
    /// Sockets from a manager; without them the process binds its own.
    pub inherited: Option<Inherited>,
    /// The socket of this process's own model host and the models' folder, if it needs one.
    pub model_host: Option<(PrivateSocket, PathBuf)>,
}

/// What runs besides the accept loops.
struct Running {
    tasks: TaskGroup,
    /// Apart from the others: it must outlive the turns that ask it.
    helpers: TaskGroup,
    shutdown: Shutdown,
    limits: Limits,
}

/// Where callers come in.
enum Door {
    /// A manager bound it, and says when to accept.
    Inherited(Inherited),
    Own(std::net::TcpListener),
}

/// What carries logs away; it outlives everything that has something to say.
struct Logs {
    tasks: TaskGroup,
    stop: CancellationToken,
}

/// Serves until a signal; the answer is whether it ended in good order.
pub async fn run(formation: Formation, place: Place) -> anyhow::Result<bool> {
    let Place { arguments, inherited, model_host } = place;
    let data_dir = formation.secrets.data_dir().to_owned();
    let shutdown = Shutdown::new();
    let running = Running {
        tasks: TaskGroup::new(shutdown.stopping.clone()),
        helpers: TaskGroup::new(shutdown.stopping.clone()),
        shutdown,
        limits: Limits::default(),
    };
    // Before anything is begun that would have to end again.
    let door = match inherited {
        Some(sockets) => Door::Inherited(sockets),
        None => Door::Own(bound(own_address(&formation, &arguments)?)?),
    };
    let requests = OpenRequests::default();
    let (app, log_workers) = app(formation, &data_dir, &running, &requests)?;
    // Not earlier: this waits for a database, and until somebody is served a signal may simply kill.
    let signals = Signals::listen().context("failed to listen for signals")?;
    let logs = Logs::begin(log_workers, &running.shutdown);
    running.look_after_requests(&app);

    // Kept until the end: dropping it removes the socket.
    let _socket = model_host
        .map(|(socket, models_dir)| running.host_models(socket, models_dir))
        .transpose()?;
    let is_managed = matches!(door, Door::Inherited(_));
    let public = http::public(Arc::clone(&app), &requests, arguments.cors_origins.clone());
    let address = match door {
        Door::Inherited(sockets) => {
            let private = |port| http::private(Arc::clone(&app), &requests, port);
            running.serve_inherited(public, private, sockets)?
        }
        Door::Own(listener) => running.serve_own(public, listener)?,
    };
    announce(&app, &data_dir, address, is_managed);
    let (events, clock) = (app.events.clone(), app.clock.clone());
    let told = format!("{} {} serves", app.manifest.id, app.manifest.version);
    events.tell(Event::new(EventKind::FormationStarted, clock.now(), told));
    drop(app);

    let Running { tasks, helpers, shutdown, limits } = running;
    let grace = Duration::from_millis(arguments.grace_ms);
    let drained = async {
        let told = "the formation ends what is open and stops";
        events.tell(Event::new(EventKind::FormationStopping, clock.now(), told));
        // Its end is the news; who did not finish is asked below, after they were told to.
        drop(tasks.drain(grace).await);
    };
    shutdown.clone().run(signals, grace, drained).await;
    let unfinished =
        [tasks.drain(limits.settle).await, helpers.drain(limits.settle).await].concat();
    // Last, so that what the others said at their ends gets out.
    let unfinished = [unfinished, logs.end(limits.settle).await].concat();
    if !unfinished.is_empty() {
        tracing::warn!(tasks = ?unfinished, "did not finish in time");
    }
    Ok(!tasks.critical_failed() && !helpers.critical_failed())
}

// === impl Running ===

impl Running {
    fn serve_own(
        &self,
        public: Router,
        listener: std::net::TcpListener,
    ) -> anyhow::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(send_at_once);
        let serving = accept::serve(
            listener,
            public,
            self.limits.accept,
            self.tasks.clone(),
            self.shutdown.clone(),
        );
        self.tasks.spawn(TaskKind::Critical, "listener", serving);
        Ok(address)
    }

    /// The private socket is served at once, the formation's port when the manager says so.
    fn serve_inherited(
        &self,
        public: Router,
        private_routes: impl FnOnce(SharedPort) -> Router,
        sockets: Inherited,
    ) -> anyhow::Result<SocketAddr> {
        let Inherited { shared, private, handoff: handoff_listener } = sockets;
        let address = shared.local_addr()?;
        let shared_copy = shared.try_clone()?;
        let (limits, shutdown) = (self.limits, &self.shutdown);
        let port =
            SharedPort::new(shared, public, limits.accept, self.tasks.clone(), shutdown.clone());
        let private = tokio::net::UnixListener::from_std(private)?;
        let app = private_routes(port);
        let serving = accept::serve(
            private,
            app,
            limits.accept_private,
            self.tasks.clone(),
            shutdown.clone(),
        );
        self.tasks.spawn(TaskKind::Critical, "private listener", serving);
        let handoff_listener = tokio::net::UnixListener::from_std(handoff_listener)?;
        let handing =
            handoff::serve(handoff_listener, shared_copy.into(), shutdown.stopping.clone());
        self.tasks.spawn(TaskKind::Critical, "handoff", handing);
        Ok(address)
    }

    /// Requests that nobody waits for, of this process and of those before it, jobs, and webhooks.
    fn look_after_requests(&self, app: &App) {
        let stop = self.shutdown.closing.clone();
        let recovery = recovery::run(Arc::clone(app), stop.clone());
        self.helpers.spawn(TaskKind::Critical, "abandoned requests", recovery);
        let jobs = scheduler::run(Arc::clone(app), stop.clone());
        self.helpers.spawn(TaskKind::Critical, "jobs", jobs);
        let found = Arc::clone(app);
        self.helpers.spawn(TaskKind::PerFormation, "tool servers", async move {
            let tell = |server: &str, found_: Result<String, String>| {
                let (kind, message) = match found_ {
                    Ok(message) => (EventKind::ServerConnected, message),
                    Err(fault) => {
                        report::warn(&fault);
                        (EventKind::ServerFailed, fault)
                    }
                };
                found.events.tell(found.event(kind, message).with("server", server));
            };
            found.team.tools.discover(tell).await;
        });
        let background = jobs::run(Arc::clone(app), stop.clone());
        self.helpers.spawn(TaskKind::Critical, "background jobs", background);
        let webhooks = webhooks::run(Arc::clone(app), stop);
        self.helpers.spawn(TaskKind::Critical, "webhooks", webhooks);
    }

    fn host_models(
        &self,
        socket: PrivateSocket,
        models_dir: PathBuf,
    ) -> anyhow::Result<BoundSocket> {
        let (bound, listener) =
            socket.bind().context("failed to bind the socket of the model host")?;
        let serving = models::host_within(listener, models_dir, self.shutdown.closing.clone());
        // Critical: an engine that crashed works again in a new process only.
        self.helpers.spawn(TaskKind::Critical, "model host", serving);
        Ok(bound)
    }
}

// === impl Logs ===

impl Logs {
    fn begin(workers: Vec<Worker>, shutdown: &Shutdown) -> Self {
        let (tasks, stop) = (TaskGroup::new(shutdown.stopping.clone()), CancellationToken::new());
        for worker in workers {
            tasks.spawn(TaskKind::PerFormation, worker.name(), worker.run(stop.clone()));
        }
        Self { tasks, stop }
    }

    async fn end(self, deadline: Duration) -> Vec<String> {
        self.stop.cancel();
        self.tasks.drain(deadline).await
    }
}

// === private helpers ===

const DEFAULT_HOST: &str = "127.0.0.1";

fn app(
    formation: Formation,
    data_dir: &Path,
    running: &Running,
    open_requests: &OpenRequests,
) -> anyhow::Result<(App, Vec<Worker>)> {
    let Formation { loaded, agents, scheduler, document, soul_written, secrets } = formation;
    let folder = secrets.folder().to_owned();
    let Running { tasks, shutdown, limits, .. } = running;
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("failed to make the folder {}", data_dir.display()))?;
    for warning in &loaded.warnings {
        report::warn(&warning.to_string());
    }
    let manifest = &loaded.manifest;
    // The largest file that the bundle takes must find room.
    let file_bytes = manifest.input_limits.max_file_size_bytes;
    let limits =
        &Limits { file_bytes_at_work: limits.file_bytes_at_work.max(file_bytes), ..*limits };
    let store = open_store(&manifest.id, &manifest.memory, data_dir, limits)?;
    let callers = manifest.a2a.callers().map(Callers::new).transpose()?;
    let keys = Keys::settle(&manifest.server.api_keys, data_dir)?;
    let redactor = secrets.redactor().clone();
    redactor.learn([KeyClass::Client, KeyClass::Admin].map(|class| keys.get(class)));
    let clock = Clock::system();
    let (logging, log_workers) = logging(manifest, data_dir, &redactor, &clock, limits);
    let destinations = logging.all().cloned().collect();
    let events = EventLog::feeding(destinations, limits.events_kept, clock.now_ms());
    let artifacts = Artifacts::new(
        manifest.artifacts.clone(),
        store.clone(),
        data_dir,
        clock.clone(),
        limits.artifacts_per_user,
    );
    let safe = Safe::new(data_dir, Purpose::Credentials);
    let entrusted = Entrusted::new(
        store.clone(),
        safe.clone(),
        clock.clone(),
        redactor.clone(),
        Entrusting::of(manifest),
    );
    // What is started works elsewhere, where a relative path leads astray.
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let (helpers, stop) = (running.helpers.clone(), &shutdown.stopping);
    let servers = tools::servers(&loaded, (&folder, data_dir), &entrusted, helpers, stop);
    let jobs = Jobs::new(&loaded, &folder, data_dir).map_err(anyhow::Error::msg)?;
    let mut builtin = tools::builtin(&store, &artifacts);
    builtin.extend(jobs.tools());
    let helpers = &running.helpers;
    let place =
        tools::Place { folder: &folder, data_dir, store: &store, clock: &clock, tasks: helpers };
    let secret = |name: &str| secrets.value(name);
    let tools = Tools::new(&loaded, servers, builtin, &place, &secret, redactor.clone());
    let tools = tools.map_err(anyhow::Error::msg)?;
    let team = Team::of(&loaded, agents.clone(), tools).map_err(anyhow::Error::msg)?;
    let team = Arc::new(team);
    let manifest = *loaded.manifest;
    let conversations = Conversations::new(TurnContext {
        team: Arc::clone(&team),
        formation: manifest.id.clone(),
        store: store.clone(),
        soul: loaded.soul.into(),
        usage: Arc::new(manifest.usage.clone()),
        history_messages: manifest.memory.buffer.size,
        clock: clock.clone(),
        limits: *limits,
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
        open_requests: open_requests.clone(),
        events: events.clone(),
        artifacts: artifacts.clone(),
    });
    let open_requests = open_requests.clone();
    let (started, limits) = (clock.now(), *limits);
    let app = Parts {
        manifest,
        document,
        soul_written,
        secrets,
        agents,
        triggers: loaded.triggers,
        procedures: loaded.procedures,
        skills: loaded.skills,
        mcp_servers: loaded.mcp_servers,
        conversations,
        store,
        artifacts,
        scheduler,
        jobs,
        events,
        redactor,
        logging,
        open_requests,
        large_bodies: Arc::new(Semaphore::new(limits.large_bodies)),
        keys,
        callers,
        safe,
        team,
        clock,
        started,
        limits,
    };
    let app = Arc::new(app);
    app.jobs.serve(&app);
    Ok((app, log_workers))
}

/// The destinations of logs, and a word on what they cannot do.
fn logging(
    manifest: &Manifest,
    data_dir: &Path,
    redactor: &Redactor,
    clock: &Clock,
    limits: &Limits,
) -> (Logging, Vec<Worker>) {
    let means = Means { formation: &manifest.id, data_dir, redactor, clock, limits };
    let (logging, workers) = Logging::new(&manifest.logging, &means);
    for destination in logging.all() {
        for pattern in destination.takes().pointless() {
            let name = &destination.shown.name;
            report::warn(&format!("logging: `{pattern}` of {name} fits no event; see EVENTS.md"));
        }
    }
    if logging.entities == (Entities::Unavailable { is_asked_for: true }) {
        report::warn(
            "logging.redaction.entities: names of people are not hidden, it takes a model that this \
             version does not have; secrets, keys, addresses and numbers are",
        );
    }
    (logging, workers)
}

/// The part of a shared server that is this formation's; a draft has its own.
fn schema(id: &FormationId) -> String {
    let draft = if std::env::var_os(DRAFT_VAR).is_some() { "-draft" } else { "" };
    format!("muxi-{id}{draft}")
}

fn open_store(
    id: &FormationId,
    memory: &muxi_formation::manifest::Memory,
    data_dir: &Path,
    limits: &Limits,
) -> anyhow::Result<Store> {
    let location = match &memory.persistent {
        Persistent::Sqlite { file } if file == DATABASE_FILE => {
            Location::Folder(data_dir.to_owned())
        }
        Persistent::Sqlite { file } => {
            let file = data_dir.join(file);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("failed to make the folder {}", folder.display()))?;
            }
            Location::File(file)
        }
        Persistent::Postgres { url } => Location::Postgres { url: url.clone(), schema: schema(id) },
        Persistent::Off => Location::Process(Retention {
            messages_per_session: memory.buffer.size.saturating_mul(memory.buffer.multiplier),
            sessions: limits.sessions_in_process,
            memories: limits.memories_in_process,
        }),
    };
    let store = Store::open(&location).context("failed to open the formation's memory")?;
    if let Some((foreign, placed)) =
        store.placed().and_then(|placed| Some((placed.foreign.as_ref()?, placed)))
    {
        let (foreign, file) = (foreign.display(), placed.file.display());
        report::warn(&format!("{foreign} belongs to another program; using {file}"));
    }
    Ok(store)
}

/// Flags win over the bundle; a bundle that names no host is served to this machine only.
fn own_address(formation: &Formation, arguments: &Serve) -> anyhow::Result<SocketAddr> {
    let server = &formation.loaded.manifest.server;
    let names_host = formation.document.pointer("/server/host").is_some_and(|it| !it.is_null());
    let bundles = if names_host { server.host.as_str() } else { DEFAULT_HOST };
    let host = arguments.host.as_deref().unwrap_or(bundles);
    let port = arguments.port.unwrap_or(server.port);
    let resolved = (host, port).to_socket_addrs();
    resolved
        .with_context(|| format!("failed to resolve the host `{host}`"))?
        .next()
        .with_context(|| format!("the host `{host}` has no address"))
}

fn bound(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = listen::bind(address);
    let mend = match listener.as_ref().err().map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => {
            "; another program has it: end that one, or choose with --port (0 takes a free one)"
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            "; this machine does not have it: choose with --host"
        }
        Some(io::ErrorKind::PermissionDenied) => "; choose one from 1024 up with --port",
        _ => "",
    };
    listener.with_context(|| format!("failed to listen on {address}{mend}"))
}

fn announce(app: &App, data_dir: &Path, address: SocketAddr, is_managed: bool) {
    let generated = &app.keys.generated;
    // Keys go to a person at a terminal once; a log is no place for them.
    if !is_managed && io::stdout().is_terminal() {
        for key in generated.iter().filter(|key| key.is_new) {
            let value = app.keys.get(key.class).expose_secret();
            report::info(&format!("generated {} key: {value}", key.class));
        }
    }
    let classes: Vec<&str> = generated.iter().map(|key| KeyClass::name(key.class)).collect();
    let keys = if classes.is_empty() {
        String::new()
    } else {
        let path = data_dir.join(KEYS_FILE);
        format!(", generated {} key in {}", classes.join(" and "), path.display())
    };
    let (id, version) = (&app.manifest.id, &app.manifest.version);
    report::ok(&format!("{id} {version} at http://{address}{keys}"));
}
