//! `muxi formations`: formations whose keys are kept for this user, and those that are deployed.

mod list;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::remote::{LogsArgs, ShortCommand};
use super::wait;
use crate::client::manager::ManagerArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::formations::{Formations, Saved};
use crate::terminal::input::piped;
use crate::terminal::table;

#[derive(Debug, Subcommand)]
pub(crate) enum FormationsCommand {
    /// Keep the keys of a formation whose folder is not here
    Add(AddArgs),
    /// All that are kept here or deployed on the manager
    #[command(alias = "ls")]
    List(ManagerArgs),
    /// What is kept of a formation; `get` asks the manager
    Show {
        /// As `muxi formations list` names it
        id: String,
    },
    /// Forget what is kept of a formation; `delete` deletes it on the manager
    #[command(alias = "rm")]
    Remove {
        /// As `muxi formations list` names it
        id: String,
    },
    /// The log of a formation's processes
    Logs(LogsArgs),
    #[command(flatten)]
    Deployed(ShortCommand),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its id
    id: String,
    /// Manager behind which it runs [default: the default one]
    #[arg(short, long, value_name = "NAME")]
    profile: Option<String>,
    /// User on whose behalf commands speak to it
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// Its admin key; others on this machine see arguments, so better be asked or use --stdin
    #[arg(long, value_name = "KEY")]
    admin_key: Option<String>,
    /// Its client key, seen by others as well
    #[arg(long, value_name = "KEY")]
    client_key: Option<String>,
    /// Read the keys from standard input: a line with the admin key, and one with the client key
    #[arg(long, conflicts_with_all = ["admin_key", "client_key"])]
    stdin: bool,
}

// === impl FormationsCommand ===

impl FormationsCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Add(args) => args.run(context),
            Self::List(manager) => wait(list::run(&manager, context)),
            Self::Show { id } => show(&id, context),
            Self::Remove { id } => remove(&id, context),
            Self::Logs(args) => wait(args.run(context)),
            Self::Deployed(command) => wait(command.run(context)),
        }
    }
}

impl AddArgs {
    fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (admin_key, client_key) = self.keys(context)?;
        if admin_key.is_none() && client_key.is_none() {
            return Err(Fault::usage("both keys are empty")
                .mend("give one: --admin-key KEY, --client-key KEY, or --stdin"));
        }
        let _lock = context.home.lock()?;
        let mut formations = Formations::read(&context.home)?;
        // What is not given stays as it was kept before.
        let before = formations.formations.remove(&self.id).unwrap_or_default();
        let saved = Saved {
            default_profile: self.profile.or(before.default_profile),
            default_user_id: self.user.or(before.default_user_id),
            client_key: client_key.or(before.client_key),
            admin_key: admin_key.or(before.admin_key),
            added_at: Some(jiff::Timestamp::now().to_string()),
            others: before.others,
        };
        let value = document(&self.id, &saved);
        let keys = [("admin", saved.admin_key.is_some()), ("client", saved.client_key.is_some())];
        let keys: Vec<&str> = keys.iter().filter(|(_, is_kept)| *is_kept).map(|it| it.0).collect();
        let noun = if keys.len() == 1 { "key" } else { "keys" };
        let text = format!("Kept the {} {noun} of {}", keys.join(" and "), self.id);
        formations.formations.insert(self.id, saved);
        formations.write(&context.home)?;
        Ok(context.done(&value, &text))
    }

    /// The admin and the client key, asked for only if neither was given.
    fn keys(&self, context: &Context) -> Result<(Option<String>, Option<String>), Fault> {
        let filled = |key: &str| Some(key.trim()).filter(|it| !it.is_empty()).map(str::to_owned);
        if self.stdin {
            let text = piped()?;
            let mut lines = text.lines();
            return Ok((lines.next().and_then(filled), lines.next().and_then(filled)));
        }
        if self.admin_key.is_some() || self.client_key.is_some() {
            return Ok((self.admin_key.clone(), self.client_key.clone()));
        }
        let ask = |question: &str, flag: &str| {
            let key = context.terminal.ask_secret(question, flag)?;
            Ok::<_, Fault>(filled(key.expose_secret()))
        };
        Ok((
            ask("Admin key (empty for none)", "--admin-key or --stdin")?,
            ask("Client key (empty for none)", "--client-key or --stdin")?,
        ))
    }
}

// === private helpers ===

fn show(id: &str, context: &Context) -> Result<Exit, Fault> {
    let formations = Formations::read(&context.home)?;
    let saved = formations.formations.get(id).ok_or_else(|| unknown(id))?;
    let value = document(id, saved);
    Ok(context.show(&value, |value| {
        let facts = [
            ("Id", "id"),
            ("Profile", "profile"),
            ("User", "user"),
            ("Admin key", "admin_key"),
            ("Client key", "client_key"),
            ("Added", "added_at|time"),
        ];
        table::facts(value, &facts)
    }))
}

fn remove(id: &str, context: &Context) -> Result<Exit, Fault> {
    let _lock = context.home.lock()?;
    let mut formations = Formations::read(&context.home)?;
    formations.formations.remove(id).ok_or_else(|| unknown(id))?;
    formations.write(&context.home)?;
    let text = format!("Forgot the keys of {id}; what is deployed goes on");
    Ok(context.done(&json!({"id": id}), &text))
}

/// Keys are told by their being there only.
fn document(id: &str, saved: &Saved) -> Value {
    json!({
        "id": id,
        "profile": saved.default_profile,
        "user": saved.default_user_id,
        "admin_key": saved.admin_key.is_some(),
        "client_key": saved.client_key.is_some(),
        "added_at": saved.added_at,
    })
}

fn unknown(id: &str) -> Fault {
    Fault::not_found(format!("nothing is kept of {id}"))
        .mend(format!("muxi formations get {id}   asks the manager"))
        .mend(format!("muxi formations add {id}   keeps its keys"))
}
