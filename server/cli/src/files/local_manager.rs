//! The manager that this user has on this machine: who can read its configuration may speak to it.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::profiles::Profile;
use super::{Home, document, variable};
use crate::fault::Fault;

/// What of `config.yaml` says how the manager is reached.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    server: Server,
    auth: Auth,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Server {
    host: String,
    port: u16,
    public_url: String,
    tls: Option<serde_yaml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    secret: String,
}

/// Nothing when there is no configuration, or none with a key.
pub(crate) fn profile(home: &Home) -> Result<Option<Profile>, Fault> {
    let Some(config) = document::read::<Config>(&config_file(home))? else { return Ok(None) };
    let Some(key) = config.auth.keys.first() else { return Ok(None) };
    Ok(Some(Profile::new(&config.server.url(), &key.id, &key.secret)))
}

/// The keys that a formation made for itself, if its data lies on this machine. Its draft has its own.
pub(crate) fn formation_keys(home: &Home, id: &str, is_draft: bool) -> Option<(String, String)> {
    let id = if is_draft { format!("{id}@draft") } else { id.to_owned() };
    let data = variable("MUXI_DATA_DIR").map_or_else(|| home.muxi.join("server"), PathBuf::from);
    let text = std::fs::read(data.join("formations").join(id).join("data/keys.json")).ok()?;
    let keys: Value = serde_json::from_slice(&text).ok()?;
    let key = |name: &str| keys[name].as_str().map(str::to_owned);
    Some((key("admin_key")?, key("client_key")?))
}

fn config_file(home: &Home) -> PathBuf {
    let folder =
        variable("MUXI_CONFIG_DIR").map_or_else(|| home.muxi.join("server"), PathBuf::from);
    folder.join("config.yaml")
}

// === impl Server ===

impl Server {
    fn url(&self) -> String {
        let Self { host, port, public_url, tls } = self;
        if !public_url.is_empty() {
            return public_url.trim_end_matches('/').to_owned();
        }
        let host = match host.as_str() {
            "0.0.0.0" | "::" | "" => "127.0.0.1".to_owned(),
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{port}")
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { host: String::new(), port: 7890, public_url: String::new(), tls: None }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}
