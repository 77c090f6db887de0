//! `muxi jobs`: work that a running formation watches or does in the background.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{one_line, time};
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// Background jobs of the user, newest first
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// One background job with what came of it
    #[command(alias = "get")]
    Show {
        /// As `muxi jobs list` names it
        job: String,
    },
    /// What was said in a background job
    Logs {
        /// As `muxi jobs list` names it
        job: String,
        /// Only lines after the one with this number
        #[arg(long, value_name = "N")]
        after: Option<u32>,
        /// At most so many
        #[arg(short = 'n', long, visible_alias = "limit", value_name = "N")]
        lines: Option<u32>,
    },
    /// End a background job
    Cancel {
        /// As `muxi jobs list` names it
        job: String,
    },
}

// === impl JobsArgs ===

impl JobsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            JobsCommand::List { limit } => {
                let asked = query([("limit", limit.map(|it| it.to_string()))]);
                let listed = formation.get(Key::Client, &format!("/jobs{asked}")).await?;
                Ok(context.show(&listed, |listed| list(listed, &formation)))
            }
            JobsCommand::Show { job } => {
                let shown = formation.get(Key::Client, &path(&job, "")).await.map_err(known)?;
                Ok(context.show(&shown, detail))
            }
            JobsCommand::Logs { job, after, lines } => {
                let asked = query([
                    ("after", after.map(|it| it.to_string())),
                    ("limit", lines.map(|it| it.to_string())),
                ]);
                let path = path(&job, &format!("/logs{asked}"));
                let told = formation.get(Key::Client, &path).await.map_err(known)?;
                Ok(context.show(&told, log))
            }
            JobsCommand::Cancel { job } => {
                let path = path(&job, "");
                let told = formation.ask(Key::Client, Method::DELETE, &path, None).await;
                Ok(context.done(&told.map_err(known)?, &format!("Cancelled {job}")))
            }
        }
    }
}

// === private helpers ===

fn list(listed: &Value, formation: &Formation) -> String {
    let columns = [
        ("JOB", "id"),
        ("KIND", "kind"),
        ("STATUS", "status"),
        ("LABEL", "label|short"),
        ("UPDATED", "updated_at|time"),
    ];
    let empty = format!(
        "{} has no background jobs; agents begin them. What runs at certain times: muxi scheduler list",
        formation.user
    );
    table::list(table::items(listed, "jobs"), &columns, &empty)
}

fn detail(job: &Value) -> String {
    let facts = [
        ("Job", "id"),
        ("Kind", "kind"),
        ("Status", "status"),
        ("Label", "label"),
        ("User", "user_id"),
        ("Session", "session_id"),
        ("Request", "request_id"),
        ("Failures in a row", "failures"),
        ("Created", "created_at|time"),
        ("Updated", "updated_at|time"),
        ("Completed", "completed_at|time"),
    ];
    let result = table::section("Result", job["result"].as_str().unwrap_or_default());
    format!("{}{result}", table::facts(job, &facts))
}

fn log(told: &Value) -> String {
    let line = |line: &Value| {
        let at = time(&line["at"]).unwrap_or_default();
        format!("{at}  {}\n", one_line(line["text"].as_str().unwrap_or_default()))
    };
    let lines = table::items(told, "lines");
    if lines.is_empty() {
        return "Nothing was said in it yet.\n".to_owned();
    }
    lines.iter().map(line).collect()
}

fn path(job: &str, rest: &str) -> String {
    format!("/jobs/{}{rest}", segment(job))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi jobs list   shows those of the user")
}
