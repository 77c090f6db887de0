//! `muxi logs`: what a formation's processes wrote, or with a filter what happens in it.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::remote::Selected;
use crate::client::events::Frame;
use crate::client::formation::{Formation, FormationArgs, Key};
use crate::client::manager::Manager;
use crate::client::query;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{one_line, time};

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Formation, as --formation names it
    #[arg(conflicts_with = "formation")]
    id: Option<String>,
    #[command(flatten)]
    formation: FormationArgs,
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
struct Filters {
    /// What is about this user
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// What happens in this session
    #[arg(short, long, value_name = "SESSION")]
    session: Option<String>,
    /// What is done for this request
    #[arg(long, value_name = "REQUEST")]
    request: Option<String>,
    /// What this agent does
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// debug, info, warning or error: this one and those above
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// What is said to servers of tools and by them; the same as --event 'mcp.*'
    #[arg(long, conflicts_with = "event")]
    mcp: bool,
    /// Events of this type, such as chat.completed, or of a kind, such as 'mcp.*'; '*' is everything
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
}

// === impl LogsArgs ===

impl LogsArgs {
    pub(crate) async fn run(mut self, context: &Context) -> Result<Exit, Fault> {
        self.formation.formation = self.formation.formation.or(self.id);
        let formation = self.formation.open(context)?;
        let filters = self.filters.query();
        if let Some(chosen) = formation.chosen.clone().filter(|_| !formation.is_draft)
            && filters.is_empty()
        {
            let manager = Manager::new(chosen)?;
            return self.selected.tell(&formation.id, &manager, context).await;
        }
        let asked = if filters.is_empty() { "?event_type=%2A".to_owned() } else { filters };
        follow(&formation, &asked, self.selected.lines, context).await
    }
}

// === impl Filters ===

impl Filters {
    fn query(self) -> String {
        query([
            ("user_id", self.user),
            ("session_id", self.session),
            ("request_id", self.request),
            ("agent_id", self.agent),
            ("level", self.level),
            ("event_type", self.event.or(self.mcp.then(|| "mcp.*".to_owned()))),
        ])
    }
}

// === private helpers ===

/// With a count, until so many came.
async fn follow(
    formation: &Formation,
    asked: &str,
    lines: Option<u32>,
    context: &Context,
) -> Result<Exit, Fault> {
    let path = format!("/logs{asked}");
    let mut events = formation.stream(Key::Admin, Method::GET, &path, None).await?;
    context.terminal.note("following; Ctrl-C ends it");
    let mut told = 0;
    while lines.is_none_or(|most| told < most) {
        let Some(frame) = events.next().await? else {
            let message = "the formation tells no more: it was stopped, or another took its place";
            return Err(Fault::new(Exit::Unreachable, "BrokenStream", message)
                .mend("the same command follows it anew"));
        };
        told += 1;
        let text = if context.is_json { format!("{}\n", frame.data) } else { line(&frame) };
        context.terminal.print(&text);
    }
    Ok(Exit::Done)
}

fn line(frame: &Frame) -> String {
    let entry = &frame.data;
    let text = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let level = text(&entry["level"]).to_uppercase();
    let at = time(&entry["timestamp"]).unwrap_or_default();
    let names = [
        ("user", "user_id"),
        ("session", "session_id"),
        ("request", "request_id"),
        ("agent", "agent_id"),
    ];
    let known = names.iter().filter_map(|(name, key)| {
        let value = entry[key].as_str()?;
        Some(format!("  {name}={}", one_line(value)))
    });
    let known: String = known.collect();
    format!("{at}  {level:7}  {}  {}{known}\n", text(&entry["event_type"]), text(&entry["message"]))
}
