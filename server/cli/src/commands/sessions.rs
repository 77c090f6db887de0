//! `muxi sessions`: conversations of a user with a running formation.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::consent::Consent;
use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{count, one_line, time};
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// All sessions of the user, newest first
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Only those with a message in the last half an hour
        #[arg(long)]
        active: bool,
    },
    /// One session in figures
    #[command(alias = "get")]
    Show {
        /// As `muxi sessions list` names it
        session: String,
    },
    /// What was said in a session
    Messages {
        /// As `muxi sessions list` names it
        session: String,
        /// At most so many, the newest ones
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Only what was said before the message with this id
        #[arg(long, value_name = "MESSAGE")]
        before: Option<String>,
    },
    /// Delete a session with all that was said in it
    #[command(alias = "rm")]
    Delete {
        /// As `muxi sessions list` names it
        session: String,
        #[command(flatten)]
        consent: Consent,
    },
}

// === impl SessionsArgs ===

impl SessionsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            SessionsCommand::List { limit, active } => {
                list(&formation, limit, active, context).await
            }
            SessionsCommand::Show { session } => {
                let shown = formation.get(Key::Client, &path(&session, "")).await.map_err(known)?;
                Ok(context.show(&shown, |shown| table::facts(shown, &FACTS)))
            }
            SessionsCommand::Messages { session, limit, before } => {
                let asked = query([("limit", limit.map(|it| it.to_string())), ("before", before)]);
                let path = path(&session, &format!("/messages{asked}"));
                let told = formation.get(Key::Client, &path).await.map_err(known)?;
                Ok(context.show(&told, |told| transcript(told, &session)))
            }
            SessionsCommand::Delete { session, consent } => {
                consent.obtain(&format!("Delete session {session} with its messages?"), context)?;
                delete(&formation, &session, context).await
            }
        }
    }
}

// === private helpers ===

const FACTS: [(&str, &str); 6] = [
    ("Session", "session_id"),
    ("User", "user_id"),
    ("Messages", "message_count"),
    ("Active", "active"),
    ("Created", "created_at|time"),
    ("Last activity", "last_activity|time"),
];

async fn list(
    formation: &Formation,
    limit: Option<u32>,
    active: bool,
    context: &Context,
) -> Result<Exit, Fault> {
    let asked = query([
        ("limit", limit.map(|it| it.to_string())),
        ("active_only", active.then(|| "true".to_owned())),
    ]);
    let listed = formation.get(Key::Client, &format!("/sessions{asked}")).await?;
    Ok(context.show(&listed, |listed| {
        let columns = [
            ("SESSION", "session_id"),
            ("MESSAGES", "message_count"),
            ("ACTIVE", "active"),
            ("CREATED", "created_at|time"),
            ("LAST ACTIVITY", "last_activity|time"),
        ];
        let empty = format!("{} has no session yet: `muxi chat` begins one.", formation.user);
        table::list(table::items(listed, "sessions"), &columns, &empty)
    }))
}

fn transcript(told: &Value, session: &str) -> String {
    let messages = table::items(told, "messages");
    if messages.is_empty() {
        return format!("Nothing is kept of session {session}.\n");
    }
    let mut text: String = messages.iter().map(message).collect();
    if told["has_more"] == true {
        let oldest = messages.first().map_or("", |it| it["id"].as_str().unwrap_or_default());
        text.push_str(&format!(
            "\nThere is more: muxi sessions messages {session} --before {oldest}\n"
        ));
    }
    text.trim_start().to_owned()
}

fn message(message: &Value) -> String {
    let metadata = &message["metadata"];
    let text = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let who = if metadata["role"] == "user" {
        text(&metadata["user_id"])
    } else {
        text(&metadata["agent_id"])
    };
    let status = match text(&metadata["status"]).as_str() {
        "" | "completed" => String::new(),
        status => format!(", {status}"),
    };
    let at = time(&message["timestamp"]).unwrap_or_default();
    let files: Vec<String> =
        table::items(metadata, "files").iter().map(|it| text(&it["filename"])).collect();
    let files = if files.is_empty() { String::new() } else { format!("\n[{}]", files.join(", ")) };
    let said = format!("{}{files}", message["text"].as_str().unwrap_or_default());
    table::section(&format!("{who}, {at}{status}"), &said)
}

async fn delete(formation: &Formation, session: &str, context: &Context) -> Result<Exit, Fault> {
    let path = path(session, "");
    let told = formation.ask(Key::Client, Method::DELETE, &path, None).await.map_err(known)?;
    if told["deleted"] == json!(false) {
        let message = one_line(told["message"].as_str().unwrap_or("it was not deleted"));
        return Err(Fault::new(Exit::Conflict, "InUse", message)
            .mend("muxi requests list   shows what is being answered"));
    }
    let count = count(&told["messages_cleared"], "message", "messages");
    Ok(context.done(&told, &format!("Deleted session {session} with {count}")))
}

fn path(session: &str, rest: &str) -> String {
    format!("/sessions/{}{rest}", segment(session))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi sessions list   shows the sessions of the user")
}
