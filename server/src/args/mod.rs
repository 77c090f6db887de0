//! The command line of the daemon: one file a family of commands.

mod audit;
mod backup;
mod config;
pub(crate) mod control;
mod doctor;
mod init;
mod keys;
mod service;
mod start;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use self::audit::AuditCommand;
pub(crate) use self::backup::{BackupArgs, RestoreArgs};
pub(crate) use self::config::ConfigCommand;
pub(crate) use self::control::StopArgs;
pub(crate) use self::doctor::{DoctorArgs, StatusArgs};
pub(crate) use self::init::InitArgs;
pub(crate) use self::keys::KeysCommand;
pub(crate) use self::service::ServiceCommand;
pub(crate) use self::start::StartArgs;

/// Deploys and supervises formations: bundles of AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "muxi-server",
    version,
    after_help = "\
First steps:
  muxi-server init      make a configuration with a fresh key pair
  muxi-server start     listen on 127.0.0.1:7890

Flags win over the environment ($MUXI_HOST, $MUXI_PORT, $MUXI_LOG_LEVEL), which wins over config.yaml.
Folders: $MUXI_CONFIG_DIR and $MUXI_DATA_DIR; else /etc/muxi/server and /var/lib/muxi for a program
that is installed below /usr; else ~/.muxi/server."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make config.yaml with a fresh key pair, and print the pair once.
    Init(InitArgs),
    /// Serve until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.
    #[command(visible_alias = "serve")]
    Start(StartArgs),
    /// Make the running manager read its configuration again (as SIGHUP does), and say what changed.
    Reload,
    /// Ask the running manager to end (as SIGTERM does), and wait for it.
    Stop(StopArgs),
    /// Write the whole data folder into one file, while the manager runs.
    Backup(BackupArgs),
    /// Bring back what `backup` wrote.
    Restore(RestoreArgs),
    /// Say how the running manager is; exit code 3 if none runs or it is not ready.
    Status(StatusArgs),
    /// Look at everything an installation stands on, and say what to mend; exit code 1 if anything fails.
    Doctor(DoctorArgs),
    /// Keep the manager running under systemd, for the machine or for one user.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Make, list, rotate and revoke the keys that may manage.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at what was asked of the manager, and check that the record is whole.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Refused: a program that replaces itself is a way in.
    #[command(hide = true)]
    Upgrade,
    /// Print the version.
    Version,
}

/// Prints to standard output; a reader that is gone is no fault of ours.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Rows with their columns aligned.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
