//! `muxi agents`: who answers in a running formation.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::formation::{FormationArgs, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// All agents, the one that answers by default first
    #[command(alias = "ls")]
    List,
    /// One agent as its author wrote it
    #[command(alias = "get")]
    Show {
        /// As `muxi agents list` names it
        agent: String,
    },
}

// === impl AgentsArgs ===

impl AgentsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        match self.command {
            AgentsCommand::List => {
                let listed = formation.get(Key::Admin, "/agents").await?;
                Ok(context.show(&listed, |listed| {
                    let columns = [
                        ("ID", "id"),
                        ("ROLE", "role"),
                        ("MODEL", "model"),
                        ("DESCRIPTION", "description|short"),
                    ];
                    table::list(table::items(listed, "agents"), &columns, "There are no agents.")
                }))
            }
            AgentsCommand::Show { agent } => {
                let path = format!("/agents/{}", segment(&agent));
                let shown = formation.get(Key::Admin, &path).await;
                let shown = shown.map_err(|it| it.mend_missing("muxi agents list   shows all"))?;
                Ok(context.show(&shown, detail))
            }
        }
    }
}

fn detail(agent: &Value) -> String {
    let facts = [
        ("Id", "id"),
        ("Name", "name"),
        ("Role", "role"),
        ("Description", "description"),
        ("Model", "model"),
        ("Temperature", "settings.temperature"),
        ("Most tokens", "settings.max_tokens"),
        ("Specialties", "specialties"),
        ("Domain", "specialization.domain"),
        ("Keywords", "specialization.keywords"),
        ("Author", "author"),
        ("Version", "version"),
        ("License", "license"),
        ("From", "source"),
    ];
    let told = agent["system_message"].as_str().unwrap_or_default();
    format!("{}{}", table::facts(agent, &facts), table::section("System message", told))
}
