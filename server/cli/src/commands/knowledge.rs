//! `muxi knowledge`: what agents of a running formation can look up.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use crate::client::formation::{FormationArgs, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;

#[derive(Debug, Args)]
pub(crate) struct KnowledgeArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: KnowledgeCommand,
}

#[derive(Debug, Subcommand)]
enum KnowledgeCommand {
    /// Read all sources anew
    Rebuild {
        /// Only those of this agent
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        /// Only this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
    },
}

// === impl KnowledgeArgs ===

impl KnowledgeArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        let KnowledgeCommand::Rebuild { agent, source } = self.command;
        let body = json!({"agent_id": agent, "source_id": source});
        let path = "/knowledge/rebuild";
        let told = formation.ask(Key::Admin, Method::POST, path, Some(&body)).await?;
        Ok(context.done(&told, &format!("Rebuilt the knowledge of {}", formation.id)))
    }
}
