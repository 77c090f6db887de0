//! `muxi memory`: what a running formation remembers.

mod buffer;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::consent::Consent;
use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// How memory is set up, and how much is kept of everybody
    Status,
    /// What is remembered of the user, newest first
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Leave out so many of the newest
        #[arg(long, value_name = "N")]
        offset: Option<u32>,
        /// Only what contains this text
        #[arg(long, value_name = "TEXT")]
        query: Option<String>,
        /// Only what is of one user, or for all of the formation
        #[arg(long, value_name = "SCOPE")]
        scope: Option<Scope>,
    },
    /// Remember something
    Add(AddArgs),
    /// Forget one thing
    #[command(alias = "rm")]
    Delete {
        /// As `muxi memory list` names it
        memory: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// The conversations that are kept: figures of the user, or clear them
    Buffer(buffer::BufferArgs),
    /// Make anew what was drawn from the log of memory
    Rebuild,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What is to be remembered
    #[arg(required_unless_present = "detail", conflicts_with = "detail")]
    text: Option<String>,
    /// The same as TEXT
    #[arg(long, value_name = "TEXT")]
    detail: Option<String>,
    /// What kind of thing it is, such as preference [default: general]
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<String>,
    /// For whom; for all of the formation takes the admin key [default: user]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    User,
    Formation,
}

// === impl MemoryArgs ===

impl MemoryArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            MemoryCommand::Status => status(&formation, context).await,
            MemoryCommand::List { limit, offset, query: text, scope } => {
                let asked = query([
                    ("limit", limit.map(|it| it.to_string())),
                    ("offset", offset.map(|it| it.to_string())),
                    ("query", text),
                    ("scopes", scope.map(|it| it.name().to_owned())),
                ]);
                let listed = formation.get(Key::Client, &format!("/memories{asked}")).await?;
                Ok(context.show(&listed, |listed| table_of(listed, &formation.user)))
            }
            MemoryCommand::Add(args) => args.run(&formation, context).await,
            MemoryCommand::Delete { memory, consent } => {
                consent.obtain(&format!("Forget {memory}?"), context)?;
                let path = format!("/memories/{}", segment(&memory));
                let told = formation.ask(Key::Client, Method::DELETE, &path, None).await;
                let told = told.map_err(known)?;
                Ok(context.done(&told, &format!("Forgot {memory}")))
            }
            MemoryCommand::Buffer(args) => args.run(formation, context).await,
            MemoryCommand::Rebuild => {
                let body = json!({"user_id": formation.user});
                let path = "/memory/rebuild";
                let told = formation.ask(Key::Admin, Method::POST, path, Some(&body)).await?;
                Ok(context.done(&told, &format!("Rebuilding the memory of {}", formation.user)))
            }
        }
    }
}

impl AddArgs {
    async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let text = self.text.or(self.detail).unwrap_or_default();
        let mut body = json!({"content": {"type": self.kind, "detail": text}});
        let mut key = Key::Client;
        if let Some(scope) = self.scope {
            body["scope"] = json!(scope.name());
            if scope == Scope::Formation {
                key = Key::Admin;
            }
        }
        let told = formation.ask(key, Method::POST, "/memories", Some(&body)).await?;
        let id = text_of(&told["id"]);
        Ok(context.done(&told, &format!("Remembered as {id}")))
    }
}

// === impl Scope ===

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Formation => "formation",
        }
    }
}

// === private helpers ===

async fn status(formation: &Formation, context: &Context) -> Result<Exit, Fault> {
    let config = formation.get(Key::Admin, "/memory").await?;
    let stats = formation.get(Key::Admin, "/memory/stats").await?;
    let value = json!({"config": config, "stats": stats});
    Ok(context.show(&value, |value| {
        let set_up = table::section("Set up as", &table::document(&value["config"]));
        format!("{}{set_up}", buffer::stats(&value["stats"]))
    }))
}

fn table_of(listed: &Value, user: &str) -> String {
    let columns = [
        ("ID", "id"),
        ("TYPE", "type"),
        ("CONTENT", "content|short"),
        ("SCOPE", "scope"),
        ("CREATED", "created_at|time"),
    ];
    let empty = format!("Nothing is remembered of {user} yet: `muxi memory add TEXT` adds it.");
    table::list(table::items(listed, "memories"), &columns, &empty)
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi memory list   shows what is remembered of the user")
}
