//! `muxi sops`: procedures that a running formation follows.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::formation::{FormationArgs, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct SopsArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: SopsCommand,
}

#[derive(Debug, Subcommand)]
enum SopsCommand {
    /// All procedures
    #[command(alias = "ls")]
    List,
    /// One procedure with its steps
    #[command(alias = "get")]
    Show {
        /// As `muxi sops list` names it
        sop: String,
    },
}

// === impl SopsArgs ===

impl SopsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        match self.command {
            SopsCommand::List => {
                let listed = formation.get(Key::Client, "/sops").await?;
                Ok(context.show(&listed, list))
            }
            SopsCommand::Show { sop } => {
                let path = format!("/sops/{}", segment(&sop));
                let shown = formation.get(Key::Client, &path).await;
                let shown = shown.map_err(|it| it.mend_missing("muxi sops list   shows all"))?;
                Ok(context.show(&shown, detail))
            }
        }
    }
}

fn list(listed: &Value) -> String {
    let columns = [
        ("NAME", "name"),
        ("TITLE", "title|short"),
        ("TYPE", "type"),
        ("STEPS", "steps"),
        ("AGENTS", "agents_used"),
    ];
    let empty = "No procedures: `muxi new sop NAME` adds one to the formation.";
    table::list(table::items(listed, "sops"), &columns, empty)
}

fn detail(sop: &Value) -> String {
    let facts = [
        ("Name", "name"),
        ("Title", "title"),
        ("Type", "type"),
        ("Description", "metadata.description"),
        ("Tags", "metadata.tags"),
        ("Without approval", "metadata.bypass_approval"),
        ("Summed up at the end", "metadata.synthesis"),
        ("Files", "references"),
    ];
    let mut text = table::facts(sop, &facts);
    let steps = table::items(sop, "steps");
    if !steps.is_empty() {
        let columns = [
            ("STEP", "number"),
            ("AGENT", "agent"),
            ("CRITICAL", "is_critical"),
            ("PARALLEL", "is_parallel"),
            ("TEXT", "text|short"),
        ];
        text.push_str(&format!("\n{}", table::list(steps, &columns, "")));
    }
    text.push_str(&table::section("Text", sop["content"].as_str().unwrap_or_default()));
    text
}
