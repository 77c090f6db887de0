//! The verbs: one file each, which holds its arguments, what it asks for, and how it shows the answer.

mod bump;
mod config;
mod deploy;
mod dev;
mod diff;
mod download;
mod new;
mod profiles;
mod registry;
mod remote;
mod secrets;
mod up;
mod validate;

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
    /// Raise the formation's version
    Bump(bump::BumpArgs),
    /// Show how one side of a formation is set up
    Config(config::ConfigArgs),
    /// Pack this folder's formation, send it to a manager and watch it start
    Deploy(deploy::DeployArgs),
    /// Run this folder as a draft, and anew after each change
    Dev(dev::DevArgs),
    /// Show what a deploy of this folder would change
    Diff(diff::DiffArgs),
    /// Stop the draft of this folder
    Down(up::DownArgs),
    /// Fetch the files of a formation that is deployed
    Download(download::DownloadArgs),
    /// Write a formation, or a piece of one: agent, mcp, sop, trigger, skill
    #[command(subcommand)]
    New(new::NewCommand),
    /// Deployed formations: list, get, start, stop, restart, rollback, delete, logs
    #[command(subcommand, alias = "formation")]
    Remote(remote::RemoteCommand),
    /// Managers that you know: add, list, remove, status, ping
    #[command(subcommand)]
    Profiles(profiles::ProfilesCommand),
    /// Secrets of a formation: list, get, set, delete, setup, sync
    Secrets(secrets::SecretsArgs),
    /// Run this folder as a draft, beside what is deployed
    Up(up::UpArgs),
    /// Tell everything that is right and wrong with a formation, in one pass
    Validate(validate::ValidateArgs),
    #[command(flatten)]
    Short(remote::ShortCommand),
    #[command(flatten)]
    Registry(registry::RegistryCommand),
}

// === impl Command ===

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Bump(args) => args.run(context),
            Self::Config(args) => wait(args.run(context)),
            Self::Deploy(args) => wait(args.run(context)),
            Self::Dev(args) => wait(args.run(context)),
            Self::Diff(args) => wait(args.run(context)),
            Self::Down(args) => wait(args.run(context)),
            Self::Download(args) => wait(args.run(context)),
            Self::New(command) => command.run(context),
            Self::Remote(command) => wait(command.run(context)),
            Self::Profiles(command) => command.run(context),
            Self::Secrets(args) => args.run(context),
            Self::Up(args) => wait(args.run(context)),
            Self::Validate(args) => args.run(context),
            Self::Short(command) => wait(command.run(context)),
            Self::Registry(command) => wait(command.run(context)),
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
