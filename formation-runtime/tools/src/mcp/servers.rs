//! All servers of a formation: who may use which connection, and what becomes of a call.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use muxi_contract::UserId;
use muxi_service::{TaskGroup, TaskKind};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::arguments::{knows_any, with_defaults};
use super::catalogue::{Answer, Look, Waiting};
use super::config::{Auth, Limits, ServerConfig, Transport, UserCredentials};
use super::connection::{CallFault, Connection, Lease, Maker};
use super::discovery::discover;
use super::error::{McpError, Said};
use super::http::Http;
use super::oauth::{Grants, TokenStore};
use super::outcome::outcome;
use super::pool::Pool;
use super::settings::{self, Grant, Key, Settings};
use super::tool::{RemoteTool, is_unknown_tool};
use crate::{Call, Outcome, Tool};

const RETRY_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a caller looks whether a connection became free.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// Catalogues of users whose connections are long closed are forgotten beyond this many.
const POOLS_PER_CONNECTION: usize = 8;

/// A handle; clones share connections and catalogues. When the last one is dropped, or the token given
/// at the start is cancelled, all connections end.
#[derive(Debug, Clone)]
pub struct Servers {
    inner: Arc<Inner>,
}

/// What is known of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    pub id: String,
    pub description: Option<String>,
    /// `command` or `http`.
    pub transport: &'static str,
    pub connections: usize,
    /// As many as were found last; `None` before.
    pub tools: Option<usize>,
    /// Why it could not be asked last; `None` after a success.
    pub fault: Option<String>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// For the tools, which hold the servers weakly.
    this: Weak<Self>,
    servers: BTreeMap<String, Server>,
    credentials: Arc<dyn UserCredentials>,
    maker: Maker,
    grants: Arc<Grants>,
    pools: Mutex<HashMap<Key, Arc<Pool>>>,
    connections: Arc<Semaphore>,
    calls: Semaphore,
    /// Ends with this value, or when the formation stops.
    stop: CancellationToken,
}

#[derive(Debug)]
struct Server {
    config: Arc<ServerConfig>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    tools: Option<usize>,
    fault: Option<String>,
}

// === impl Servers ===

impl Servers {
    pub fn new(
        configs: impl IntoIterator<Item = ServerConfig>,
        limits: Limits,
        credentials: Arc<dyn UserCredentials>,
        tokens: Arc<dyn TokenStore>,
        tasks: TaskGroup,
        stop: &CancellationToken,
    ) -> Self {
        let server = |config: ServerConfig| {
            let server = Server { config: Arc::new(config), last: Mutex::default() };
            (server.config.id.clone(), server)
        };
        let limits = Arc::new(limits);
        let grants = Arc::new(Grants::new(tokens, Arc::clone(&limits)));
        let stop = stop.child_token();
        let inner = Arc::new_cyclic(|this| Inner {
            this: this.clone(),
            servers: configs.into_iter().map(server).collect(),
            credentials,
            maker: Maker {
                limits: Arc::clone(&limits),
                tasks,
                stop: stop.clone(),
                http: Http::new(Arc::clone(&grants)),
            },
            grants,
            pools: Mutex::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            calls: Semaphore::new(limits.calls),
            stop,
        });
        Self { inner }
    }

    /// What becomes of a call by a user who has given no credential for the service.
    pub fn wanted(&self, service: &str) -> Outcome {
        self.inner.wanted(service)
    }

    /// What the bundle says of the server.
    pub fn description(&self, server: &str) -> &str {
        let server = self.inner.servers.get(server);
        server.and_then(|it| it.config.description.as_deref()).unwrap_or_default()
    }

    /// The tools that a server offers to `user`, asked for once and again when they changed. Without a
    /// user only servers can be asked that know the formation itself.
    pub async fn tools(
        &self,
        server: &str,
        user: Option<&UserId>,
    ) -> Result<Vec<Arc<dyn Tool>>, McpError> {
        let waiting = self.inner.tools(server, user).await?;
        handed_out(server, waiting.answer().await)
    }

    /// The same for a turn, whose user waits: a server that is slow is asked without it.
    pub async fn tools_soon(
        &self,
        server: &str,
        user: &UserId,
    ) -> Result<Vec<Arc<dyn Tool>>, McpError> {
        let waiting = self.inner.tools(server, Some(user)).await?;
        handed_out(server, waiting.soon(server, &self.inner.maker.limits).await)
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.inner.servers.keys().map(String::as_str)
    }

    pub fn status(&self) -> Vec<ServerStatus> {
        let connections = self.inner.open_connections();
        let status = |server: &Server| {
            let config = &server.config;
            let last = server.last();
            ServerStatus {
                id: config.id.clone(),
                description: config.description.clone(),
                transport: match config.transport {
                    Transport::Command { .. } => "command",
                    Transport::Http { .. } => "http",
                },
                connections: connections.get(&config.id).copied().unwrap_or_default(),
                tools: last.tools,
                fault: last.fault.clone(),
            }
        };
        self.inner.servers.values().map(status).collect()
    }

    /// Where to send a user who shall let the formation use a server. The answer comes to
    /// `redirect_uri` with a `state` and a `code` for [`Servers::finish_authorization`].
    pub async fn begin_authorization(
        &self,
        server: &str,
        user: &UserId,
        redirect_uri: &str,
    ) -> Result<String, McpError> {
        let config = &self.inner.server(server)?.config;
        match (&config.transport, &config.auth) {
            (Transport::Http { url, .. }, Auth::OAuth(client)) => {
                self.inner.grants.begin(&config.id, url, client, user, redirect_uri).await
            }
            _ => Err(McpError::Authorization {
                server: config.id.clone(),
                fault: "its `auth` is not `oauth`".to_owned(),
            }),
        }
    }

    /// Exchanges the code for tokens and keeps them, if `user` is the one who had begun. Answers the server.
    /// `issuer` is the answer's `iss`, if it has one.
    pub async fn finish_authorization(
        &self,
        state: &str,
        code: &str,
        issuer: Option<&str>,
        user: &UserId,
    ) -> Result<String, McpError> {
        self.inner.grants.finish(state, code, issuer, user).await
    }
}

// === impl Inner ===

impl Inner {
    fn server(&self, id: &str) -> Result<&Server, McpError> {
        self.servers.get(id).ok_or_else(|| McpError::UnknownServer { server: id.to_owned() })
    }

    pub(super) fn wanted(&self, service: &str) -> Outcome {
        self.credentials.wanted(service)
    }

    /// Answers at once with what is known, or waits for whoever asks; if nobody does, a task begins to.
    async fn tools(&self, id: &str, user: Option<&UserId>) -> Result<Waiting, McpError> {
        let server = self.server(id)?;
        let resolving = Settings::resolve(&server.config, user, self.credentials.as_ref());
        let settings = resolving.await.inspect_err(|error| server.failed(error))?;
        let pool = self.pool(settings.key(id));
        let look = pool.catalogue().look(&pool.stale, Instant::now());
        match look {
            Look::Known(answer) => Ok(Waiting::none(answer)),
            Look::Wait(waiting) => Ok(waiting),
            Look::Ask(sender, waiting) => {
                if let Some(this) = self.this.upgrade() {
                    let (name, id) = (format!("tools of MCP server {id}"), id.to_owned());
                    self.maker.tasks.spawn(TaskKind::Connection, name, async move {
                        let answer = this.ask(&id, &settings, &pool).await;
                        pool.catalogue().keep(&answer, Instant::now(), &this.maker.limits);
                        // Nobody may wait any more.
                        sender.send_replace(Some(answer));
                    });
                }
                Ok(waiting)
            }
        }
    }

    async fn ask(&self, id: &str, settings: &Settings, pool: &Pool) -> Answer {
        let server = self.server(id)?;
        let config = &server.config;
        let asking = async {
            let lease = self.lease(config, settings, pool).await?;
            discover(&lease, config, &self.maker.limits).await
        };
        let asked = tokio::select! {
            biased;
            // Cancel-safe: what it had begun ends with it.
            () = self.stop.cancelled() => Err(McpError::Stopping { server: config.id.clone() }),
            found = Box::pin(asking) => found,
        };
        let tool = |found| Arc::new(RemoteTool::new(&config.id, found, self.this.clone()));
        match asked.map_err(|error| plain_unauthorized(config, error)) {
            Ok(found) => {
                let tools: Arc<Vec<_>> = Arc::new(found.into_iter().map(tool).collect());
                *server.last() = Last { tools: Some(tools.len()), fault: None };
                Ok(tools)
            }
            Err(error) => {
                server.failed(&error);
                Err(error)
            }
        }
    }

    /// Calls within the caller's time; `sent` is what the server got as arguments.
    pub(super) async fn call(
        &self,
        tool: &RemoteTool,
        call: &Call,
        sent: &OnceLock<Map<String, Value>>,
    ) -> Result<Outcome, McpError> {
        let server = self.server(&tool.server)?;
        let id = || tool.server.clone();
        let answered = tokio::select! {
            biased;
            // Both before the call, so that a stop is not kept waiting. Cancel-safe.
            () = call.cancelled.cancelled() => Err(McpError::Cancelled { server: id() }),
            () = self.stop.cancelled() => Err(McpError::Stopping { server: id() }),
            // Dropping it cancels the call at the server.
            answered = Box::pin(self.call_in_time(server, tool, call, sent)) => answered,
            () = tokio::time::sleep(call.time_left) => Err(McpError::Slow {
                server: id(),
                act: "within the time that was left for all calls",
                limit: call.time_left,
                noticed: String::new(),
                said: Said::default(),
            }),
        };
        let answered = answered.map_err(|error| plain_unauthorized(&server.config, error));
        if let Err(error) = &answered {
            tracing::warn!(server = tool.server, tool = tool.name, %error, "a call failed");
        }
        answered
    }

    async fn call_in_time(
        &self,
        server: &Server,
        tool: &RemoteTool,
        call: &Call,
        sent: &OnceLock<Map<String, Value>>,
    ) -> Result<Outcome, McpError> {
        let config = &server.config;
        let _place = self
            .calls
            .acquire()
            .await
            .map_err(|_closed| McpError::Stopping { server: config.id.clone() })?;
        let credentials = self.credentials.as_ref();
        let settings = Settings::resolve(config, Some(&call.user), credentials).await?;
        // A user's credential is asked for only where the tool has a place for it.
        let arguments = if knows_any(tool.schema(), config.parameters.keys()) {
            let defaults = settings::parameters(config, Some(&call.user), credentials).await?;
            with_defaults(call.arguments.clone(), tool.schema(), &defaults)
        } else {
            call.arguments.clone()
        };
        let arguments = sent.get_or_init(|| arguments);
        let pool = self.pool(settings.key(&config.id));
        let mut is_second = false;
        loop {
            let lease = self.lease(config, &settings, &pool).await?;
            let asked = lease.call(&tool.name, arguments.clone(), config.timeout).await;
            let fault = match asked {
                Ok(result) => {
                    return Ok(outcome(&tool.server, &tool.name, result, &self.maker.limits));
                }
                Err(fault) => fault,
            };
            if let McpError::Refused { message, .. } = &fault.error
                && is_unknown_tool(message)
            {
                pool.stale.store(true, Ordering::Release);
            }
            if is_second || !self.can_repeat(config, &settings, tool, &fault).await {
                return Err(fault.error);
            }
            lease.connection().close();
            is_second = true;
        }
    }

    /// Whether the same call may be sent once more, over a new connection.
    async fn can_repeat(
        &self,
        config: &ServerConfig,
        settings: &Settings,
        tool: &RemoteTool,
        fault: &CallFault,
    ) -> bool {
        let is_refused = matches!(fault.error, McpError::NeedsAuthorization { .. });
        if is_refused && settings.grant == Some(Grant::OfFormation) {
            // The token was revoked before its time; another one can be had without a user.
            return self.grants.forget(&config.id, &Grant::OfFormation).await.is_ok();
        }
        fault.is_lost && (!fault.may_have_run || tool.is_repeatable())
    }

    /// The open connection of these callers, or a new one.
    async fn lease(
        &self,
        config: &ServerConfig,
        settings: &Settings,
        pool: &Pool,
    ) -> Result<Lease, McpError> {
        let came = Instant::now();
        // Held while connecting, so that callers who come together share what becomes of it.
        let mut slot = pool.connection.lock().await;
        if let Some(found) = slot.found(came) {
            return found;
        }
        let made = self.connect(config, settings, pool).await;
        slot.keep(&made);
        made
    }

    async fn connect(
        &self,
        config: &ServerConfig,
        settings: &Settings,
        pool: &Pool,
    ) -> Result<Lease, McpError> {
        let mut pause = RETRY_PAUSE;
        let mut tries_left = config.retry_attempts;
        loop {
            let permit = self.room(config).await?;
            let stale = Arc::clone(&pool.stale);
            let error = match self.maker.connect(config, settings, stale, permit).await {
                Ok(lease) => return Ok(lease),
                Err(error) => error,
            };
            let may_pass = matches!(error, McpError::Ended { .. } | McpError::Unreachable { .. });
            if tries_left == 0 || !may_pass {
                return Err(error);
            }
            tracing::info!(server = config.id, tries_left, %error, "trying to connect again");
            tries_left -= 1;
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Room for one more connection; when there is none, the one that was idle longest goes.
    async fn room(
        &self,
        config: &ServerConfig,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, McpError> {
        let until = Instant::now() + config.timeout;
        loop {
            if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
                return Ok(permit);
            }
            if let Some(idle) = self.longest_idle() {
                idle.close();
            }
            if Instant::now() > until {
                return Err(McpError::Busy {
                    server: config.id.clone(),
                    fault: "all connections are in use",
                });
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }

    fn longest_idle(&self) -> Option<Arc<Connection>> {
        let connections = self.all_connections();
        let idle = connections.into_iter().filter_map(|(_, it)| Some((it.idle_since()?, it)));
        idle.min_by_key(|(since, _)| *since).map(|(_, connection)| connection)
    }

    fn open_connections(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (server, connection) in self.all_connections() {
            *counts.entry(server).or_default() += usize::from(connection.is_open());
        }
        counts
    }

    fn all_connections(&self) -> Vec<(String, Arc<Connection>)> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = |(key, pool): (&Key, &Arc<Pool>)| Some((key.server.clone(), pool.made()?));
        pools.iter().filter_map(connection).collect()
    }

    fn pool(&self, key: Key) -> Arc<Pool> {
        let now = Instant::now();
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = Arc::clone(pools.entry(key).or_insert_with(|| Arc::new(Pool::new(now))));
        pool.touch(now);
        let pools_max = self.maker.limits.connections.saturating_mul(POOLS_PER_CONNECTION);
        if pools.len() > pools_max {
            let unused = |it: &&Arc<Pool>| Arc::strong_count(it) == 1 && !it.is_connected();
            let oldest = pools.values().filter(unused).map(|it| it.last_used()).min();
            pools.retain(|_, it| Some(it.last_used()) != oldest || Arc::strong_count(it) > 1);
        }
        pool
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Server ===

impl Server {
    fn failed(&self, error: &McpError) {
        self.last().fault = Some(error.to_string());
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handed_out(server: &str, answer: Option<Answer>) -> Result<Vec<Arc<dyn Tool>>, McpError> {
    let stopping = || Err(McpError::Stopping { server: server.to_owned() });
    let tools = answer.unwrap_or_else(stopping)?;
    Ok(tools.iter().map(|tool| Arc::clone(tool) as Arc<dyn Tool>).collect())
}

/// Only OAuth has something that a user could grant; elsewhere the credential is wrong or missing.
fn plain_unauthorized(config: &ServerConfig, error: McpError) -> McpError {
    match (error, &config.auth) {
        (error, Auth::OAuth(_)) => error,
        (McpError::NeedsAuthorization { server }, _) => McpError::Unauthorized { server },
        (error, _) => error,
    }
}
