//! `muxi skills`: what agents of a running formation can learn on demand.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::formation::{FormationArgs, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct SkillsArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: SkillsCommand,
}

#[derive(Debug, Subcommand)]
enum SkillsCommand {
    /// All skills
    #[command(alias = "ls")]
    List {
        /// Only those that this agent has
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
    },
    /// One skill with its files
    #[command(alias = "get")]
    Show {
        /// As `muxi skills list` names it
        skill: String,
    },
}

// === impl SkillsArgs ===

impl SkillsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        match self.command {
            SkillsCommand::List { agent } => {
                let path = agent.map_or_else(
                    || "/skills".to_owned(),
                    |agent| format!("/agents/{}/skills", segment(&agent)),
                );
                let listed = formation.get(Key::Client, &path).await;
                let listed =
                    listed.map_err(|it| it.mend_missing("muxi agents list   shows all"))?;
                Ok(context.show(&listed, list))
            }
            SkillsCommand::Show { skill } => {
                let path = format!("/skills/{}", segment(&skill));
                let shown = formation.get(Key::Client, &path).await;
                let shown = shown.map_err(|it| it.mend_missing("muxi skills list   shows all"))?;
                Ok(context.show(&shown, detail))
            }
        }
    }
}

fn list(listed: &Value) -> String {
    let columns = [("NAME", "name"), ("SCOPE", "scope"), ("DESCRIPTION", "description|short")];
    let empty = "No skills: `muxi new skill NAME` adds one to the formation.";
    table::list(table::items(listed, "skills"), &columns, empty)
}

fn detail(skill: &Value) -> String {
    let facts = [
        ("Name", "name"),
        ("Description", "description"),
        ("Scope", "scope"),
        ("License", "license"),
        ("Needs", "compatibility"),
        ("Tools allowed", "allowed_tools"),
        ("Files", "resources"),
        ("Scripts", "scripts"),
    ];
    table::facts(skill, &facts)
}
