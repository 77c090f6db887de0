//! `muxi remote logs`: what a formation's processes wrote.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::{OneArgs, known, path};
use crate::client::events::Frame;
use crate::client::manager::{Manager, Told};
use crate::client::query;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::{plain, table};

/// As many as the manager tells if it is not said.
const LINES: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    selected: Selected,
}

/// Which lines.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selected {
    /// How many lines from the end [default: 100]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<u32>,
    /// Only what was written to one of them
    #[arg(long, value_name = "STREAM")]
    stream: Option<Stream>,
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stream {
    Stdout,
    Stderr,
}

// === impl LogsArgs ===

impl LogsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let id = self.one.id(context)?;
        self.selected.tell(&id, &self.one.manager.manager(context)?, context).await
    }
}

// === impl Selected ===

impl Selected {
    pub(crate) async fn tell(
        &self,
        id: &str,
        manager: &Manager,
        context: &Context,
    ) -> Result<Exit, Fault> {
        let stream = self.stream.map(|it| match it {
            Stream::Stdout => "stdout".to_owned(),
            Stream::Stderr => "stderr".to_owned(),
        });
        let asked = query([
            ("lines", self.lines.map(|it| it.to_string())),
            ("stream", stream),
            ("follow", self.follow.then(|| "true".to_owned())),
        ]);
        let path = format!("{}{asked}", path(id, "logs"));
        if !self.follow {
            let told = manager.get(&path).await.map_err(known)?;
            return Ok(context.show(&told, |told| last(told, self.lines.unwrap_or(LINES))));
        }
        match manager.watch(Method::GET, &path, None).await.map_err(known)? {
            Told::Steps(mut events) => {
                while let Some(frame) = events.next().await? {
                    tell(&frame, context);
                }
                Ok(Exit::Done)
            }
            Told::Answer(answer) => Ok(context.show(&answer, table::document)),
        }
    }
}

// === private helpers ===

/// The manager counts each stream by itself.
fn last(told: &Value, lines: u32) -> String {
    let entries = table::items(told, "entries");
    let left_out = entries.len().saturating_sub(lines as usize);
    entries[left_out..].iter().map(line).collect()
}

fn tell(frame: &Frame, context: &Context) {
    if context.is_json {
        let document = json!({"event": frame.name, "data": frame.data});
        return context.terminal.print(&format!("{document}\n"));
    }
    match frame.name.as_str() {
        "log" => context.terminal.print(&line(&frame.data)),
        "gap" => context.terminal.note("… lines are missing: they came faster than they were read"),
        "end" => {
            let reason = frame.data["reason"].as_str().unwrap_or("nobody knows why");
            context.terminal.note(&format!("the log ended: {}", plain(reason).replace('_', " ")));
        }
        _ => {}
    }
}

fn line(entry: &Value) -> String {
    format!("{}\n", plain(entry["line"].as_str().unwrap_or_default()))
}
