//! One instance: how it is started, watched until it is healthy, and watched while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use muxi_contract::FormationId;
use muxi_contract::launch::{
    ACCEPT_ROUTE, DRAFT_VAR, HEALTH_ROUTE, LaunchSpec, MODEL_HOST_SOCKET_VAR,
};
use muxi_contract::logs::LogCursor;
use muxi_service::cors::ORIGINS_VAR;
use muxi_service::unix_path;
use tokio::sync::mpsc;

use super::Context;
use super::lifecycle::InstanceNumber;
use super::probe::{self, ProbeError};
use super::process::{self, Descriptors, INSTANCE_VAR, Process, ProcessError};
use crate::config::OnManagerStop;
use crate::layout::Layout;
use crate::logs;
use crate::ports::Lease;
use crate::sandbox::{self, SandboxError};

/// What an instance is started with.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) formation: FormationId,
    pub(super) instance: InstanceNumber,
    pub(super) generation: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("failed to prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
    #[error("its port {0} is taken by another program")]
    NoPort(u16),
    #[error("failed to start the log")]
    Log(#[source] io::Error),
    #[error("failed to duplicate the formation's socket")]
    Duplicate(#[source] io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A fresh instance has this long for one answer before it is asked anew; also the pace at which
/// attempts are reported, which existing clients take for one second.
const START_PROBE: Duration = Duration::from_secs(1);
/// Between a refused question and the next.
const START_PAUSE: Duration = Duration::from_millis(10);
/// How long a draining instance may take to say how many requests it has.
const ACTIVITY_PATIENCE: Duration = Duration::from_secs(2);
/// How long a retired instance serves connections that were idle when it retired.
const LINGER: Duration = Duration::from_secs(1);
/// Between two questions whether a draining instance is idle.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Variables of the manager that every instance sees, because its libraries read them.
const BASE_ENVIRONMENT: [&str; 13] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];
/// An end of a log that is read for a report.
const LOG_TAIL_BYTES: usize = 16 << 10;

/// Starts the process. Its sockets exist before it does, so the first question cannot miss it.
pub(super) async fn start(
    context: &Context,
    plan: &Plan,
    lease: &Lease,
) -> Result<Process, StartError> {
    let Plan { formation, instance, generation } = plan;
    let layout = &context.layout;
    let data = layout.formation_data(formation);
    let jail = sandbox::prepare(context, formation, *instance, *generation).await?;
    let prepare = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Prepare { path, source }
    };
    let bind = |path: PathBuf| unix_path::bind(&path).map_err(prepare(&path));
    let (log, keeper) =
        logs::open(outlet(context, formation.as_str(), *instance)).map_err(StartError::Log)?;
    let descriptors = Descriptors {
        stdout: log.stdout,
        stderr: log.stderr,
        sockets: vec![
            lease.duplicate().map_err(StartError::Duplicate)?,
            bind(layout.private_socket(formation, *instance))?.into(),
            bind(layout.handoff_socket(formation, *instance))?.into(),
        ],
    };
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let (host, port) = (context.ports.host().to_string(), lease.port.to_string());
    let name = instance_name(layout, formation, *instance);
    let mut environment = passed_environment(context);
    environment.extend(
        [
            ("PORT", port.clone()),
            ("HOST", host.clone()),
            ("FORMATION_ID", formation.formation().to_string()),
            ("MUXI_SERVER_URL", context.live().server.url()),
            ("MUXI_ENV", "production".to_owned()),
            (MODEL_HOST_SOCKET_VAR, text(layout.model_host_socket())),
            (ORIGINS_VAR, context.live().proxy.cors.allow_origins.join(",")),
            (INSTANCE_VAR, name.clone()),
            ("TMPDIR", text(jail.temp)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if formation.is_draft() {
        environment.insert(DRAFT_VAR.to_owned(), "1".to_owned());
    }
    let spec = LaunchSpec {
        program: text(context.runtime.clone()),
        args: vec![
            text(layout.generation(formation, *generation)),
            "--data-dir".to_owned(),
            text(data),
            "--host".to_owned(),
            host,
            "--port".to_owned(),
            port,
        ],
        environment,
        sockets: 3,
        limits: jail.limits,
        cgroup: jail.cgroup,
        user: jail.user,
        fence: jail.fence,
        report: Some(jail.report),
    };
    Ok(keep_log(context, keeper, process::spawn(&spec, &name, descriptors)?))
}

/// Resolves once the instance is healthy and has begun to accept on the formation's port.
/// Each attempt is counted into `attempts`, once a second.
pub(super) async fn until_healthy(socket: PathBuf, attempts: mpsc::Sender<u32>) {
    let mut attempt = 0;
    let mut counted_at = None::<tokio::time::Instant>;
    loop {
        if counted_at.is_none_or(|at| at.elapsed() >= START_PROBE) {
            attempt += 1;
            counted_at = Some(tokio::time::Instant::now());
            // A full queue only loses a progress message.
            let _full = attempts.try_send(attempt);
        }
        let healthy = async {
            probe::ask(&socket, Method::GET, HEALTH_ROUTE, START_PROBE).await?;
            probe::ask(&socket, Method::POST, ACCEPT_ROUTE, START_PROBE).await
        };
        match healthy.await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "not healthy yet"),
        }
        tokio::time::sleep(START_PAUSE).await;
    }
}

/// Resolves once a retired instance has no open request left. Connections that were idle when it
/// retired get a while to be used once more, for a client cannot know that they end.
pub(super) async fn until_idle(socket: PathBuf) {
    tokio::time::sleep(LINGER).await;
    loop {
        match probe::open_requests(&socket, ACTIVITY_PATIENCE).await {
            Ok(0) | Err(ProbeError::Status(_)) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "asked again whether it is idle"),
        }
        tokio::time::sleep(IDLE_PAUSE).await;
    }
}

/// Resolves once the instance failed too many probes in a row; each result goes to `seen`.
pub(super) async fn until_unresponsive(
    socket: PathBuf,
    interval: Duration,
    patience: Duration,
    failures_max: u32,
    (instance, seen): (InstanceNumber, mpsc::Sender<(InstanceNumber, bool, Duration)>),
) {
    let mut failures = 0;
    while failures < failures_max {
        tokio::time::sleep(interval).await;
        let asked = tokio::time::Instant::now();
        let answer = probe::ask(&socket, Method::GET, HEALTH_ROUTE, patience).await;
        if answer.as_ref().is_err_and(ProbeError::is_ours) {
            tracing::warn!("a probe could not be made: the manager has no free descriptor");
            continue;
        }
        failures = if answer.is_ok() { 0 } else { failures + 1 };
        // A full queue only delays what `healthy` says.
        let _full = seen.try_send((instance, answer.is_ok(), asked.elapsed()));
    }
}

/// The id by which an instance is found among all processes, those of other managers included.
pub(super) fn instance_name(
    layout: &Layout,
    formation: &FormationId,
    instance: InstanceNumber,
) -> String {
    layout.private_socket(formation, instance).to_string_lossy().into_owned()
}

/// Removes the sockets of an instance that is gone, and whatever else was its own.
pub(super) fn remove_sockets(context: &Context, formation: &FormationId, instance: InstanceNumber) {
    sandbox::remove_traces(context, formation, instance);
    let layout = &context.layout;
    for path in
        [layout.private_socket(formation, instance), layout.handoff_socket(formation, instance)]
    {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a socket could not be removed");
        }
    }
}

/// Takes up the log of an adopted instance.
pub(super) fn adopt_log(
    context: &Context,
    formation: &FormationId,
    instance: InstanceNumber,
    process: Process,
) -> Process {
    let outlet = outlet(context, formation.as_str(), instance);
    match logs::adopt(outlet, process.handle.identity.pid, &context.reaper) {
        Ok(keeper) => keep_log(context, keeper, process),
        Err(error) => {
            tracing::warn!(%formation, instance, %error, "its log goes on without this manager");
            process
        }
    }
}

/// The end of the log now, to report later only what came after.
pub(super) fn log_end(context: &Context, formation: &FormationId) -> LogCursor {
    logs::end(&context.layout.log(formation.as_str())).unwrap_or_default()
}

/// The last lines that the instance wrote after `from`.
pub(super) fn log_tail(
    context: &Context,
    formation: &FormationId,
    instance: InstanceNumber,
    from: LogCursor,
) -> Vec<String> {
    let selection =
        logs::Selection { instance: Some(instance), after: from, ..logs::Selection::default() };
    let folder = context.layout.log(formation.as_str());
    let lines_max = context.live().limits.log_tail_lines;
    let tail = logs::tail(&folder, &selection, lines_max, LOG_TAIL_BYTES).unwrap_or_default();
    let lines = tail.entries.into_iter().map(|entry| entry.line);
    let mut lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
    lines.split_off(lines.len().saturating_sub(lines_max))
}

/// Where the lines of one instance go.
pub(super) fn outlet(context: &Context, log: &str, instance: InstanceNumber) -> logs::Outlet {
    logs::Outlet {
        folder: context.layout.log(log),
        instance,
        rotation: context.live().formations.log_rotation(),
    }
}

/// Keeps the log for as long as this manager looks after the instance.
pub(super) fn keep_log(context: &Context, keeper: logs::Keeper, process: Process) -> Process {
    let shutdown = &context.shutdown;
    let stop = match context.config.formations.on_manager_stop {
        OnManagerStop::Keep => &shutdown.stopping,
        OnManagerStop::Stop => &shutdown.closing,
    };
    keeper.attend(process, &context.tasks, stop.clone())
}

/// What children may see of the manager's environment.
pub(super) fn passed_environment(context: &Context) -> BTreeMap<String, String> {
    let live = context.live();
    let extra = live.formations.pass_environment.iter().map(String::as_str);
    let names = BASE_ENVIRONMENT.into_iter().chain(extra);
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}
