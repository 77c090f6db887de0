//! The verbs: one file each, which holds its arguments, what it asks for, and how it shows the answer.

mod deploy;
mod profiles;
mod remote;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::fault::Fault;

/// Write, run and operate formations of AI agents
#[derive(Debug, Parser)]
#[command(name = "muxi", version, after_help = exit::HELP, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// Print one JSON document (streams: one a line) and never ask
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack this folder's formation, send it to a manager and watch it start
    Deploy(deploy::DeployArgs),
    /// Deployed formations: list, get, start, stop, restart, rollback, delete, logs
    #[command(subcommand, alias = "formation")]
    Remote(remote::RemoteCommand),
    /// Managers that you know: add, list, remove, status, ping
    #[command(subcommand)]
    Profiles(profiles::ProfilesCommand),
    #[command(flatten)]
    Short(remote::ShortCommand),
}

// === impl Command ===

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Deploy(args) => wait(args.run(context)),
            Self::Remote(command) => wait(command.run(context)),
            Self::Profiles(command) => command.run(context),
            Self::Short(command) => wait(command.run(context)),
        }
    }
}

/// Only commands that speak to others need a runtime.
fn wait(command: impl Future<Output = Result<Exit, Fault>>) -> Result<Exit, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Fault::failed(format!("no event loop could be made: {error}")))?;
    runtime.block_on(Box::pin(command))
}
