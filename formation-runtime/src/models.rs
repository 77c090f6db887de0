//! Local models: the commands around them, and the host that serves them.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use muxi_contract::ids::nanoid;
use muxi_local_llm::engine;
use muxi_local_llm::files::{self, ModelState};
use muxi_local_llm::host::{self, HostOptions};
use muxi_service::{Shutdown, Signals, listen, unix_path};
use tokio_util::sync::CancellationToken;

use crate::cli::{ModelHost, Models};
use crate::report;

/// A path that nobody else has, for the socket of a host within this process.
#[derive(Debug)]
pub struct PrivateSocket {
    folder: PathBuf,
}

/// A socket in a folder of its own; both are removed when this is dropped.
#[derive(Debug)]
pub struct BoundSocket {
    folder: PathBuf,
}

/// Where models lie: `MUXI_MODELS_DIR`, else the user's cache.
pub fn models_dir(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MUXI_MODELS_DIR").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("muxi/models")
    })
}

/// Starts this program anew with the environment that an engine needs, unless it has it. The process
/// stays the same, and so do the sockets that a manager passed on, if nobody has taken them yet.
///
/// The arithmetic library reads its settings from the environment, which a process cannot change
/// for itself safely.
pub fn ensure_engine_environment() -> io::Result<()> {
    // Half of the cores: beside other busy processes, a thread too many halves the speed of all.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    let needed = engine::process_environment(threads);
    if needed.iter().all(|(name, _)| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let missing = needed.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let mut arguments = std::env::args_os();
    // By this path a program starts anew even when an upgrade has replaced its file meanwhile.
    let mut command = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // `exec` returns only when it failed.
    Err(command.args(arguments).envs(missing).exec())
}

/// `models list` and `models import`.
pub fn run(command: &Models, models_dir: &Path) -> anyhow::Result<()> {
    match command {
        Models::List => {
            for name in files::list(models_dir) {
                match files::state(models_dir, &name) {
                    ModelState::Ready { path, bytes } => {
                        report::ok(&format!("{name}: {bytes} bytes in {}", path.display()));
                    }
                    ModelState::Missing { reason } => report::info(&format!("{name}: {reason}")),
                    ModelState::Failed { reason } => report::warn(&format!("{name}: {reason}")),
                }
            }
        }
        Models::Import { file } => {
            let imported = files::import(file, models_dir)
                .with_context(|| format!("failed to import {}", file.display()))?;
            let what = if imported.already_present { "was there already" } else { "imported" };
            report::ok(&format!("{} {what}: {} bytes", imported.path.display(), imported.bytes));
        }
    }
    Ok(())
}

/// `model-host`: on the socket that was passed on, else on the one that is named.
/// Ends at a signal, or by itself when it is no longer needed.
pub async fn host(arguments: &ModelHost, models_dir: PathBuf) -> anyhow::Result<()> {
    let listener = match (listen::inherited_unix()?, &arguments.socket) {
        (Some(inherited), _) => inherited,
        (None, Some(path)) => {
            unix_path::bind(path).with_context(|| format!("failed to bind {}", path.display()))?
        }
        (None, None) => anyhow::bail!("name the socket to listen on with --socket PATH"),
    };
    let mut options = HostOptions::new(models_dir);
    options.idle_exit = arguments.idle_exit_s.map(Duration::from_secs);
    options.socket_path.clone_from(&arguments.socket);
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let signals = Signals::listen().context("failed to listen for signals")?;
    report::ok("serving local models");
    let shutdown = Shutdown::new();
    let serving = host::serve(listener, options, shutdown.stopping.clone());
    tokio::pin!(serving);
    // Order does not matter: each arm is an end, and the host is asked on after a signal.
    let ended = tokio::select! {
        ended = &mut serving => ended?,
        () = shutdown.run(signals, Duration::ZERO, async {}) => serving.await?,
    };
    tracing::info!(?ended, "the model host has ended");
    Ok(())
}

/// Serves the models of this machine within this process, for a runtime without a manager.
pub async fn host_within(
    listener: tokio::net::UnixListener,
    models_dir: PathBuf,
    shutdown: CancellationToken,
) {
    let ended = host::serve(listener, HostOptions::new(models_dir), shutdown).await;
    if let Err(error) = ended {
        tracing::error!(error = ?error, "local models are not served any more");
    }
}

// === impl PrivateSocket ===

impl PrivateSocket {
    /// Chooses the path; nothing is made yet.
    pub fn choose() -> Self {
        Self { folder: std::env::temp_dir().join(format!("muxi-models-{}", nanoid())) }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("host.sock")
    }

    pub fn bind(self) -> io::Result<(BoundSocket, tokio::net::UnixListener)> {
        // The folder's mode decides who may use the models.
        std::fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
        let bound = BoundSocket { folder: self.folder.clone() };
        Ok((bound, tokio::net::UnixListener::from_std(unix_path::bind(&self.path())?)?))
    }
}

// === impl BoundSocket ===

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "a left-over folder");
        }
    }
}
