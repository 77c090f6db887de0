//! `muxi approvals`: what a running formation does not do before somebody says yes.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct ApprovalsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: ApprovalsCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    /// What waits for the user, newest first
    #[command(alias = "ls")]
    List {
        /// Which: open, approved, denied, answered, cancelled, expired or all [default: open]
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// One approval with all that would be done
    #[command(alias = "get")]
    Show {
        /// As `muxi approvals list` names it
        approval: String,
    },
    /// Say yes; the work goes on
    Approve(DecideArgs),
    /// Say no; the agent is told
    Deny(DecideArgs),
}

#[derive(Debug, Args)]
struct DecideArgs {
    /// As `muxi approvals list` names it
    approval: String,
    /// Word for the agent, such as why not
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

// === impl ApprovalsArgs ===

impl ApprovalsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            ApprovalsCommand::List { status, limit } => {
                let asked = query([("status", status), ("limit", limit.map(|it| it.to_string()))]);
                let listed = formation.get(Key::Client, &format!("/approvals{asked}")).await?;
                Ok(context.show(&listed, |listed| list(listed, &formation.user)))
            }
            ApprovalsCommand::Show { approval } => {
                let shown = formation.get(Key::Client, &path(&approval)).await.map_err(known)?;
                Ok(context.show(&shown, detail))
            }
            ApprovalsCommand::Approve(args) => args.run("approve", &formation, context).await,
            ApprovalsCommand::Deny(args) => args.run("deny", &formation, context).await,
        }
    }
}

impl DecideArgs {
    async fn run(
        self,
        decision: &str,
        formation: &Formation,
        context: &Context,
    ) -> Result<Exit, Fault> {
        let Self { approval, note } = self;
        let body = json!({"decision": decision, "note": note});
        let told = formation.ask(Key::Client, Method::POST, &path(&approval), Some(&body)).await;
        let told = told.map_err(|fault| {
            if fault.exit() == Exit::Conflict {
                return fault.mend("muxi approvals list   shows what is still open");
            }
            known(fault)
        })?;
        let said = if decision == "approve" { "Approved" } else { "Denied" };
        let request = text_of(&told["request_id"]);
        let text =
            format!("{said} {approval}\n  muxi requests show {request}   tells what comes of it");
        Ok(context.done(&told, &text))
    }
}

// === private helpers ===

fn list(listed: &Value, user: &str) -> String {
    let columns = [
        ("APPROVAL", "id"),
        ("STATUS", "status"),
        ("KIND", "kind"),
        ("EXPIRES", "expires_at|time"),
        ("QUESTION", "question|short"),
    ];
    let empty = format!("Nothing waits for {user}.");
    table::list(table::items(listed, "approvals"), &columns, &empty)
}

fn detail(approval: &Value) -> String {
    let facts = [
        ("Approval", "id"),
        ("Status", "status"),
        ("Kind", "kind"),
        ("Request", "request_id"),
        ("Session", "session_id"),
        ("User", "user_id"),
        ("Created", "created_at|time"),
        ("Expires", "expires_at|time"),
        ("Decided", "decided_at|time"),
        ("Note", "note"),
    ];
    let question = table::section("Question", approval["question"].as_str().unwrap_or_default());
    let mut detail = approval["detail"].clone();
    // How a chat asks is no part of what is done.
    if let Some(detail) = detail.as_object_mut() {
        detail.remove("widget");
    }
    let detail = table::section("Would be done", &table::document(&detail));
    format!("{}{question}{detail}", table::facts(approval, &facts))
}

fn path(approval: &str) -> String {
    format!("/approvals/{}", segment(approval))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi approvals list   shows what waits for the user")
}
