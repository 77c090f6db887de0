//! `formation-runtime`: arguments → load → bind → run → exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use formation_runtime::cli::{Cli, Command, Confine, Serve};
use formation_runtime::limits::Limits;
use formation_runtime::load::{self, Formation, Surroundings};
use formation_runtime::logging;
use formation_runtime::models::{self, PrivateSocket};
use formation_runtime::redact::Redactor;
use formation_runtime::{report, serve};
use muxi_contract::launch::MODEL_HOST_SOCKET_VAR;
use muxi_service::listen;
use muxi_service::telemetry::{self, LevelHandle, LogFormat};
use muxi_tools::sandbox;

fn main() -> ExitCode {
    let Cli { serve, command } = Cli::parse();
    // Before anything else: the launcher must still be one thread.
    if let Some(Command::Confine(Confine { spec, command })) = &command {
        // It returns only when the program was not started, and its report says why.
        drop(sandbox::confine(spec, command));
        return ExitCode::FAILURE;
    }
    let redactor = Redactor::default();
    let ended = match (command, serve) {
        (Some(command), _) => run_command(&command, &redactor),
        (None, Some(arguments)) => run_formation(arguments, &redactor),
        (None, None) => Err(anyhow::anyhow!("name the bundle's folder; see --help")),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::fail(&[], &redactor.text(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run_formation(mut arguments: Serve, redactor: &Redactor) -> anyhow::Result<bool> {
    // Children work in folders of their own, where a path from here would lead elsewhere.
    arguments.path = std::path::absolute(&arguments.path).context("failed to find the bundle")?;
    arguments.data_dir = arguments.data_dir.map(std::path::absolute).transpose()?;
    let log = start_log(redactor)?;
    let shared_host = variable(MODEL_HOST_SOCKET_VAR).map(PathBuf::from);
    let own_host = PrivateSocket::choose();
    let model_host = shared_host.clone().unwrap_or_else(|| own_host.path());
    let loaded = load::locate(&arguments.path).and_then(|folder| {
        let data_dir = arguments.data_dir.clone().unwrap_or_else(|| folder.clone());
        // What is started here works elsewhere, where a relative path leads astray.
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let around = Surroundings {
            environment: variable,
            model_host,
            data_dir,
            redactor: redactor.clone(),
        };
        load::load(&folder, &around)
    });
    let formation: Formation = match loaded {
        Ok(formation) => formation,
        Err(refusal) => {
            // Remarks may explain a fault.
            let remarks = refusal.warnings.iter().map(|it| format!("warning: {it}"));
            let lines: Vec<String> = remarks.chain(refusal.faults.iter().cloned()).collect();
            let summary = match refusal.faults.len() {
                1 => "the formation has a fault".to_owned(),
                count => format!("the formation has {count} faults"),
            };
            report::fail(&lines, &summary);
            return Ok(false);
        }
    };
    let level = formation.loaded.manifest.logging.system.level;
    if let Some(level) = level.filter(|_| variable("MUXI_LOG").is_none()) {
        log.set(logging::process_level(level))?;
    }
    let needs_host = shared_host.is_none()
        && formation
            .agents
            .all()
            .iter()
            .any(|agent| agent.models().any(|model| model.needs_model_host));
    if needs_host {
        models::ensure_engine_environment().context("failed to start anew for local models")?;
    }
    // After that step: taken sockets would not get through it.
    let inherited = listen::inherited().context("failed to take the manager's sockets")?;
    let model_host = needs_host.then(|| (own_host, models::models_dir(&variable)));
    let place = serve::Place { arguments, inherited, model_host };
    let runtime = runtime()?;
    let ended = runtime.block_on(serve::run(formation, place));
    // A write to a reader that does not read would never end.
    runtime.shutdown_timeout(Limits::default().settle);
    ended
}

fn run_command(command: &Command, redactor: &Redactor) -> anyhow::Result<bool> {
    start_log(redactor)?;
    let models_dir = models::models_dir(&variable);
    match command {
        Command::Models(command) => models::run(command, &models_dir)?,
        Command::Confine(_) => anyhow::bail!("the launcher starts before all else"),
        Command::ModelHost(arguments) => {
            models::ensure_engine_environment().context("failed to start anew")?;
            runtime()?.block_on(models::host(arguments, models_dir))?;
        }
    }
    Ok(true)
}

/// No line of the process's own log shows a secret either.
fn start_log(redactor: &Redactor) -> anyhow::Result<LevelHandle> {
    let level = variable("MUXI_LOG").unwrap_or_else(|| "info".into());
    let redactor = redactor.clone();
    let filter = move |line: &str| redactor.text(line).into_owned();
    Ok(telemetry::start_filtered(LogFormat::Text, &level, filter)?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("failed to start the runtime")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
