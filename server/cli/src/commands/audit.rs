//! `muxi audit`: what operators did to a running formation.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::consent::Consent;
use crate::client::formation::{Formation, FormationArgs, Key};
use crate::client::query;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::count;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(subcommand)]
    command: Option<AuditCommand>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// What was done, newest first; `muxi audit` alone does the same
    #[command(alias = "ls")]
    List(ListArgs),
    /// Delete all entries; that they were deleted is the first new one
    Clear {
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// At most so many [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only this act, such as secret.created
    #[arg(long, value_name = "ACT")]
    action: Option<String>,
    /// Only what was done to things of this kind, such as secret or scheduler_job
    #[arg(long, visible_alias = "type", value_name = "KIND")]
    resource_type: Option<String>,
    /// Only from this time on, such as 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

// === impl AuditArgs ===

impl AuditArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        match self.command {
            None => self.list.run(&formation, context).await,
            Some(AuditCommand::List(list)) => list.run(&formation, context).await,
            Some(AuditCommand::Clear { consent }) => {
                let question = format!("Delete the audit log of {}?", formation.id);
                consent.obtain(&question, context)?;
                let path = "/audit?confirm=clear-audit-log";
                let told = formation.ask(Key::Admin, Method::DELETE, path, None).await?;
                let count = count(&told["previous_entries_count"], "entry", "entries");
                Ok(context.done(&told, &format!("Deleted {count}")))
            }
        }
    }
}

impl ListArgs {
    async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let asked = query([
            ("limit", self.limit.map(|it| it.to_string())),
            ("action", self.action),
            ("resource_type", self.resource_type),
            ("since", self.since),
        ]);
        let listed = formation.get(Key::Admin, &format!("/audit{asked}")).await?;
        Ok(context.show(&listed, list))
    }
}

fn list(listed: &Value) -> String {
    let columns = [
        ("TIME", "timestamp|time"),
        ("ACT", "action"),
        ("TO", "resource"),
        ("BY", "user"),
        ("OUTCOME", "outcome"),
        ("ERROR", "error"),
    ];
    let entries = table::items(listed, "entries");
    let mut text = table::list(entries, &columns, "Nothing was done by operators.");
    let total = listed["total_entries"].as_u64().unwrap_or_default();
    if total > entries.len() as u64 {
        text.push_str(&format!("\n{} of {total}; --limit shows more\n", entries.len()));
    }
    text
}
