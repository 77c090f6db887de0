//! `muxi-server`: args → config → bind → run → exit code.

mod args;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use muxi_server::app::Manager;
use muxi_server::config::Folders;
use muxi_server::reload::Reloader;
use muxi_server::{jail, logs};
use muxi_service::telemetry;
use rustix::fs::Mode;

use self::args::{Args, Command, StartArgs};

/// The first descriptor after the standard ones.
const FIRST_INHERITED: i32 = 3;
/// Blocking work that is under way at the end is waited for so long.
const SHUTDOWN_OF_BLOCKING: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Before anything else: the launcher must still be one thread, and the log writer stays one.
    match std::env::args().nth(1).as_deref() {
        Some(jail::ARGUMENT) => return fail(&anyhow::Error::new(jail::launch())),
        Some(logs::ARGUMENT) => {
            let written = logs::write();
            return written.map_or_else(|error| fail(&error.into()), |()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    // Whatever is written, by this process or its children, is this user's only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // What this process inherited is for it alone: a pipe that a formation held would never end.
    close_fds::set_fds_cloexec(FIRST_INHERITED, &[]);
    // Every client and server of this process uses this one; a second in the build would be a panic.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().expect("nobody was here before");
    let folders = Folders::from_environment();
    let done = match Args::parse().command {
        Command::Init(args) => args.run(&folders),
        Command::Start(args) => start(&args, &folders),
        Command::Reload => args::control::reload(&folders),
        Command::Stop(args) => args.run(&folders),
        Command::Backup(args) => args.run(&folders),
        Command::Restore(args) => args.run(&folders),
        Command::Status(args) => args.run(&folders),
        Command::Doctor(args) => args.run(&folders),
        Command::Service(command) => command.run(&folders),
        Command::Upgrade => Err(anyhow::anyhow!(
            "this program does not replace itself; install the new version as you installed this one, \
             then restart the manager: formations and data stay"
        )),
        Command::Keys(command) => command.run(&folders),
        Command::Audit(command) => command.run(&folders),
        Command::Config(command) => command.run(&folders),
        Command::Version => Ok(args::print(&format!("muxi-server {}\n", muxi_server::VERSION))),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn start(args: &StartArgs, folders: &Folders) -> anyhow::Result<ExitCode> {
    let source = args.source(folders)?;
    let (config, warnings) = source.read()?;
    if args.dump_config {
        return Ok(args::print(&config.to_masked_yaml()));
    }
    let level = telemetry::start(config.logging.format, &config.logging.level)?;
    for warning in &warnings {
        tracing::warn!(config = %source.path.display(), "{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("manager")
        .enable_all()
        .build()
        .context("failed to start the async runtime")?;
    let entered = runtime.enter();
    let manager = Manager::bind(config, Reloader::new(source, level, warnings), folders)?;
    args::print(&format!("muxi-server listens on {}\n", manager.url()?));
    let clean = runtime.block_on(manager.serve())?;
    // Unpacking that goes on is of no use any more; the next start sweeps what it leaves.
    drop(entered);
    runtime.shutdown_timeout(SHUTDOWN_OF_BLOCKING);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stderr, reason = "the last words of a process that could not start")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("muxi-server: {error:#}");
    ExitCode::FAILURE
}
