//! Drives a running server through the published Rust SDK; run.sh says against what.
//!
//! The SDK's server client hands out raw `{success, data}` answers, its formation client opens them.

mod checks;
mod formation;
mod server;

use std::process::ExitCode;

use anyhow::Context as _;
use muxi_rust::{FormationClient, FormationConfig, ServerClient, ServerConfig};

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
        formation::check(&mut checks, &settings, way, &client).await;
        for (kind, client, admin) in [
            ("wrong key", "wrong", "wrong"),
            ("the other class's key", admin_key.as_str(), client_key.as_str()),
        ] {
            let stranger = settings.formation(address, client, admin)?;
            formation::check_keys(&mut checks, way, kind, &stranger).await;
        }
    }
    let proxied = settings.formation(&FormationAddress::Proxied, client_key, admin_key)?;
    let direct = settings.formation(&direct, client_key, admin_key)?;
    server::check_lifecycle(&mut checks, &settings, &server, &proxied, &direct).await;
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
        })
    }

    pub(crate) fn server(&self, key_id: &str, secret: &str) -> muxi_rust::Result<ServerClient> {
        ServerClient::new(ServerConfig::new(&self.server_url, key_id, secret))
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
