//! `muxi memory buffer`: the conversations that are kept.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::super::consent::Consent;
use crate::client::formation::{Formation, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::count;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(super) struct BufferArgs {
    /// Delete what is kept of the user's conversations
    #[arg(long)]
    clear: bool,
    /// Figures of everybody, with the admin key
    #[arg(long, conflicts_with = "clear")]
    stats: bool,
    /// Clear one session only
    #[arg(short, long, value_name = "SESSION", requires = "clear")]
    session: Option<String>,
    /// Clear everybody's, with the admin key
    #[arg(long, requires = "clear", conflicts_with = "session")]
    all: bool,
    #[command(flatten)]
    consent: Consent,
}

// === impl BufferArgs ===

impl BufferArgs {
    pub(super) async fn run(self, formation: Formation, context: &Context) -> Result<Exit, Fault> {
        if self.clear {
            return self.clear(formation, context).await;
        }
        if self.stats {
            let told = formation.get(Key::Admin, "/memory/stats").await?;
            return Ok(context.show(&told, stats));
        }
        let told = formation.get(Key::Client, "/memory/buffer").await?;
        Ok(context.show(&told, of_user))
    }

    async fn clear(self, mut formation: Formation, context: &Context) -> Result<Exit, Fault> {
        let (whose, key, path) = match &self.session {
            Some(session) => (
                format!("session {session}"),
                Key::Client,
                format!("/memory/buffer/{}", segment(session)),
            ),
            None if self.all => {
                formation.user.clear();
                ("everybody".to_owned(), Key::Admin, "/memory/buffer".to_owned())
            }
            None => (formation.user.clone(), Key::Client, "/memory/buffer".to_owned()),
        };
        self.consent.obtain(&format!("Delete the conversations of {whose}?"), context)?;
        let told = formation.ask(key, Method::DELETE, &path, None).await?;
        let count = count(&told["messages_cleared"], "message", "messages");
        Ok(context.done(&told, &format!("Deleted {count} of {whose}")))
    }
}

/// Of everybody.
pub(super) fn stats(stats: &Value) -> String {
    table::facts(
        stats,
        &[
            ("Messages", "total_entries"),
            ("Users", "total_users"),
            ("Sessions", "total_sessions"),
            ("Size (KiB)", "buffer_size_kb"),
            ("Read by models, per session", "max_size"),
        ],
    )
}

fn of_user(status: &Value) -> String {
    let facts =
        [("User", "user_id"), ("Messages", "total_messages"), ("Size (KiB)", "buffer_size_kb")];
    let mut text = table::facts(status, &facts);
    let sessions = table::items(status, "sessions");
    if !sessions.is_empty() {
        let columns = [("SESSION", "session_id"), ("MESSAGES", "message_count")];
        text.push_str(&format!("\n{}", table::list(sessions, &columns, "")));
    }
    text
}
