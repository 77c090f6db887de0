//! `muxi info`: a running formation at a glance.

use clap::Args;
use serde_json::{Value, json};

use crate::client::formation::{FormationArgs, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    formation: FormationArgs,
    /// Also the whole formation as it runs, without its secrets
    #[arg(long)]
    full: bool,
}

// === impl InfoArgs ===

impl InfoArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.formation.open(context)?;
        let status = formation.get(Key::Admin, "/status").await?;
        if !self.full {
            return Ok(context.show(&status, facts));
        }
        let whole = formation.get(Key::Admin, "/formation").await?;
        let value = json!({"status": status, "formation": whole});
        Ok(context.show(&value, |value| {
            let whole = table::section("Formation", &table::document(&value["formation"]));
            format!("{}{whole}", facts(&value["status"]))
        }))
    }
}

fn facts(status: &Value) -> String {
    table::facts(
        status,
        &[
            ("Id", "formation.id"),
            ("Name", "formation.name"),
            ("Version", "formation.version"),
            ("Description", "formation.description"),
            ("Agents", "agents.count"),
            ("Running for", "stats.running.seconds|seconds"),
            ("Since", "stats.running.since|time"),
            ("Sessions", "stats.sessions"),
            ("Messages kept", "stats.buffer_size"),
            ("Requests", "stats.requests.total"),
            ("Being answered", "stats.requests.active"),
            ("Memory (MB)", "stats.memory.memory_usage_mb"),
            ("Processor (%)", "stats.cpu_percent"),
        ],
    )
}
