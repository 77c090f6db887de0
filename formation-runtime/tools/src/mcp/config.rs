//! What a formation says of its servers, as plain values; nothing here acts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muxi_contract::UserId;
use secrecy::SecretString;
use serde_json::Value;

use crate::Outcome;

/// One server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub id: String,
    pub description: Option<String>,
    pub transport: Transport,
    pub auth: Auth,
    /// For one call.
    pub timeout: Duration,
    /// More tries to connect after the first failed.
    pub retry_attempts: u8,
    /// How long an unused connection is kept; zero closes it after each call.
    pub connection_ttl: Duration,
    /// Arguments that are filled in where a tool knows them and its caller gave none.
    pub parameters: BTreeMap<String, Parameter>,
    /// Tools whose own name it refuses are not offered to anybody.
    pub filter: ToolFilter,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A child that speaks over its standard input and output.
    Command {
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, Secret>,
        cwd: Option<PathBuf>,
        /// Made for it where this process has none, such as under a manager: programs that fetch others
        /// keep them there.
        home: PathBuf,
    },
    /// Streamable HTTP.
    Http { url: String, headers: BTreeMap<String, Secret> },
}

/// How a caller proves who it is.
#[derive(Debug, Clone)]
pub enum Auth {
    None,
    /// More variables of a child's environment.
    Env(BTreeMap<String, Secret>),
    Bearer(Secret),
    Basic {
        username: Secret,
        password: Secret,
    },
    ApiKey {
        header: String,
        key: Secret,
    },
    OAuth(OAuth),
}

/// The OAuth client that a formation is. With a secret it acts for itself, without one for each user.
#[derive(Debug, Clone, Default)]
pub struct OAuth {
    /// Without one the formation registers itself where the authorization server offers that.
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
    /// Empty means those that the server asks for.
    pub scopes: Vec<String>,
}

/// A text that is the same for all, or each user's own.
#[derive(Debug, Clone)]
pub enum Secret {
    Shared(SecretString),
    /// Has places that [`UserCredentials`] fills at each call.
    OfUser(String),
}

/// An argument's default.
#[derive(Debug, Clone)]
pub enum Parameter {
    Fixed(Value),
    /// Has places that [`UserCredentials`] fills at each call.
    OfUser(String),
}

/// Fills in what belongs to one user.
pub trait UserCredentials: Send + Sync + fmt::Debug {
    fn fill<'a>(
        &'a self,
        user: &'a UserId,
        template: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, MissingCredential>>;

    /// What becomes of a call by a user who has given no credential for the service.
    fn wanted(&self, service: &str) -> Outcome;
}

/// The user has given no credential for this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCredential {
    pub service: String,
}

/// Which of a server's tools exist for this formation, by the server's own names.
#[derive(Clone)]
pub struct ToolFilter(Arc<dyn Fn(&str) -> bool + Send + Sync>);

/// Bounds for all servers together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the start of a server to the end of its handshake.
    pub start: Duration,
    /// How long a turn waits for the tools of a server that was never asked, and of one that failed when
    /// it was asked last.
    pub first_wait: Duration,
    pub wait_after_failure: Duration,
    /// After a failure a server is left alone for so long; it doubles with each, up to the second.
    pub failure_pause: Duration,
    pub failure_pause_max: Duration,
    /// Between the polite request to end and the kill.
    pub stop_grace: Duration,
    pub pages: usize,
    pub tools_per_server: usize,
    pub description_bytes: usize,
    pub schema_bytes: usize,
    /// Texts of one result together; longer ones are cut.
    pub result_bytes: usize,
    /// One file of a result; larger ones are refused.
    pub file_bytes: usize,
    pub files_per_result: usize,
    /// One message on the wire; a longer one ends its connection.
    pub message_bytes: usize,
    /// Messages within ten seconds that answer nothing; more of them end the connection.
    pub unasked_messages: u32,
    /// The end of what a child said on standard error.
    pub stderr_bytes: usize,
    pub calls: usize,
    pub connections: usize,
    /// Grants that users have begun and not finished.
    pub pending_grants: usize,
    pub pending_grant: Duration,
}

// === impl ToolFilter ===

impl ToolFilter {
    pub fn all() -> Self {
        Self::new(|_| true)
    }

    pub fn new(allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    pub fn allows(&self, tool: &str) -> bool {
        (self.0)(tool)
    }
}

impl fmt::Debug for ToolFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ToolFilter")
    }
}

// === impl Secret ===

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::Shared(SecretString::from(text))
    }
}

// === impl ServerConfig ===

impl ServerConfig {
    /// With the documented defaults.
    pub fn new(id: impl Into<String>, transport: Transport) -> Self {
        Self {
            id: id.into(),
            description: None,
            transport,
            auth: Auth::None,
            timeout: Duration::from_secs(30),
            retry_attempts: 3,
            connection_ttl: Duration::from_mins(5),
            parameters: BTreeMap::new(),
            filter: ToolFilter::all(),
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Servers in Python need up to eleven seconds when nothing of them is cached.
            start: Duration::from_mins(1),
            first_wait: Duration::from_secs(10),
            wait_after_failure: Duration::from_secs(2),
            failure_pause: Duration::from_secs(5),
            failure_pause_max: Duration::from_mins(5),
            stop_grace: Duration::from_secs(2),
            pages: 50,
            tools_per_server: 500,
            description_bytes: 4 * 1024,
            schema_bytes: 64 * 1024,
            result_bytes: 1024 * 1024,
            file_bytes: 8 * 1024 * 1024,
            files_per_result: 16,
            message_bytes: 16 * 1024 * 1024,
            unasked_messages: 10_000,
            stderr_bytes: 4 * 1024,
            calls: 64,
            connections: 64,
            pending_grants: 1_000,
            pending_grant: Duration::from_mins(10),
        }
    }
}
