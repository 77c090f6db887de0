//! The model host: one process a machine that serves local models to all formations.
//!
//! The manager holds its listening socket and starts it when somebody connects; it ends by itself
//! when idle, which frees its memory until the next connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muxi_contract::launch::{LaunchSpec, ResourceLimits};
use tokio::time::Instant;

use super::Context;
use super::instance::{StartError, keep_log, outlet, passed_environment};
use super::process::{self, Descriptors, Process};
use crate::config::OnManagerStop;
use crate::layout::Layout;
use crate::logs;

const NAME: &str = "model-host";
/// A host that ended sooner than this is not started again at once.
const TOO_SHORT: Duration = Duration::from_secs(5);
const PAUSE_AFTER_SHORT: Duration = Duration::from_secs(5);
/// Candle's thread pool spins; beside other busy processes that costs most of its speed.
const SPIN_LIMIT: (&str, &str) = ("CANDLE_BARRIER_POOL_SPIN_LIMIT", "1000");

/// Serves until the manager stops.
pub(super) async fn watch(context: Arc<Context>) {
    let path = context.layout.model_host_socket();
    let listener = match muxi_service::unix_path::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "local models are not available");
            return;
        }
    };
    if let Err(error) = context.sandbox.share_with_formations(&path) {
        tracing::error!(%error, "formations with users of their own cannot use local models");
    }
    loop {
        let asked = async {
            let watched = listener.try_clone().ok()?;
            context.reaper.readable(watched.into())?.await.ok()
        };
        tokio::select! {
            biased;
            () = context.shutdown.stopping.cancelled() => return,
            asked = asked => if asked.is_none() {
                tracing::error!("the model host's socket cannot be watched");
                return;
            },
        }
        let started = Instant::now();
        let host = listener
            .try_clone()
            .map_err(StartError::Duplicate)
            .and_then(|socket| start(&context, &path, socket.into()));
        match host {
            Ok(host) => serve(&context, host).await,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the model host did not start"
                );
            }
        }
        if context.shutdown.stopping.is_cancelled() {
            return;
        }
        if started.elapsed() < TOO_SHORT {
            tracing::warn!("the model host ended early; see its log");
            tokio::time::sleep(PAUSE_AFTER_SHORT).await;
        }
    }
}

async fn serve(context: &Context, host: Process) {
    let Process { handle, mut wait } = host;
    tracing::info!(pid = handle.identity.pid, "the model host started");
    tokio::select! {
        biased;
        exit = &mut wait => tracing::info!(exit = exit.0, "the model host ended"),
        () = context.shutdown.stopping.cancelled() => {
            if context.live().formations.on_manager_stop == OnManagerStop::Stop {
                handle.terminate();
                let grace = Duration::from_secs(context.live().formations.stop_grace.into());
                if tokio::time::timeout(grace, wait).await.is_err() {
                    handle.kill();
                }
            }
        }
    }
    handle.sweep_group();
}

fn start(
    context: &Context,
    path: &Path,
    socket: std::os::fd::OwnedFd,
) -> Result<Process, StartError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = passed_environment(context);
    environment.insert(SPIN_LIMIT.0.to_owned(), SPIN_LIMIT.1.to_owned());
    environment.insert("MUXI_MODELS_DIR".to_owned(), text(&context.models_dir));
    let spec = LaunchSpec {
        program: text(&context.runtime),
        args: vec![
            "model-host".to_owned(),
            "--idle-exit-s".to_owned(),
            context.live().runtime.model_host_idle().to_string(),
            // The host ends when another manager has put a new socket there.
            "--socket".to_owned(),
            text(path),
        ],
        environment,
        sockets: 1,
        limits: ResourceLimits {
            open_files: context.live().formations.limits.open_files,
            ..ResourceLimits::default()
        },
        // It runs none of a formation's code, and reads models from wherever they lie.
        cgroup: None,
        user: None,
        fence: None,
        report: None,
    };
    // Its processes are told apart by time alone.
    let outlet = outlet(context, Layout::MODEL_HOST_LOG, 0);
    let (log, keeper) = logs::open(outlet).map_err(StartError::Log)?;
    let descriptors = Descriptors { stdout: log.stdout, stderr: log.stderr, sockets: vec![socket] };
    Ok(keep_log(context, keeper, process::spawn(&spec, NAME, descriptors)?))
}
