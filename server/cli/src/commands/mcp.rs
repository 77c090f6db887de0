//! `muxi mcp`: servers of tools that a running formation uses.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::formation::{FormationArgs, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    formation: FormationArgs,
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// All servers
    #[command(alias = "ls")]
    List,
    /// One server with its settings
    #[command(alias = "get")]
    Show {
        /// As `muxi mcp list` names it
        server: String,
    },
    /// All tools that agents have, also those that are built in
    Tools {
        /// Only those of this server
        server: Option<String>,
    },
}

// === impl McpArgs ===

impl McpArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        match self.command {
            McpCommand::List => {
                let listed = formation.get(Key::Admin, "/mcp/servers").await?;
                Ok(context.show(&listed, list))
            }
            McpCommand::Show { server } => {
                let path = format!("/mcp/servers/{}", segment(&server));
                let shown = formation.get(Key::Admin, &path).await;
                let shown = shown.map_err(|it| it.mend_missing("muxi mcp list   shows all"))?;
                Ok(context.show(&shown, detail))
            }
            McpCommand::Tools { server } => {
                let mut listed = formation.get(Key::Admin, "/mcp/tools").await?;
                if let (Some(server), Some(tools)) = (&server, listed["tools"].as_array_mut()) {
                    tools.retain(|it| it["server"] == **server);
                    listed["count"] = tools.len().into();
                }
                Ok(context.show(&listed, tools))
            }
        }
    }
}

fn list(listed: &Value) -> String {
    let columns = [
        ("ID", "id"),
        ("TYPE", "type"),
        ("AUTH", "auth"),
        ("AGENTS", "agents"),
        ("DESCRIPTION", "description|short"),
    ];
    let empty = "No server of tools: `muxi new mcp NAME` adds one to the formation.";
    table::list(table::items(listed, "servers"), &columns, empty)
}

fn detail(server: &Value) -> String {
    let facts = [
        ("Id", "id"),
        ("Type", "type"),
        ("Description", "description"),
        ("Auth", "auth"),
        ("Agents", "agents"),
        ("Tools allowed", "tools.allow"),
        ("Tools denied", "tools.deny"),
        ("Arguments of every call", "parameters"),
        ("Credentials of users", "needs_user_credentials"),
        ("Time limit (s)", "timeout_seconds"),
        ("Retries", "retry_attempts"),
        ("Kept open (s)", "connection_ttl_seconds"),
    ];
    table::facts(server, &facts)
}

fn tools(listed: &Value) -> String {
    let columns = [
        ("TOOL", "name"),
        ("SERVER", "server"),
        ("ACCESS", "access"),
        ("DESCRIPTION", "description|short"),
    ];
    table::list(table::items(listed, "tools"), &columns, "No tools.")
}
