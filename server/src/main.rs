//! `muxi-server`: args → config → bind → run → exit code.

mod args;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use muxi_server::app::Manager;
use muxi_server::config::{Config, Folders};
use muxi_server::{init, jail};
use muxi_service::telemetry;

use self::args::{Args, Command, ConfigCommand, InitArgs, StartArgs};

fn main() -> ExitCode {
    // Before anything else: the launcher must still be one thread.
    if std::env::args().nth(1).as_deref() == Some(jail::ARGUMENT) {
        return fail(&anyhow::Error::new(jail::launch()));
    }
    let folders = Folders::from_environment();
    let done = match Args::parse().command {
        Command::Init(args) => run_init(&args, &folders),
        Command::Start(args) => run_start(&args, &folders),
        Command::Config(ConfigCommand::Show { config }) => {
            let path = config.unwrap_or_else(|| folders.config_file());
            Config::read(&path)
                .map(|(config, _)| args::print(&config.to_masked_yaml()))
                .map_err(Into::into)
        }
        Command::Version => Ok(args::print(&format!("muxi-server {}\n", muxi_server::VERSION))),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn run_init(args: &InitArgs, folders: &Folders) -> anyhow::Result<ExitCode> {
    let answers = args.ask()?;
    let made = init::init(&folders.config_file(), &answers.host, answers.port)?;
    Ok(args::print(&args::render_init(&made, &answers)))
}

fn run_start(args: &StartArgs, folders: &Folders) -> anyhow::Result<ExitCode> {
    let path = args.config.clone().unwrap_or_else(|| folders.config_file());
    let (mut config, warnings) = Config::read(&path)?;
    args.apply(&mut config)?;
    if args.dump_config {
        return Ok(args::print(&config.to_masked_yaml()));
    }
    telemetry::start(config.logging.format, &config.logging.level)?;
    for warning in warnings {
        tracing::warn!(config = %path.display(), "{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("manager")
        .enable_all()
        .build()
        .context("failed to start the async runtime")?;
    let _entered = runtime.enter();
    let manager = Manager::bind(config, folders)?;
    args::print(&format!("muxi-server listens on http://{}\n", manager.address()?));
    let clean = runtime.block_on(manager.serve())?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stderr, reason = "the last words of a process that could not start")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("muxi-server: {error:#}");
    ExitCode::FAILURE
}
