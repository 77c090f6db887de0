//! `muxi secrets`: those of a bundle, or with `--remote` those of the formation that runs.

mod remote;
mod setup;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use muxi_formation::Source;
use muxi_vault::{Vault, normalize_name};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

pub(super) use self::template::template;
use super::wait;
use crate::check::{Placeholder, check};
use crate::client::formation::FormationArgs;
use crate::client::manager::now_s;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, error_chain};
use crate::terminal::input::piped;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct SecretsArgs {
    /// Formation's folder [default: the one of this folder]
    #[arg(long, value_name = "DIR", global = true)]
    path: Option<PathBuf>,
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Names: which are set, and which the formation needs
    #[command(alias = "ls")]
    List(WhereArgs),
    /// Print the value of one; of a running formation only a part is shown
    Get {
        /// Its name
        name: String,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Set one
    Set(SetArgs),
    /// Delete one
    #[command(alias = "rm")]
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Ask for every secret that the formation needs and that is not set
    Setup {
        /// Read lines of NAME=VALUE from standard input instead
        #[arg(long)]
        stdin: bool,
    },
    /// Write the names, without values, into the file `secrets`
    Sync,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// Its name; kept in upper case, with _ for whatever is no letter or digit
    name: String,
    /// Its value; others on this machine see arguments, so better leave it out and be asked, or use --stdin
    #[arg(conflicts_with = "stdin")]
    value: Option<String>,
    /// Read the value from standard input
    #[arg(long)]
    stdin: bool,
    /// Replace one that is set
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    at: WhereArgs,
}

/// The bundle's, unless a running formation is meant.
#[derive(Debug, Args)]
struct WhereArgs {
    /// Those of the formation that runs, with its admin key
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    formation: FormationArgs,
}

// === impl SecretsArgs ===

impl SecretsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let path = self.path;
        // The folder that is named is where all of it is done.
        let context = &match path {
            Some(path) => Context { folder: context.folder.join(path), ..context.clone() },
            None => context.clone(),
        };
        match self.command {
            SecretsCommand::List(at) if at.is_remote() => {
                wait(remote::list(&at.formation, context))
            }
            SecretsCommand::List(_) => list(context),
            SecretsCommand::Get { name, at } if at.is_remote() => {
                wait(remote::get(&name, &at.formation, context))
            }
            SecretsCommand::Get { name, .. } => get(&name, context),
            SecretsCommand::Set(args) => args.run(context),
            SecretsCommand::Delete { name, force, at } if at.is_remote() => {
                wait(remote::delete(&name, force, &at.formation, context))
            }
            SecretsCommand::Delete { name, force, .. } => delete(&name, force, context),
            SecretsCommand::Setup { stdin } => setup::run(stdin, context),
            SecretsCommand::Sync => template::sync(context),
        }
    }
}

// === impl SetArgs ===

impl SetArgs {
    fn run(self, context: &Context) -> Result<Exit, Fault> {
        let name = normal(&self.name)?;
        if self.at.is_remote() {
            let value = self.value(&name, context)?;
            return wait(remote::set(&name, &value, self.force, &self.at.formation, context));
        }
        let bundle = Bundle::required(&context.folder)?;
        let is_set = bundle.vault()?.is_some_and(|it| it.get(&name).is_some());
        if is_set && !self.force {
            let question = format!("Replace {name}, which is set?");
            if !context.terminal.confirm(&question, "--force")? {
                return Err(Fault::failed("nothing was changed"));
            }
        }
        let value = self.value(&name, context)?;
        change(&bundle, |vault| vault.set(&name, value))?;
        let act = if is_set { "Replaced" } else { "Set" };
        Ok(context.done(&json!({"name": name, "replaced": is_set}), &format!("{act} {name}")))
    }

    /// The argument, else standard input, else what is typed.
    fn value(&self, name: &str, context: &Context) -> Result<SecretString, Fault> {
        let value = match &self.value {
            Some(value) => value.clone().into(),
            None if self.stdin => SecretString::from(piped()?.trim_end_matches(['\r', '\n'])),
            None => context.terminal.ask_secret(&format!("Value of {name}"), "--stdin")?,
        };
        if value.expose_secret().is_empty() {
            return Err(Fault::usage(format!("the value of {name} is empty"))
                .mend(format!("muxi secrets delete {name}   takes it away")));
        }
        Ok(value)
    }
}

// === impl WhereArgs ===

impl WhereArgs {
    /// Whoever names a formation or a manager means what runs there.
    fn is_remote(&self) -> bool {
        let FormationArgs { formation, profile, url, draft, live } = &self.formation;
        self.remote || formation.is_some() || profile.is_some() || url.is_some() || *draft || *live
    }
}

fn list(context: &Context) -> Result<Exit, Fault> {
    let bundle = Bundle::required(&context.folder)?;
    let vault = bundle.vault()?.unwrap_or_default();
    let mut items: BTreeMap<String, Value> = vault
        .names()
        .map(|name| (name.to_owned(), json!({"name": name, "set": true, "used_at": null})))
        .collect();
    for it in used(&bundle) {
        let name = normalize_name(&it.name);
        let is_set = items.contains_key(&name);
        items.insert(name.clone(), json!({"name": name, "set": is_set, "used_at": shown(&it)}));
    }
    let items: Vec<Value> = items.into_values().collect();
    Ok(context.show(&json!({"secrets": items}), |_| {
        let columns = [("NAME", "name"), ("SET", "set"), ("USED AT", "used_at")];
        table::list(
            &items,
            &columns,
            "No secrets: the formation uses none, and `muxi secrets set NAME` sets one.",
        )
    }))
}

fn get(name: &str, context: &Context) -> Result<Exit, Fault> {
    let name = normal(name)?;
    let vault = Bundle::required(&context.folder)?.vault()?.unwrap_or_default();
    let value = vault.get(&name).ok_or_else(|| unset(&name))?.expose_secret();
    Ok(context.show(&json!({"name": name, "value": value}), |_| format!("{value}\n")))
}

fn delete(name: &str, is_forced: bool, context: &Context) -> Result<Exit, Fault> {
    let name = normal(name)?;
    let bundle = Bundle::required(&context.folder)?;
    if bundle.vault()?.is_none_or(|it| it.get(&name).is_none()) {
        return Err(unset(&name));
    }
    let reference = used(&bundle).into_iter().find(|it| normalize_name(&it.name) == name);
    let place = reference
        .as_ref()
        .and_then(shown)
        .map_or_else(String::new, |it| format!(", which {it} uses"));
    if !is_forced && !context.terminal.confirm(&format!("Delete {name}{place}?"), "--force")? {
        return Err(Fault::failed("nothing was deleted"));
    }
    change(&bundle, |vault| {
        vault.remove(&name);
        Ok(())
    })?;
    Ok(context.done(&json!({"name": name}), &format!("Deleted {name}{place}")))
}

// === private helpers ===

/// The secrets that the bundle refers to.
fn used(bundle: &Bundle) -> Vec<Placeholder> {
    let placeholders = check(&bundle.folder).placeholders;
    placeholders.into_iter().filter(|it| it.source == Source::Secrets).collect()
}

fn shown(it: &Placeholder) -> Option<String> {
    it.place.as_ref().map(|(file, line, _)| format!("{file}:{line}"))
}

fn change<T>(
    bundle: &Bundle,
    change: impl FnOnce(&mut Vault) -> Result<T, muxi_vault::VaultError>,
) -> Result<T, Fault> {
    Vault::change(&bundle.folder, now_s(), change).map_err(|error| {
        Fault::failed(error_chain(&error)).mend("put the .key back that secrets.enc was made with")
    })
}

/// As the vault keeps it.
fn normal(name: &str) -> Result<String, Fault> {
    let normal = normalize_name(name);
    if normal.is_empty() {
        return Err(Fault::usage(format!("`{name}` is no name of a secret"))
            .mend("use letters, digits and _, such as OPENAI_API_KEY"));
    }
    Ok(normal)
}

fn unset(name: &str) -> Fault {
    Fault::not_found(format!("the secret {name} is not set"))
        .mend("muxi secrets list   shows all")
        .mend(format!("muxi secrets set {name}"))
}
