//! `muxi requests`: what was asked of a running formation, and what became of it.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: RequestsCommand,
}

#[derive(Debug, Subcommand)]
enum RequestsCommand {
    /// All requests, newest first: the user's with -u, else everybody's
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// One request with its answer
    #[command(visible_alias = "status", alias = "get")]
    Show {
        /// As `muxi requests list` names it
        request: String,
    },
    /// End a request that is being answered
    Cancel {
        /// As `muxi requests list` names it
        request: String,
    },
}

// === impl RequestsArgs ===

impl RequestsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (formation, key) = self.user.open_wide(context)?;
        match self.command {
            RequestsCommand::List { limit } => list(&formation, key, limit, context).await,
            RequestsCommand::Show { request } => {
                let shown = formation.get(key, &path(&request)).await.map_err(known)?;
                Ok(context.show(&shown, detail))
            }
            RequestsCommand::Cancel { request } => {
                let told = formation.ask(key, Method::DELETE, &path(&request), None).await;
                let told = told.map_err(known)?;
                Ok(context.done(&told, &format!("Cancelled request {request}")))
            }
        }
    }
}

// === private helpers ===

async fn list(
    formation: &Formation,
    key: Key,
    limit: Option<u32>,
    context: &Context,
) -> Result<Exit, Fault> {
    let asked = query([("limit", limit.map(|it| it.to_string()))]);
    let listed = formation.get(key, &format!("/requests{asked}")).await?;
    Ok(context.show(&listed, |listed| {
        let columns = [
            ("REQUEST", "request_id"),
            ("STATUS", "status"),
            ("KIND", "kind"),
            ("USER", "user_id"),
            ("AGENT", "agent_id"),
            ("CREATED", "created_at|time"),
        ];
        let empty = "Nothing was asked yet: `muxi chat` asks.";
        table::list(table::items(listed, "requests"), &columns, empty)
    }))
}

fn detail(request: &Value) -> String {
    let facts = [
        ("Request", "request_id"),
        ("Status", "status"),
        ("Kind", "kind"),
        ("Mode", "mode"),
        ("User", "user_id"),
        ("Session", "session_id"),
        ("Agent", "agent_id"),
        ("Created", "created_at|time"),
        ("Started", "started_at|time"),
        ("Completed", "completed_at|time"),
        ("Tokens", "usage.total_tokens"),
        ("Error", "error"),
        ("Error code", "error_code"),
        ("Warnings", "warnings"),
    ];
    let mut text = table::facts(request, &facts);
    let waits = &request["waits_for"];
    if waits.is_object() {
        let (question, id) =
            (waits["question"].as_str().unwrap_or_default(), text_of(&waits["id"]));
        let mend = match waits["kind"].as_str() {
            Some("clarification") => "a message in its session answers it".to_owned(),
            _ => format!("muxi approvals approve {id}\nmuxi approvals deny {id}"),
        };
        text.push_str(&table::section("Waits for", &format!("{}\n\n{mend}", question.trim_end())));
    }
    for (title, key) in [("Answer", "result"), ("Said before it was cancelled", "partial_result")] {
        text.push_str(&table::section(title, request[key].as_str().unwrap_or_default()));
    }
    let files = table::items(request, "artifacts");
    if !files.is_empty() {
        let columns = [("FILE", "name"), ("ID", "id"), ("SIZE", "size_bytes|bytes")];
        text.push_str(&format!("\n{}", table::list(files, &columns, "")));
    }
    text
}

fn path(request: &str) -> String {
    format!("/requests/{}", segment(request))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi requests list   shows those that are kept")
}
