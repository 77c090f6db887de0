//! `muxi artifacts`: files that a running formation made for a user.

mod get;
mod open;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::consent::Consent;
use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{count, text_of};
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct ArtifactsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: ArtifactsCommand,
}

#[derive(Debug, Subcommand)]
enum ArtifactsCommand {
    #[command(flatten)]
    OfFormation(FormationCommand),
    /// Remove the copies of files that were opened
    Cleanup,
}

/// What is asked of the formation that made the files.
#[derive(Debug, Subcommand)]
enum FormationCommand {
    /// All files of the user, the latest first
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// One file: what it is and who made it
    Show {
        /// As `muxi artifacts list` names it
        artifact: String,
    },
    /// Save a file here
    #[command(alias = "download")]
    Get(get::GetArgs),
    /// Open a file in the program that shows its kind
    Open {
        /// As `muxi artifacts list` names it
        artifact: String,
    },
    /// All versions of a file, the newest first
    Versions {
        /// As `muxi artifacts list` names it
        artifact: String,
    },
    /// Delete a file with all its versions
    #[command(alias = "rm")]
    Delete {
        /// As `muxi artifacts list` names it
        artifact: String,
        #[command(flatten)]
        consent: Consent,
    },
}

// === impl ArtifactsArgs ===

impl ArtifactsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self.command {
            // Its copies are the user's, whichever formation made them.
            ArtifactsCommand::Cleanup => open::cleanup(context),
            ArtifactsCommand::OfFormation(command) => {
                command.run(&self.user.open(context)?, context).await
            }
        }
    }
}

// === impl FormationCommand ===

impl FormationCommand {
    async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Open { artifact } => open::open(&artifact, formation, context).await,
            Self::List { limit } => {
                let asked = query([("limit", limit.map(|it| it.to_string()))]);
                let listed = formation.get(Key::Client, &format!("/artifacts{asked}")).await?;
                Ok(context.show(&listed, |listed| list(listed, &formation.user)))
            }
            Self::Show { artifact } => {
                let shown = formation.get(Key::Client, &path(&artifact, "")).await;
                Ok(context.show(&shown.map_err(known)?, detail))
            }
            Self::Get(args) => args.run(formation, context).await,
            Self::Versions { artifact } => {
                let path = path(&artifact, "/versions");
                let listed = formation.get(Key::Client, &path).await.map_err(known)?;
                Ok(context.show(&listed, versions))
            }
            Self::Delete { artifact, consent } => {
                consent.obtain(&format!("Delete {artifact} with all its versions?"), context)?;
                let path = path(&artifact, "");
                let told = formation.ask(Key::Client, Method::DELETE, &path, None).await;
                let told = told.map_err(known)?;
                let name = text_of(&told["name"]);
                let count = count(&told["versions"], "version", "versions");
                Ok(context.done(&told, &format!("Deleted {name} ({count})")))
            }
        }
    }
}

// === private helpers ===

fn list(listed: &Value, user: &str) -> String {
    let columns = [
        ("NAME", "name"),
        ("ID", "id"),
        ("VERSION", "version"),
        ("TYPE", "content_type"),
        ("SIZE", "size_bytes|bytes"),
        ("UPDATED", "updated_at|time"),
    ];
    let empty = format!("Nothing was made for {user} yet; agents make files when they are asked.");
    let items = table::items(listed, "artifacts");
    let mut text = table::list(items, &columns, &empty);
    if listed["total"].as_u64().is_some_and(|it| it > items.len() as u64) {
        text.push_str(&format!("\n{} of {}; --limit shows more\n", items.len(), listed["total"]));
    }
    text
}

fn detail(artifact: &Value) -> String {
    let facts = [
        ("Name", "name"),
        ("Id", "id"),
        ("Version", "version"),
        ("Latest", "is_latest"),
        ("Type", "content_type"),
        ("Category", "category"),
        ("Size", "size_bytes|bytes"),
        ("SHA-256", "sha256"),
        ("Summary", "summary"),
        ("Tags", "tags"),
        ("Agent", "agent_id"),
        ("Session", "conversation_id"),
        ("Created", "created_at|time"),
        ("Updated", "updated_at|time"),
        ("Last read", "last_accessed_at|time"),
    ];
    table::facts(artifact, &facts)
}

fn versions(listed: &Value) -> String {
    let columns = [
        ("VERSION", "version"),
        ("ID", "id"),
        ("SIZE", "size_bytes|bytes"),
        ("AGENT", "agent_id"),
        ("CREATED", "created_at|time"),
    ];
    table::list(table::items(listed, "versions"), &columns, "It has no versions.")
}

fn path(artifact: &str, rest: &str) -> String {
    format!("/artifacts/{}{rest}", segment(artifact))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi artifacts list   shows the files of the user")
}
