//! `muxi config`: how one side of a formation is set up, in the manifest or where it runs.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::validate;
use crate::addresses::without_passwords;
use crate::check::check;
use crate::client::formation::{FormationArgs, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::document;

#[derive(Debug, Args)]
#[command(
    after_help = "To change something, edit formation.afs, check it with `muxi validate`, and deploy it."
)]
pub(crate) struct ConfigArgs {
    /// Which side
    area: Area,
    /// What the formation that runs says of it, with its admin key
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    formation: FormationArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Area {
    /// Models, their providers and settings
    Llm,
    /// Routing, plans, persona, clarification
    Overlord,
    /// What is remembered, and where
    Memory,
    /// What is logged, and where
    Logging,
    /// How those who do not wait are told
    Async,
    /// Agents of other formations
    A2a,
    /// Keys of the API, approvals, credentials of users, limits
    Security,
}

// === impl ConfigArgs ===

impl ConfigArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let FormationArgs { formation, profile, url, draft, live } = &self.formation;
        let names_one =
            formation.is_some() || profile.is_some() || url.is_some() || *draft || *live;
        if self.remote || names_one {
            let path = self.area.route();
            let answer = self.formation.open(context)?.get(Key::Admin, path).await?;
            return Ok(context.show(&answer, |answer| {
                if answer.as_object().is_some_and(Map::is_empty) {
                    return "Nothing is set, so the defaults count.\n".to_owned();
                }
                yaml(answer)
            }));
        }
        self.here(context)
    }

    fn here(&self, context: &Context) -> Result<Exit, Fault> {
        let bundle = Bundle::required(&context.folder)?;
        // What the loader would not understand is not shown as if it counted.
        validate::sound(&bundle.folder, "read", &check(&bundle.folder))?;
        let text = document::text(&bundle.manifest)?.unwrap_or_default();
        let root: serde_yaml::Value = serde_yaml::from_str(&text)
            .map_err(|error| Fault::file("read", &bundle.manifest, error))?;
        let root = serde_json::to_value(root)
            .map_err(|error| Fault::file("read", &bundle.manifest, error))?;
        let keys = self.area.keys();
        let blocks: Map<String, Value> = keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), masked(root.get(*key)?.clone(), false))))
            .collect();
        Ok(context.show(&Value::Object(blocks), |blocks| {
            if blocks.as_object().is_some_and(Map::is_empty) {
                let file = context.relative(&bundle.manifest).display();
                return format!(
                    "{file} says nothing of it ({}), so the defaults count.\n",
                    keys.join(", ")
                );
            }
            yaml(blocks)
        }))
    }
}

// === impl Area ===

impl Area {
    /// Of the manifest.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Llm => &["llm"],
            Self::Overlord => &["overlord"],
            Self::Memory => &["memory"],
            Self::Logging => &["logging"],
            Self::Async => &["async"],
            Self::A2a => &["a2a"],
            Self::Security => &["server", "approvals", "user_credentials", "links", "input_limits"],
        }
    }

    fn route(self) -> &'static str {
        match self {
            Self::Llm => "/llm/settings",
            Self::Overlord => "/overlord",
            Self::Memory => "/memory",
            Self::Logging => "/logging",
            Self::Async => "/async",
            Self::A2a => "/a2a",
            Self::Security => "/config",
        }
    }
}

// === private helpers ===

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|_| format!("{value:#}\n"))
}

/// Keys that stand in the manifest itself; placeholders are shown.
fn masked(value: Value, is_secret: bool) -> Value {
    const ENDINGS: [&str; 5] = ["key", "keys", "token", "secret", "password"];
    match value {
        Value::Object(map) => {
            let inner = map.into_iter().map(|(name, value)| {
                let is_secret = is_secret || ENDINGS.iter().any(|it| name.ends_with(it));
                let value = masked(value, is_secret);
                (name, value)
            });
            Value::Object(inner.collect())
        }
        Value::Array(items) => items.into_iter().map(|it| masked(it, is_secret)).collect(),
        Value::String(text) if is_secret && !text.contains("${{") => json!("••••••••"),
        Value::String(text) => json!(without_passwords(&text)),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_and_placeholders_are_not() {
        let shown = masked(
            json!({"api_keys": {"a": "sk-1", "b": "${{ secrets.B }}"}, "max_tokens": 5}),
            false,
        );
        assert_eq!(
            shown,
            json!({"api_keys": {"a": "••••••••", "b": "${{ secrets.B }}"}, "max_tokens": 5})
        );
    }
}
