//! `muxi tuning`: what a running formation learnt about how to answer.

use clap::{Args, Subcommand};
use reqwest::Method;

use crate::client::formation::{FormationArgs, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct TuningArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: TuningCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum TuningCommand {
    /// What holds now
    Show,
    /// What is proposed
    Pending,
    /// Accept what is proposed
    Apply,
    /// Refuse what is proposed
    Dismiss,
}

// === impl TuningArgs ===

impl TuningArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        let (method, path) = match self.command {
            TuningCommand::Show => (Method::GET, "/tuning"),
            TuningCommand::Pending => (Method::GET, "/tuning/pending"),
            TuningCommand::Apply => (Method::PATCH, "/tuning/pending"),
            TuningCommand::Dismiss => (Method::DELETE, "/tuning/pending"),
        };
        let told = formation.ask(Key::Admin, method, path, None).await?;
        Ok(match self.command {
            TuningCommand::Show | TuningCommand::Pending => context.show(&told, table::document),
            TuningCommand::Apply => context.done(&told, "Applied what was proposed"),
            TuningCommand::Dismiss => context.done(&told, "Dismissed what was proposed"),
        })
    }
}
