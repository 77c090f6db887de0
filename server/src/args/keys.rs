//! `muxi-server keys`: who may manage.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use muxi_contract::keys::{KeyView, KeyWithSecret, Role};
use muxi_server::auth::keys::{self, Wanted};
use muxi_server::auth::when;
use muxi_server::config::Folders;
use muxi_server::local::Local;

use super::print;

/// Work on the store itself, whether or not the manager runs; what changes counts from its next
/// request on.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Roles: read (every GET) < deploy (formations, operations, dev runs) < admin (all, keys and audit included).
Secrets are sealed with manager.key, which lies in the configuration's folder: keep a copy of it apart from
backups of the data folder. Without it, stored keys must be rotated.")]
pub(crate) enum KeysCommand {
    /// Make a key, and print its secret once.
    Add {
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
        /// What it may do: read, deploy or admin.
        #[arg(long, default_value_t = Role::of_new_keys())]
        role: Role,
        /// When it ends: a span such as 30d or 12h, or a time such as 2027-01-31T12:00:00Z.
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show all keys, those of config.yaml included, without their secrets.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a key at once.
    Revoke {
        #[arg(value_name = "ID")]
        id: String,
        /// Also if it is the last one with the role admin.
        #[arg(long)]
        force: bool,
    },
    /// Give a key a new secret, and print it once.
    Rotate {
        #[arg(value_name = "ID")]
        id: String,
        /// How long the old secret stays valid, such as 1h; without it, not at all.
        #[arg(long, value_name = "SPAN")]
        grace: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

// === impl KeysCommand ===

impl KeysCommand {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let mut local = Local::open(folders)?;
        let now = local.now();
        let text = match self {
            Self::Add { label, role, expires, json } => {
                let expires_at = expires.map(|text| when::expiry(&text, now)).transpose()?;
                let wanted = Wanted { label, role, expires_at };
                let act = |db: &_, rules: &_| keys::add(db, rules, wanted);
                let made = local.act("keys.create", act, |made| made.key.id.clone())?;
                render_secret(&made, json)?
            }
            Self::List { json } => {
                let keys = local.keys()?;
                if json { serde_json::to_string_pretty(&keys)? + "\n" } else { render_list(&keys) }
            }
            Self::Revoke { id, force } => {
                let act = |db: &_, rules: &_| keys::revoke(db, rules, &id, force);
                local.act("keys.delete", act, |key| key.id.clone())?;
                format!("Key {id} is revoked.\n")
            }
            Self::Rotate { id, grace, json } => {
                let grace = grace.map(|text| when::grace(&text, now)).transpose()?;
                let act = |db: &_, rules: &_| keys::rotate(db, rules, &id, grace);
                let made = local.act("keys.rotate", act, |made| made.key.id.clone())?;
                render_secret(&made, json)?
            }
        };
        Ok(print(&text))
    }
}

fn render_secret(made: &KeyWithSecret, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(made)? + "\n");
    }
    let KeyWithSecret { key, secret } = made;
    let mut text =
        format!("Key ID:     {}\nSecret key: {secret}\nRole:       {}\n", key.id, key.role);
    if let Some(expires_at) = &key.expires_at {
        writeln!(text, "Expires:    {expires_at}")?;
    }
    if let Some(until) = &key.old_secret_valid_until {
        writeln!(text, "The old secret is valid until {until}.")?;
    }
    text.push_str("\nThe secret is shown only now.\n");
    Ok(text)
}

fn render_list(keys: &[KeyView]) -> String {
    let header =
        ["ID", "ROLE", "STATUS", "SOURCE", "LAST USED", "EXPIRES", "LABEL"].map(str::to_owned);
    let rows = keys.iter().map(|key| {
        let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "-".to_owned());
        [
            key.id.clone(),
            key.role.to_string(),
            key.status.as_str().to_owned(),
            key.source.as_str().to_owned(),
            time(&key.last_used_at),
            time(&key.expires_at),
            key.label.clone(),
        ]
    });
    super::table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}
