//! `muxi profiles`: the managers that the user knows.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::wait;
use crate::client::manager::{Manager, ManagerArgs};
use crate::client::url;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::local_manager;
use crate::files::profiles::{LOCAL, Profile, Profiles};
use crate::files::variable;
use crate::terminal::format::duration;
use crate::terminal::table;

#[derive(Debug, Subcommand)]
pub(crate) enum ProfilesCommand {
    /// Remember a manager, or replace what is known of one
    Add(AddArgs),
    /// All managers that are known
    #[command(alias = "ls")]
    List,
    /// Forget a manager
    #[command(alias = "rm")]
    Remove {
        /// As `muxi profiles list` names it
        name: String,
    },
    /// What runs there, and whether the key is accepted
    Status(ManagerArgs),
    /// Whether it answers, and how fast
    Ping(ManagerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What to call it
    name: String,
    /// Its address, such as https://muxi.example.com:7890
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Id of the management key
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// The key's secret; others on this machine see arguments, so better leave it out and be asked, or
    /// give it in MUXI_SECRET_KEY
    #[arg(long, value_name = "KEY")]
    secret_key: Option<String>,
    /// Use it wherever no other is named
    #[arg(long)]
    default: bool,
}

// === impl ProfilesCommand ===

impl ProfilesCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Add(args) => args.run(context),
            Self::List => list(context),
            Self::Remove { name } => remove(&name, context),
            Self::Status(args) => wait(status(args.manager(context)?, context)),
            Self::Ping(args) => wait(ping(args.manager(context)?, context)),
        }
    }
}

impl AddArgs {
    fn run(self, context: &Context) -> Result<Exit, Fault> {
        let ask = |given: Option<String>, question: &str, default, flag: &str| match given {
            Some(given) => Ok(given),
            None => context.terminal.ask(question, default, flag),
        };
        let address = ask(self.url, "Address", Some("http://127.0.0.1:7890"), "--url")?;
        url(&address)?;
        let key_id = ask(self.key_id, "Key id", None, "--key-id")?;
        let secret = match self.secret_key.or_else(|| variable("MUXI_SECRET_KEY")) {
            Some(secret) => secret,
            None => {
                context.terminal.ask_secret("Secret", "--secret-key")?.expose_secret().to_owned()
            }
        };
        let _lock = context.home.lock()?;
        let mut profiles = Profiles::read(&context.home)?;
        let mut profile = Profile::new(address.trim_end_matches('/'), &key_id, &secret);
        profile.added_at = Some(jiff::Timestamp::now().to_string());
        let before = profiles.profiles.insert(self.name.clone(), profile);
        if self.default || profiles.profiles.len() == 1 {
            profiles.default_profile = Some(self.name.clone());
        }
        profiles.write(&context.home)?;
        let is_default = profiles.default_profile.as_ref() == Some(&self.name);
        let act = if before.is_some() { "Replaced" } else { "Added" };
        let note = if is_default { ", the default" } else { "" };
        let value = json!({"name": self.name, "url": address, "default": is_default});
        Ok(context.done(&value, &format!("{act} profile {}{note}", self.name)))
    }
}

fn list(context: &Context) -> Result<Exit, Fault> {
    let profiles = Profiles::read(&context.home)?;
    let local =
        local_manager::profile(&context.home)?.filter(|_| !profiles.profiles.contains_key(LOCAL));
    let usual = profiles.usual().map(str::to_owned);
    let rows =
        profiles.profiles.iter().map(|(name, profile)| (name.as_str(), profile, "profiles.yaml"));
    let rows = rows.chain(local.as_ref().map(|it| (LOCAL, it, "this machine's manager")));
    let items: Vec<Value> = rows
        .map(|(name, profile, source)| {
            let is_default = usual.as_deref().unwrap_or(LOCAL) == name;
            json!({"name": name, "url": profile.url, "key_id": profile.key_id, "default": is_default, "source": source})
        })
        .collect();
    let value = json!({"profiles": items});
    Ok(context.show(&value, |_| {
        let columns = [
            ("NAME", "name"),
            ("URL", "url"),
            ("KEY", "key_id"),
            ("DEFAULT", "default"),
            ("FROM", "source"),
        ];
        table::list(
            &items,
            &columns,
            "No manager is known yet: `muxi-server init` makes one, `muxi profiles add` names one.",
        )
    }))
}

fn remove(name: &str, context: &Context) -> Result<Exit, Fault> {
    let _lock = context.home.lock()?;
    let mut profiles = Profiles::read(&context.home)?;
    if profiles.profiles.remove(name).is_none() {
        return Err(Fault::not_found(format!("there is no profile {name}"))
            .mend("muxi profiles list   shows all"));
    }
    profiles.default_profile.take_if(|it| it == name);
    profiles.write(&context.home)?;
    Ok(context.done(&json!({"name": name}), &format!("Removed profile {name}")))
}

async fn status(manager: Manager, context: &Context) -> Result<Exit, Fault> {
    let mut status = manager.get("/rpc/server/status").await?;
    let chosen = &manager.chosen;
    status["profile"] =
        json!({"name": chosen.name, "url": chosen.profile.url, "key_id": chosen.profile.key_id});
    Ok(context.show(&status, |status| {
        let mut shown = status.clone();
        if let Some(seconds) = status["server"]["uptime"].as_u64() {
            shown["server"]["uptime"] = json!(duration(seconds));
        }
        table::facts(
            &shown,
            &[
                ("Profile", "profile.name"),
                ("Address", "profile.url"),
                ("Key", "profile.key_id"),
                ("Version", "server.version"),
                ("Uptime", "server.uptime"),
                ("Formations", "formations.total"),
                ("Running", "formations.running"),
                ("Ports left", "port_pool.available"),
            ],
        )
    }))
}

async fn ping(manager: Manager, context: &Context) -> Result<Exit, Fault> {
    let begun = std::time::Instant::now();
    manager.raw("/ping").await?;
    let took_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    let name = &manager.chosen.name;
    let value = json!({"profile": name, "url": manager.chosen.profile.url, "took_ms": took_ms});
    Ok(context.done(&value, &format!("{name} answers within {took_ms:.1} ms")))
}
