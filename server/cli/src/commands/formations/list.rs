//! `muxi formations list`: what is kept here beside what the manager has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::document;
use crate::client::manager::ManagerArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::formations::Formations;
use crate::terminal::format::text_of;
use crate::terminal::table;

pub(super) async fn run(manager: &ManagerArgs, context: &Context) -> Result<Exit, Fault> {
    let saved = Formations::read(&context.home)?.formations;
    let deployed = deployed(manager, context).await;
    let (name, deployed) = match deployed {
        Ok(found) => found,
        // What is kept here can be told all the same.
        Err(fault) if !saved.is_empty() => {
            let text = fault.to_text();
            context.terminal.caution(format!("what is deployed is not known: {text}\n"));
            (String::new(), Vec::new())
        }
        Err(fault) => return Err(fault),
    };
    let mut rows: BTreeMap<String, Value> = saved
        .iter()
        .map(|(id, saved)| {
            (id.clone(), json!({"id": id, "kept": document(id, saved), "deployed": null}))
        })
        .collect();
    for formation in deployed {
        let id = formation["id"].as_str().unwrap_or_default().to_owned();
        let row = rows.entry(id.clone()).or_insert_with(|| json!({"id": id, "kept": null}));
        row["deployed"] = formation;
    }
    let rows: Vec<Value> = rows.into_values().collect();
    let value = json!({"formations": rows, "manager": name});
    Ok(context.show(&value, |_| {
        let shown: Vec<Value> = rows.iter().map(|row| readable(row, &name)).collect();
        let columns = [
            ("ID", "id"),
            ("STATUS", "deployed.status"),
            ("VERSION", "deployed.version.semantic"),
            ("KEYS", "keys"),
            ("KNOWN FROM", "from"),
        ];
        let empty = "No formation is kept or deployed: `muxi deploy` deploys one, `muxi formations add ID` keeps the keys of one.";
        table::list(&shown, &columns, empty)
    }))
}

/// The manager's name and its formations.
async fn deployed(manager: &ManagerArgs, context: &Context) -> Result<(String, Vec<Value>), Fault> {
    let manager = manager.manager(context)?;
    let mut listed = manager.get("/rpc/formations").await?;
    let found = listed["formations"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Ok((manager.chosen.name, found))
}

fn readable(row: &Value, manager: &str) -> Value {
    let kept = &row["kept"];
    let keys = [("admin", "admin_key"), ("client", "client_key")];
    let keys: Vec<&str> =
        keys.iter().filter(|(_, key)| kept[key] == true).map(|(name, _)| *name).collect();
    let mut from = Vec::new();
    if kept.is_object() {
        from.push(match kept["profile"].as_str() {
            Some(profile) => format!("formations.yaml (profile {profile})"),
            None => "formations.yaml".to_owned(),
        });
    }
    if row["deployed"].is_object() {
        from.push(format!("manager {manager}"));
    }
    let mut shown = row.clone();
    shown["keys"] = json!(keys);
    shown["from"] = text_of(&json!(from)).into();
    shown
}
