//! The servers of a bundle, as the client of their protocol takes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muxi_formation::manifest::{McpAuth, McpServer, McpTransport, Scalar};
use muxi_formation::{Loaded, interpolate};
use muxi_service::TaskGroup;
use muxi_tools::mcp::{
    Auth, Limits, OAuth, Parameter, Secret, ServerConfig, Servers, ToolFilter, Transport,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::entrusted::Entrusted;

/// Connects nothing yet.
pub fn servers(
    loaded: &Loaded,
    (folder, data_dir): (&Path, &Path),
    entrusted: &Entrusted,
    tasks: TaskGroup,
    stop: &CancellationToken,
) -> Servers {
    let mcp = &loaded.manifest.mcp;
    let call_max = Duration::from_secs(u64::from(mcp.max_tool_timeout_seconds));
    let configs =
        loaded.mcp_servers.iter().map(|server| config(server, (folder, data_dir), call_max));
    let limits = Limits {
        result_bytes: loaded.manifest.input_limits.max_tool_output_size,
        ..Limits::default()
    };
    let (credentials, tokens) = (Arc::new(entrusted.clone()), Arc::new(entrusted.clone()));
    Servers::new(configs, limits, credentials, tokens, tasks, stop)
}

// === private helpers ===

/// Below the data folder: a home for each server that is a command.
const HOMES: &str = "servers";

/// An id as the name of one folder.
fn home(id: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    id.chars().map(|it| if is_plain(it) { it } else { '_' }).collect()
}

fn config(
    server: &McpServer,
    (folder, data_dir): (&Path, &Path),
    call_max: Duration,
) -> ServerConfig {
    let filter = server.tools.clone();
    ServerConfig {
        id: server.id.clone(),
        description: server.description.clone(),
        transport: transport(
            &server.transport,
            folder,
            data_dir.join(HOMES).join(home(&server.id)),
        ),
        auth: auth(&server.auth),
        timeout: Duration::from_secs(u64::from(server.timeout_seconds)).min(call_max),
        retry_attempts: u8::try_from(server.retry_attempts).unwrap_or(u8::MAX),
        connection_ttl: Duration::from_secs(u64::from(server.connection_ttl_seconds)),
        parameters: server
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), parameter(value)))
            .collect(),
        filter: ToolFilter::new(move |tool| filter.allows(tool)),
    }
}

fn transport(transport: &McpTransport, folder: &Path, home: PathBuf) -> Transport {
    match transport {
        McpTransport::Command { command, args, env, cwd } => Transport::Command {
            command: command.clone(),
            args: args.clone(),
            env: secrets(env),
            cwd: Some(cwd.as_ref().map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd))),
            home,
        },
        McpTransport::Http { url, headers } => {
            Transport::Http { url: url.expose_secret().to_owned(), headers: secrets(headers) }
        }
    }
}

fn auth(auth: &McpAuth) -> Auth {
    match auth {
        McpAuth::None => Auth::None,
        McpAuth::Env { variables } => Auth::Env(secrets(variables)),
        McpAuth::Bearer { token } => Auth::Bearer(secret(token)),
        McpAuth::Basic { username, password } => {
            Auth::Basic { username: secret(username), password: secret(password) }
        }
        McpAuth::ApiKey { header, key } => {
            Auth::ApiKey { header: header.clone(), key: secret(key) }
        }
        McpAuth::OAuth { client_id, client_secret, scopes } => Auth::OAuth(OAuth {
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            scopes: scopes.clone(),
        }),
    }
}

fn secrets(all: &BTreeMap<String, SecretString>) -> BTreeMap<String, Secret> {
    all.iter().map(|(name, value)| (name.clone(), secret(value))).collect()
}

fn secret(value: &SecretString) -> Secret {
    let text = value.expose_secret();
    if interpolate::user_credentials(text).is_empty() {
        Secret::Shared(value.clone())
    } else {
        Secret::OfUser(text.to_owned())
    }
}

fn parameter(value: &Scalar) -> Parameter {
    match value {
        Scalar::Bool(flag) => Parameter::Fixed((*flag).into()),
        Scalar::Integer(number) => Parameter::Fixed((*number).into()),
        Scalar::Number(number) => Parameter::Fixed((*number).into()),
        Scalar::Text(text) => {
            let text = text.expose_secret();
            if interpolate::user_credentials(text).is_empty() {
                Parameter::Fixed(text.into())
            } else {
                Parameter::OfUser(text.to_owned())
            }
        }
    }
}
