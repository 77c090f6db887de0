//! Drives a running server through the published Rust SDK; run.sh says against what.
//!
//! The SDK's server client hands out raw `{success, data}` answers, its formation client opens them.

mod calls;
mod checks;
mod follow;
mod following;
mod formation;
mod jobs;
mod memories;
mod operating;
mod people;
mod server;
mod updates;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;
use muxi_rust::{FormationClient, FormationConfig, ServerClient, ServerConfig};
use serde_json::Value;

use crate::checks::Checks;

/// Where and as whom to call.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server_url: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) formation_id: String,
    pub(crate) admin_key: String,
    pub(crate) client_key: String,
    pub(crate) fake_url: String,
    /// The folder with the bundles.
    pub(crate) bundles: String,
    /// Every method of the SDK, and those that cannot do what they are for.
    pub(crate) methods: BTreeSet<String>,
    pub(crate) cannot_pass: BTreeSet<String>,
}

/// The two ways to a formation.
#[derive(Debug)]
enum FormationAddress {
    /// Through the manager.
    Proxied,
    /// On the formation's own port.
    Direct { base_url: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::from_environment()?;
    let Settings { formation_id, client_key, admin_key, .. } = &settings;
    let server = settings.server(&settings.key_id, &settings.secret)?;
    let mut checks = Checks::default();
    server::check(&mut checks, &settings, &server).await?;
    let found = server.get_formation(formation_id).await?;
    let port = found["data"]["port"].as_u64().context("the formation has no port")?;
    let direct = FormationAddress::Direct { base_url: format!("http://127.0.0.1:{port}/v1") };
    for (way, address) in [("proxied", &FormationAddress::Proxied), ("direct", &direct)] {
        let client = settings.formation(address, client_key, admin_key)?;
        operating::check_views(&mut checks, &settings, way, &client).await;
        formation::check(&mut checks, &settings, way, &client).await;
        following::check(&mut checks, &settings, way, &client).await;
        memories::check(&mut checks, way, &client).await;
        people::check(&mut checks, way, &client).await;
        jobs::check(&mut checks, way, &client).await;
        operating::check_secrets_and_audit(&mut checks, &settings, way, &client).await;
        operating::check_unserved(&mut checks, way, &client).await;
        for (kind, client, admin) in [
            ("wrong key", "wrong", "wrong"),
            ("the other class's key", admin_key.as_str(), client_key.as_str()),
        ] {
            let stranger = settings.formation(address, client, admin)?;
            operating::check_keys(&mut checks, way, kind, &stranger).await;
        }
    }
    updates::check(&mut checks, &settings, &server).await;
    let proxied = settings.formation(&FormationAddress::Proxied, client_key, admin_key)?;
    let direct = settings.formation(&direct, client_key, admin_key)?;
    server::check_lifecycle(&mut checks, &settings, &server, &proxied, &direct).await;
    checks.check_coverage(&settings.methods, &settings.cannot_pass).await;
    Ok(checks.exit_code())
}

// === impl Settings ===

impl Settings {
    fn from_environment() -> anyhow::Result<Self> {
        let read = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            server_url: read("SDK_SERVER_URL")?,
            key_id: read("SDK_KEY_ID")?,
            secret: read("SDK_SECRET")?,
            formation_id: read("SDK_FORMATION_ID")?,
            admin_key: read("SDK_ADMIN_KEY")?,
            client_key: read("SDK_CLIENT_KEY")?,
            fake_url: read("SDK_FAKE_URL")?,
            bundles: read("SDK_BUNDLES")?,
            methods: read("SDK_METHODS")?.split_whitespace().map(str::to_owned).collect(),
            cannot_pass: known(&read("SDK_CANNOT_PASS")?)?,
        })
    }

    pub(crate) fn server(&self, key_id: &str, secret: &str) -> muxi_rust::Result<ServerClient> {
        ServerClient::new(ServerConfig::new(&self.server_url, key_id, secret))
    }

    /// As the API has it; no SDK can make a secret, only replace its value.
    pub(crate) async fn create_secret(&self, name: &str) -> reqwest::Result<()> {
        let Self { server_url, formation_id, admin_key, .. } = self;
        let url = format!("{server_url}/api/{formation_id}/v1/secrets");
        let body = serde_json::json!({"key": name, "value": "the first value"}).to_string();
        let request = reqwest::Client::new().post(url).header("X-Muxi-Admin-Key", admin_key);
        let request = request.header("Content-Type", "application/json").body(body);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    fn formation(
        &self,
        address: &FormationAddress,
        client_key: &str,
        admin_key: &str,
    ) -> muxi_rust::Result<FormationClient> {
        let Self { server_url, formation_id, .. } = self;
        FormationClient::new(match address {
            FormationAddress::Proxied => {
                FormationConfig::new(server_url, formation_id, client_key, admin_key)
            }
            FormationAddress::Direct { base_url } => {
                FormationConfig::with_base_url(base_url, client_key, admin_key)
            }
        })
    }
}

/// The entries of cannot-pass.json that are about this SDK.
fn known(path: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let entries: Vec<Value> = serde_json::from_str(&text)?;
    let is_ours = |it: &&Value| it["sdks"].as_array().is_some_and(|it| it.contains(&"rust".into()));
    let method = |it: &Value| it["method"].as_str().map(str::to_owned).context("no method");
    entries.iter().filter(is_ours).map(method).collect()
}
