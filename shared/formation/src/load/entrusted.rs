//! The keys that a bundle holds itself.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::Loaded;
use crate::manifest::{InboundAuth, McpAuth, McpServer, McpTransport, Model, OutboundAuth};

pub(super) fn all(loaded: &Loaded) -> Vec<SecretString> {
    let manifest = &loaded.manifest;
    let mut keys: Vec<SecretString> = loaded.mcp_servers.iter().flat_map(of_server).collect();
    keys.extend(loaded.remote_agents.iter().flat_map(|it| of_outbound(&it.auth)));
    keys.extend(manifest.a2a.inbound.iter().flat_map(|it| of_inbound(&it.auth)));
    keys.extend(loaded.coding.iter().flat_map(|it| values(&it.env)));
    let overlord = &manifest.overlord.llm;
    let models = [&overlord.base, &overlord.synthesis, &manifest.llm.models.embedding];
    let models = models.into_iter().flatten().map(|it| -> &Model { it });
    keys.extend(models.filter_map(|it| it.api_key.clone()));
    keys
}

// === private helpers ===

fn values(map: &BTreeMap<String, SecretString>) -> Vec<SecretString> {
    map.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.clone()).collect()
}

/// By its name; flags and ports in an environment must not vanish from logs.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["key", "token", "secret", "password", "pat", "auth", "authorization", "credentials"];
    let name = name.to_lowercase();
    name.split(['_', '-']).any(|word| WORDS.contains(&word) || word.ends_with("key"))
}

fn of_server(server: &McpServer) -> Vec<SecretString> {
    let mut keys = match &server.transport {
        McpTransport::Command { env, .. } => values(env),
        McpTransport::Http { url: _, headers } => values(headers),
    };
    match &server.auth {
        McpAuth::None => {}
        McpAuth::Env { variables } => keys.extend(values(variables)),
        McpAuth::Bearer { token } => keys.push(token.clone()),
        McpAuth::Basic { username: _, password } => keys.push(password.clone()),
        McpAuth::ApiKey { header: _, key } => keys.push(key.clone()),
        McpAuth::OAuth { client_secret, .. } => keys.extend(client_secret.clone()),
    }
    keys
}

fn of_outbound(auth: &OutboundAuth) -> Vec<SecretString> {
    match auth {
        OutboundAuth::None => Vec::new(),
        OutboundAuth::ApiKey(it) => vec![it.key.clone()],
        OutboundAuth::Bearer(it) => vec![it.token.clone()],
        OutboundAuth::Basic(it) => vec![it.password.clone()],
        OutboundAuth::Custom(it) => values(&it.headers),
        OutboundAuth::Hmac(it) => vec![it.secret.clone()],
        OutboundAuth::Oauth2(it) => vec![it.client_secret.clone()],
    }
}

fn of_inbound(auth: &InboundAuth) -> Vec<SecretString> {
    match auth {
        InboundAuth::ClientKey | InboundAuth::None | InboundAuth::Openid(_) => Vec::new(),
        InboundAuth::ApiKey(it) => vec![it.key.clone()],
        InboundAuth::Bearer(it) => vec![it.token.clone()],
        InboundAuth::Basic(it) => vec![it.password.clone()],
        InboundAuth::Custom(it) => values(&it.headers),
        InboundAuth::Hmac(it) => vec![it.secret.clone()],
    }
}
