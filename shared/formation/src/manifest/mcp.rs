//! Tools of servers that speak the Model Context Protocol: the `mcp` block and each server.
//!
//! Invariant: what may hold a secret is a [`SecretString`] or left out of `Debug`; placeholders of
//! users' credentials are still in the values, see
//! [`fill_user_credentials`](crate::interpolate::fill_user_credentials).

use std::collections::BTreeMap;
use std::fmt;

use camino::Utf8PathBuf;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use super::{secret, secret_text, secrets};
use crate::filter::ToolFilter;

/// The bounds of all tools; the servers themselves are in [`Loaded`](crate::Loaded).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mcp {
    /// How long an unused connection stays; 0 makes one for each call.
    #[serde(rename = "connection_ttl")]
    pub connection_ttl_seconds: u32,
    pub default_retry_attempts: u32,
    pub default_timeout_seconds: u32,
    /// Rounds of calls in one answer.
    pub max_tool_iterations: u32,
    pub max_tool_calls: u32,
    /// The same error so many times in a row ends the attempts.
    pub max_repeated_errors: u32,
    /// Of all calls of one answer.
    #[serde(rename = "max_timeout_in_seconds")]
    pub max_timeout_seconds: u32,
    /// Of one call, whatever its server says.
    #[serde(rename = "max_tool_timeout_in_seconds")]
    pub max_tool_timeout_seconds: u32,
    /// Whether only the tools that seem relevant are shown to a model.
    pub enhance_user_prompts: bool,
    /// Waiting for slow jobs elsewhere; `None` when it is switched off.
    #[serde(deserialize_with = "watch")]
    pub watch: Option<Watch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Watch {
    #[serde(rename = "interval")]
    pub interval_seconds: u32,
    #[serde(rename = "timeout")]
    pub timeout_seconds: u32,
    /// Of one user.
    pub max_concurrent: u32,
    pub max_consecutive_failures: u32,
}

/// A server with everything decided.
#[derive(Debug, Clone)]
pub struct McpServer {
    pub id: String,
    pub description: Option<String>,
    pub transport: McpTransport,
    pub auth: McpAuth,
    pub timeout_seconds: u32,
    pub retry_attempts: u32,
    pub connection_ttl_seconds: u32,
    /// Arguments that every call gets, unless it names them itself.
    pub parameters: BTreeMap<String, Scalar>,
    pub tools: ToolFilter,
    /// Attached by nobody, and so there for every agent.
    pub is_global: bool,
    /// The agent that brings the server along; nobody else can attach it.
    pub private_to: Option<String>,
    /// Services whose credentials of the calling user a connection needs, in lower case. Connections
    /// of different credentials must be kept apart.
    pub needs_user_credentials: Vec<String>,
}

#[derive(Clone)]
pub enum McpTransport {
    Command {
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, SecretString>,
        /// Relative to the bundle.
        cwd: Option<Utf8PathBuf>,
    },
    Http {
        /// Some carry a key in their path.
        url: SecretString,
        headers: BTreeMap<String, SecretString>,
    },
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum McpAuth {
    #[default]
    None,
    /// Variables of the child's environment.
    Env {
        #[serde(deserialize_with = "secrets")]
        variables: BTreeMap<String, SecretString>,
    },
    Bearer {
        #[serde(deserialize_with = "secret_text")]
        token: SecretString,
    },
    Basic {
        #[serde(deserialize_with = "secret_text")]
        username: SecretString,
        #[serde(deserialize_with = "secret_text")]
        password: SecretString,
    },
    ApiKey {
        #[serde(default = "api_key_header")]
        header: String,
        #[serde(deserialize_with = "secret_text")]
        key: SecretString,
    },
    /// As the protocol's own specification has it; a client without an id registers itself.
    #[serde(rename = "oauth")]
    OAuth {
        client_id: Option<String>,
        #[serde(default, deserialize_with = "secret")]
        client_secret: Option<SecretString>,
        #[serde(default)]
        scopes: Vec<String>,
    },
}

/// A default argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "PlainScalar")]
pub enum Scalar {
    Bool(bool),
    Integer(i64),
    Number(f64),
    /// May hold a secret, and placeholders of users' credentials.
    Text(SecretString),
}

/// A server before the block's defaults are known.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct McpServerFields {
    pub(crate) id: String,
    description: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default, deserialize_with = "secrets")]
    env: BTreeMap<String, SecretString>,
    cwd: Option<Utf8PathBuf>,
    #[serde(default, deserialize_with = "secret")]
    endpoint: Option<SecretString>,
    #[serde(default, deserialize_with = "secrets")]
    headers: BTreeMap<String, SecretString>,
    #[serde(default)]
    auth: McpAuth,
    timeout_seconds: Option<u32>,
    retry_attempts: Option<u32>,
    connection_ttl: Option<u32>,
    #[serde(default)]
    parameters: BTreeMap<String, Scalar>,
    #[serde(default)]
    tools: ToolFilter,
}

// === impl Mcp ===

impl Default for Mcp {
    fn default() -> Self {
        Self {
            connection_ttl_seconds: 300,
            default_retry_attempts: 3,
            default_timeout_seconds: 30,
            max_tool_iterations: 10,
            max_tool_calls: 50,
            max_repeated_errors: 3,
            max_timeout_seconds: 300,
            max_tool_timeout_seconds: 30,
            enhance_user_prompts: true,
            watch: Some(Watch::default()),
        }
    }
}

// === impl Watch ===

impl Default for Watch {
    fn default() -> Self {
        Self {
            interval_seconds: 30,
            timeout_seconds: 7_200,
            max_concurrent: 10,
            max_consecutive_failures: 3,
        }
    }
}

// === impl McpServer ===

impl McpServer {
    /// `None` only for a server that has neither a command nor an address, which loading refuses.
    pub(crate) fn new(
        fields: McpServerFields,
        mcp: &Mcp,
        private_to: Option<String>,
        is_global: bool,
        needs_user_credentials: Vec<String>,
    ) -> Option<Self> {
        let transport = match (fields.command, fields.endpoint) {
            (Some(command), _) => McpTransport::Command {
                command,
                args: fields.args,
                env: fields.env,
                cwd: fields.cwd,
            },
            (None, Some(url)) => McpTransport::Http { url, headers: fields.headers },
            (None, None) => return None,
        };
        Some(Self {
            id: fields.id,
            description: fields.description,
            transport,
            auth: fields.auth,
            timeout_seconds: fields.timeout_seconds.unwrap_or(mcp.default_timeout_seconds),
            retry_attempts: fields.retry_attempts.unwrap_or(mcp.default_retry_attempts),
            connection_ttl_seconds: fields.connection_ttl.unwrap_or(mcp.connection_ttl_seconds),
            parameters: fields.parameters,
            tools: fields.tools,
            is_global,
            private_to,
            needs_user_credentials,
        })
    }
}

// === impl McpTransport ===

impl fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Some servers get their keys as arguments.
            Self::Command { command, args, env, cwd } => f
                .debug_struct("Command")
                .field("command", command)
                .field("args", &args.len())
                .field("env", &env.keys())
                .field("cwd", cwd)
                .finish(),
            Self::Http { url: _, headers } => {
                f.debug_struct("Http").field("headers", &headers.keys()).finish_non_exhaustive()
            }
        }
    }
}

// === impl Scalar ===

impl Scalar {
    /// As an argument of a call; placeholders of users' credentials are filled in by the caller.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.expose_secret().into(),
        }
    }
}

impl From<PlainScalar> for Scalar {
    fn from(plain: PlainScalar) -> Self {
        match plain {
            PlainScalar::Bool(flag) => Self::Bool(flag),
            PlainScalar::Integer(number) => Self::Integer(number),
            PlainScalar::Number(number) => Self::Number(number),
            PlainScalar::Text(text) => Self::Text(text.into()),
        }
    }
}

// === private helpers ===

#[derive(Deserialize)]
#[serde(untagged)]
enum PlainScalar {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

fn api_key_header() -> String {
    "X-API-Key".to_owned()
}

/// `false`, `true`, or a map.
fn watch<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Watch>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Switch(bool),
        Block(Watch),
    }
    Ok(match Written::deserialize(from)? {
        Written::Switch(false) => None,
        Written::Switch(true) => Some(Watch::default()),
        Written::Block(watch) => Some(watch),
    })
}
