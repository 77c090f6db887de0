//! `muxi triggers`: what a running formation does when something happens elsewhere.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::document;
use crate::terminal::format::text_of;
use crate::terminal::input::piped;
use crate::terminal::{plain, table};

#[derive(Debug, Args)]
pub(crate) struct TriggersArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: TriggersCommand,
}

#[derive(Debug, Subcommand)]
enum TriggersCommand {
    /// All triggers
    #[command(alias = "ls")]
    List,
    /// One trigger: its text and the data that it takes
    #[command(alias = "get")]
    Show {
        /// As `muxi triggers list` names it
        trigger: String,
    },
    /// Fire a trigger and wait for the answer
    #[command(alias = "fire")]
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// As `muxi triggers list` names it
    trigger: String,
    /// What happened, as a JSON object: itself, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    data: String,
    /// Session to answer in [default: a new one]
    #[arg(short, long, value_name = "SESSION")]
    session: Option<String>,
    /// Do not wait; `muxi requests show` tells the answer later
    #[arg(long = "async", conflicts_with = "sync")]
    later: bool,
    /// Wait for the answer, as it is done anyway
    #[arg(long)]
    sync: bool,
}

// === impl TriggersArgs ===

impl TriggersArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let formation = self.user.open(context)?;
        match self.command {
            TriggersCommand::List => {
                let listed = formation.get(Key::Client, "/triggers").await?;
                Ok(context.show(&listed, list))
            }
            TriggersCommand::Show { trigger } => {
                let shown = formation.get(Key::Client, &path(&trigger)).await.map_err(known)?;
                Ok(context.show(&shown, |shown| {
                    let facts = [("Name", "name"), ("Data", "data_fields")];
                    let text = shown["content"].as_str().unwrap_or_default();
                    format!("{}{}", table::facts(shown, &facts), table::section("Text", text))
                }))
            }
            TriggersCommand::Run(args) => args.run(&formation, context).await,
        }
    }
}

impl RunArgs {
    async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let mut body = json!({"data": data(&self.data, context)?, "use_async": self.later});
        if let Some(session) = &self.session {
            body["session_id"] = json!(session);
        }
        let path = path(&self.trigger);
        let told = formation.ask(Key::Client, Method::POST, &path, Some(&body)).await;
        let told = told.map_err(|fault| match fault.code() {
            "INVALID_REQUEST" => {
                fault.mend(format!("muxi triggers show {}   names the data", self.trigger))
            }
            _ => known(fault),
        })?;
        if self.later {
            let request = text_of(&told["request_id"]);
            let text = format!(
                "Fired {}\n  muxi requests show {request}   tells the answer",
                self.trigger
            );
            return Ok(context.done(&told, &text));
        }
        for warning in table::items(&told, "warnings") {
            context.terminal.caution(text_of(warning));
        }
        Ok(context.show(&told, answer))
    }
}

// === private helpers ===

fn list(listed: &Value) -> String {
    let named: Vec<Value> =
        table::items(listed, "triggers").iter().map(|it| json!({"name": it})).collect();
    let empty = "No triggers: `muxi new trigger NAME` adds one to the formation.";
    table::list(&named, &[("NAME", "name")], empty)
}

fn answer(told: &Value) -> String {
    let mut text = format!("{}\n", plain(told["content"].as_str().unwrap_or_default()).trim_end());
    let files = table::items(told, "artifacts");
    if !files.is_empty() {
        let columns = [("FILE", "name"), ("ID", "id"), ("SIZE", "size_bytes|bytes")];
        text.push_str(&format!("\n{}", table::list(files, &columns, "")));
    }
    text
}

fn data(given: &str, context: &Context) -> Result<Value, Fault> {
    let (place, text) = if given == "-" {
        ("standard input".to_owned(), piped()?)
    } else if let Some(file) = given.strip_prefix('@') {
        let path = context.folder.join(file);
        let text = document::text(&path)?
            .ok_or_else(|| Fault::not_found(format!("there is no file {}", path.display())))?;
        (file.to_owned(), text)
    } else {
        ("--data".to_owned(), given.to_owned())
    };
    let wrong = |why: &str| {
        Fault::usage(format!("{place} is no JSON object: {why}"))
            .mend("write it as '{\"name\": \"value\"}'")
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(value) => Err(wrong(&format!("it is {}", kind(&value)))),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn path(trigger: &str) -> String {
    format!("/triggers/{}", segment(trigger))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi triggers list   shows all")
}
