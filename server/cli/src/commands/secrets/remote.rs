//! The secrets of a running formation: set there without a deploy, and never shown whole.

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::client::formation::{FormationArgs, Key};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

pub(super) async fn list(args: &FormationArgs, context: &Context) -> Result<Exit, Fault> {
    let answer = args.open(context)?.get(Key::Admin, "/secrets").await?;
    Ok(context.show(&answer, |answer| {
        let secrets = answer["secrets"].as_object().into_iter().flatten();
        let items: Vec<Value> =
            secrets.map(|(name, value)| json!({"name": name, "value": value})).collect();
        let columns = [("NAME", "name"), ("VALUE", "value")];
        table::list(
            &items,
            &columns,
            "No secrets there: `muxi secrets set NAME --remote` sets one.",
        )
    }))
}

pub(super) async fn get(
    name: &str,
    args: &FormationArgs,
    context: &Context,
) -> Result<Exit, Fault> {
    let name = super::normal(name)?;
    let formation = args.open(context)?;
    let answer = formation.get(Key::Admin, &path(&name)).await.map_err(known)?;
    Ok(context.show(&answer, |answer| {
        format!("{}\n", table::at(answer, "value").as_str().unwrap_or("-"))
    }))
}

pub(super) async fn set(
    name: &str,
    value: &SecretString,
    is_forced: bool,
    args: &FormationArgs,
    context: &Context,
) -> Result<Exit, Fault> {
    let formation = args.open(context)?;
    let body = json!({"key": name, "value": value.expose_secret()});
    let answer = match formation.ask(Key::Admin, Method::POST, "/secrets", Some(&body)).await {
        Err(fault) if fault.exit() == Exit::Conflict && is_forced => {
            let body = json!({"value": value.expose_secret()});
            formation.ask(Key::Admin, Method::PUT, &path(name), Some(&body)).await?
        }
        Err(fault) if fault.exit() == Exit::Conflict => {
            return Err(fault.mend("--force replaces it"));
        }
        answer => answer?,
    };
    Ok(context.done(&answer, &format!("Set {name} of {}{}", formation.id, effect(&answer))))
}

pub(super) async fn delete(
    name: &str,
    is_forced: bool,
    args: &FormationArgs,
    context: &Context,
) -> Result<Exit, Fault> {
    let name = super::normal(name)?;
    let formation = args.open(context)?;
    let question = format!("Delete {name} of {}?", formation.id);
    if !is_forced && !context.terminal.confirm(&question, "--force")? {
        return Err(Fault::failed("nothing was deleted"));
    }
    let answer =
        formation.ask(Key::Admin, Method::DELETE, &path(&name), None).await.map_err(known)?;
    Ok(context.done(&answer, &format!("Deleted {name} of {}", formation.id)))
}

// === private helpers ===

fn path(name: &str) -> String {
    format!("/secrets/{}", segment(name))
}

/// Not everything can change under a process that runs.
fn effect(answer: &Value) -> &'static str {
    match answer["effective"].as_str() {
        Some("next_start") => "; it counts from the next start: muxi restart",
        _ => "",
    }
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi secrets list --remote   shows all")
}
