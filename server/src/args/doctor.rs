//! `muxi-server doctor` and `status`: how the installation is.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use muxi_server::ask::Asker;
use muxi_server::config::{Config, Folders, Overrides, Source};
use muxi_server::control::{self, ControlError};
use muxi_server::doctor::{self, Verdict};
use muxi_server::running::Running;
use serde_json::{Value, json};

use super::print;

#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    /// Another file than the usual config.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object instead of lines: `status` and `checks` with `name`, `status`, `found`, `mend`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// As service managers say that something does not run.
const NOT_RUNNING: u8 = 3;

// === impl DoctorArgs ===

impl DoctorArgs {
    pub(crate) fn run(&self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let source = Source {
            path: self.config.clone().unwrap_or_else(|| folders.config_file()),
            overrides: Overrides::from_environment()?,
        };
        let report = doctor::examine(&source, folders)?;
        let text = if self.json {
            serde_json::to_string_pretty(&report)? + "\n"
        } else {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
            report.render(std::io::stdout().is_terminal() && !plain)
        };
        let printed = print(&text);
        Ok(if report.status == Verdict::Fail { ExitCode::FAILURE } else { printed })
    }
}

// === impl StatusArgs ===

impl StatusArgs {
    pub(crate) fn run(&self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let running = match control::find(&folders.layout()?) {
            Ok(running) => running,
            Err(error @ (ControlError::NotRunning(_) | ControlError::Starting(_))) => {
                let text = if self.json {
                    json!({"running": false, "reason": error.to_string()}).to_string()
                } else {
                    format!("not running: {error}")
                };
                print(&format!("{text}\n"));
                return Ok(ExitCode::from(NOT_RUNNING));
            }
            Err(error) => return Err(error.into()),
        };
        let said = ask(&running);
        let text = if self.json {
            let status = json!({"running": true, "manager": running, "said": said});
            serde_json::to_string_pretty(&status)? + "\n"
        } else {
            render(&running, &said)?
        };
        let printed = print(&text);
        Ok(if said["ready"] == true { printed } else { ExitCode::from(NOT_RUNNING) })
    }
}

/// Whether it is ready, and what only a key may know, where the configuration has one.
fn ask(running: &Running) -> Value {
    let asking = async {
        let config = Config::read(&running.config_file).map(|(config, _)| config)?;
        let asker = Asker::new(&running.url, &config)?;
        let now = Timestamp::now();
        let mut ready = asker.get("/ready", now).await?;
        if ready.status == 404 {
            ready = asker.get("/health", now).await?;
        }
        let status = asker.get("/rpc/server/status", now).await?;
        let data = if status.status == 200 { status.body["data"].clone() } else { Value::Null };
        anyhow::Ok(json!({"ready": ready.status == 200, "answer": ready.body, "status": data}))
    };
    let said = doctor::block_on(asking);
    said.unwrap_or_else(|error| json!({"ready": false, "fault": format!("{error:#}")}))
}

fn render(running: &Running, said: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    let state = if said["ready"] == true { "ready" } else { "not ready" };
    writeln!(text, "manager     {state}, process {}, version {}", running.pid, running.version)?;
    writeln!(text, "address     {}", running.url)?;
    writeln!(text, "started     {}", running.started_at)?;
    writeln!(text, "config      {}", running.config_file.display())?;
    if let Some(fault) = said["fault"].as_str() {
        writeln!(text, "fault       {fault}")?;
    }
    let (counts, ports) = (&said["status"]["formations"], &said["status"]["port_pool"]);
    if counts.is_object() {
        let count = |name| counts[name].as_u64().unwrap_or_default();
        writeln!(
            text,
            "formations  {} running, {} stopped, {} crashed of {}",
            count("running"),
            count("stopped"),
            count("crashed"),
            count("total")
        )?;
        writeln!(text, "ports       {} of {} free", ports["available"], ports["total"])?;
    }
    for warning in said["status"]["config"]["warnings"].as_array().into_iter().flatten() {
        writeln!(text, "warning     {}", warning.as_str().unwrap_or_default())?;
    }
    Ok(text)
}
