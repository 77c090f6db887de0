//! `muxi set`: what commands mean when they do not say.

use clap::Subcommand;
use serde_json::json;

use super::registry;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::defaults::Defaults;
use crate::files::local_manager;
use crate::files::profiles::{LOCAL, Profiles};
use crate::files::registries::Registries;

#[derive(Debug, Subcommand)]
pub(crate) enum SetCommand {
    /// What is used where nothing else is named
    #[command(subcommand)]
    Default(DefaultCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DefaultCommand {
    /// The manager
    Profile {
        /// As `muxi profiles list` names it
        name: String,
    },
    /// The user on whose behalf formations are spoken to
    User {
        /// The user's id
        id: String,
    },
    /// The place where formations of others are found
    Registry {
        /// Its address: https://…, a folder, or git+https://…
        url: String,
    },
}

// === impl SetCommand ===

impl SetCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let Self::Default(what) = self;
        let (what, value) = match what {
            DefaultCommand::Profile { name } => ("profile", profile(name, context)?),
            DefaultCommand::User { id } => ("user", user(id, context)?),
            DefaultCommand::Registry { url } => ("registry", registry_address(&url, context)?),
        };
        let text = format!("The default {what} is {value}");
        Ok(context.done(&json!({"default": what, "value": value}), &text))
    }
}

// === private helpers ===

fn profile(name: String, context: &Context) -> Result<String, Fault> {
    let _lock = context.home.lock()?;
    let mut profiles = Profiles::read(&context.home)?;
    let is_local = name == LOCAL && local_manager::profile(&context.home)?.is_some();
    if !is_local && !profiles.profiles.contains_key(&name) {
        return Err(Fault::not_found(format!("there is no profile {name}"))
            .mend("muxi profiles list   shows all")
            .mend(format!(
                "muxi profiles add {name} --url URL --key-id ID --secret-key KEY --default"
            )));
    }
    profiles.default_profile = Some(name.clone());
    profiles.write(&context.home)?;
    Ok(name)
}

fn user(id: String, context: &Context) -> Result<String, Fault> {
    if id.trim().is_empty() {
        return Err(Fault::usage("the user's id is empty").mend("muxi set default user alice"));
    }
    let _lock = context.home.lock()?;
    let mut defaults = Defaults::read(&context.home)?;
    defaults.user_id = Some(id.clone());
    defaults.write(&context.home)?;
    Ok(id)
}

fn registry_address(address: &str, context: &Context) -> Result<String, Fault> {
    let address = registry::kept_address(address, context)?;
    let _lock = context.home.lock()?;
    let mut registries = Registries::read(&context.home)?;
    registries.default_registry = Some(address.clone());
    registries.write(&context.home)?;
    Ok(address)
}
