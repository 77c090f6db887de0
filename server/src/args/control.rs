//! `muxi-server reload` and `stop`: what a manager that runs is told by its own user.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use muxi_server::config::Folders;
use muxi_server::control;

use super::print;

#[derive(Debug, ClapArgs)]
pub(crate) struct StopArgs {
    /// Seconds to wait for its end; the configuration gives formations `limits.shutdown_ms`.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,
}

pub(crate) fn reload(folders: &Folders) -> anyhow::Result<ExitCode> {
    let done = control::reload(&folders.layout()?)?;
    let mut text = match done.applied.len() {
        0 => "The configuration was read again; nothing changed.\n".to_owned(),
        1 => "The configuration was read again; 1 change counts from now on:\n".to_owned(),
        many => format!("The configuration was read again; {many} changes count from now on:\n"),
    };
    for line in &done.applied {
        writeln!(text, "  {line}")?;
    }
    for line in &done.needs_restart {
        writeln!(text, "warning: {line}")?;
    }
    Ok(print(&text))
}

// === impl StopArgs ===

impl StopArgs {
    pub(crate) fn run(&self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let pid = control::stop(&folders.layout()?, Duration::from_secs(self.wait.into()))?;
        Ok(print(&format!("The manager (process {pid}) has ended.\n")))
    }
}
