//! `muxi credentials`: what a user lets a running formation use elsewhere.

mod add;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::consent::Consent;
use crate::client::formation::{Key, UserArgs};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// All credentials of the user, shown in part
    #[command(alias = "ls")]
    List,
    /// Services for which the formation needs credentials of its users
    Services,
    /// Keep a credential, sealed
    Add(add::AddArgs),
    /// One credential, shown in part
    #[command(alias = "get")]
    Show {
        /// As `muxi credentials list` names it
        credential: String,
    },
    /// Delete a credential
    #[command(alias = "rm")]
    Delete {
        /// As `muxi credentials list` names it
        credential: String,
        #[command(flatten)]
        consent: Consent,
    },
}

// === impl CredentialsArgs ===

impl CredentialsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            CredentialsCommand::List => {
                let listed = formation.get(Key::Client, "/credentials").await?;
                Ok(context.show(&listed, |listed| list(listed, &formation.user)))
            }
            CredentialsCommand::Services => {
                let listed = formation.get(Key::Client, "/credentials/services").await?;
                Ok(context.show(&listed, services))
            }
            CredentialsCommand::Add(args) => args.run(&formation, context).await,
            CredentialsCommand::Show { credential } => {
                let shown = formation.get(Key::Client, &path(&credential)).await.map_err(known)?;
                Ok(context.show(&shown, detail))
            }
            CredentialsCommand::Delete { credential, consent } => {
                consent.obtain(&format!("Delete {credential}?"), context)?;
                let path = path(&credential);
                let told = formation.ask(Key::Client, Method::DELETE, &path, None).await;
                Ok(context.done(&told.map_err(known)?, &format!("Deleted {credential}")))
            }
        }
    }
}

// === private helpers ===

fn list(listed: &Value, user: &str) -> String {
    let columns = [
        ("ID", "credential_id"),
        ("SERVICE", "service"),
        ("NAME", "name"),
        ("SECRET", "credential_preview"),
        ("UPDATED", "updated_at|time"),
    ];
    let empty = format!("{user} has no credentials yet: `muxi credentials add SERVICE` keeps one.");
    table::list(table::items(listed, "credentials"), &columns, &empty)
}

fn services(listed: &Value) -> String {
    let columns =
        [("SERVICE", "service"), ("SERVER", "server_id"), ("DESCRIPTION", "description|short")];
    let empty = "This formation needs no credentials of its users.";
    table::list(table::items(listed, "services"), &columns, empty)
}

fn detail(credential: &Value) -> String {
    let facts = [
        ("Id", "credential_id"),
        ("Service", "service"),
        ("Name", "name"),
        ("Secret", "credential_preview"),
        ("Created", "created_at|time"),
        ("Updated", "updated_at|time"),
    ];
    table::facts(credential, &facts)
}

fn path(credential: &str) -> String {
    format!("/credentials/{}", segment(credential))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi credentials list   shows those of the user")
}
