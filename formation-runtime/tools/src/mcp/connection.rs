//! One connection: made once, shared by its callers, closed when nobody used it for a while.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use muxi_service::{TaskGroup, TaskKind};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, PingRequest,
};
use rmcp::service::{Peer, RunningService, serve_client_with_ct};
use rmcp::transport::{AuthClient, StreamableHttpClientTransport};
use rmcp::{RoleClient, ServiceError};
use serde_json::{Map, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{Limits, ServerConfig, Transport};
use super::error::{McpError, Said};
use super::handle::Handle;
use super::http::Http;
use super::process::Process;
use super::quiet::Quiet;
use super::report::Report;
use super::settings::Settings;
use super::stdio::Stdio;

/// How long a server that let a call time out has to say that it is there.
const PING_WAIT: Duration = Duration::from_secs(5);

/// What all connections are made with.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) limits: Arc<Limits>,
    pub(super) tasks: TaskGroup,
    pub(super) stop: CancellationToken,
    pub(super) http: Http,
}

#[derive(Debug)]
pub(super) struct Connection {
    server: String,
    peer: Peer<RoleClient>,
    usage: watch::Sender<Usage>,
    report: Arc<Report>,
    doubted: Notify,
    close: CancellationToken,
    /// It is closed as soon as nobody uses it.
    is_for_one_call: bool,
}

#[derive(Debug)]
struct Usage {
    in_flight: usize,
    is_closing: bool,
    last: Instant,
}

/// Keeps its connection open until it is dropped.
#[derive(Debug)]
pub(super) struct Lease(Arc<Connection>);

/// Why a call failed, and whether the server may have run it all the same.
#[derive(Debug)]
pub(super) struct CallFault {
    pub(super) error: McpError,
    pub(super) may_have_run: bool,
    /// The connection is of no more use.
    pub(super) is_lost: bool,
}

impl Maker {
    /// Starts or reaches the server and shakes hands with it.
    pub(super) async fn connect(
        &self,
        config: &ServerConfig,
        settings: &Settings,
        stale: Arc<AtomicBool>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Lease, McpError> {
        let handle = Handle::new(stale);
        let token = self.stop.child_token();
        let (service, report) = match &config.transport {
            Transport::Command { .. } => {
                let (process, pipes, report) =
                    Process::start(config, settings, &self.limits, &self.tasks)?;
                let wire = Stdio::new(process, pipes, Arc::clone(&report), &self.limits);
                let serving = serve_client_with_ct(handle, wire, token);
                (self.in_time(config, &report, serving).await?, report)
            }
            Transport::Http { url, .. } => {
                let wire_config = super::http::wire_config(config, url, settings, &self.limits)?;
                let client = self.http.client(config, url)?;
                let report = Arc::new(Report::default());
                let manager = self.http.authorized(config, url, settings).await?;
                let service = if let Some(manager) = manager {
                    let client = AuthClient::new(client, manager);
                    let wire = StreamableHttpClientTransport::with_client(client, wire_config);
                    let wire = Quiet::new(wire, Arc::clone(&report), &self.limits);
                    let serving = serve_client_with_ct(handle, wire, token);
                    self.in_time(config, &report, serving).await?
                } else {
                    let wire = StreamableHttpClientTransport::with_client(client, wire_config);
                    let wire = Quiet::new(wire, Arc::clone(&report), &self.limits);
                    let serving = serve_client_with_ct(handle, wire, token);
                    self.in_time(config, &report, serving).await?
                };
                (service, report)
            }
        };
        Ok(self.keep(config, service, report, permit))
    }

    async fn in_time(
        &self,
        config: &ServerConfig,
        report: &Report,
        serving: impl Future<
            Output = Result<
                RunningService<RoleClient, Handle>,
                rmcp::service::ClientInitializeError,
            >,
        >,
    ) -> Result<RunningService<RoleClient, Handle>, McpError> {
        // Boxed: the SDK's handshake is a large future.
        match tokio::time::timeout(self.limits.start, Box::pin(serving)).await {
            Ok(served) => {
                served.map_err(|error| super::error::of_handshake(&config.id, &error, report))
            }
            Err(_elapsed) => Err(McpError::Slow {
                server: config.id.clone(),
                act: "the handshake",
                limit: self.limits.start,
                noticed: report.noticed_text(),
                said: report.said(),
            }),
        }
    }

    fn keep(
        &self,
        config: &ServerConfig,
        service: RunningService<RoleClient, Handle>,
        report: Arc<Report>,
        permit: OwnedSemaphorePermit,
    ) -> Lease {
        let usage = Usage { in_flight: 1, is_closing: false, last: Instant::now() };
        let connection = Arc::new(Connection {
            server: config.id.clone(),
            peer: service.peer().clone(),
            usage: watch::Sender::new(usage),
            report,
            doubted: Notify::new(),
            close: CancellationToken::new(),
            is_for_one_call: config.connection_ttl.is_zero(),
        });
        let (kept, ttl, stop) = (Arc::clone(&connection), config.connection_ttl, self.stop.clone());
        let name = format!("connection of MCP server {}", config.id);
        self.tasks.spawn(TaskKind::Connection, name, async move {
            kept.keep(service, ttl, stop).await;
            drop(permit);
        });
        Lease(connection)
    }
}

// === impl Connection ===

impl Connection {
    /// `None` when it is closed or about to be.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let is_gone = self.peer.is_transport_closed() || self.report.ended.is_cancelled();
        let taken = !is_gone
            && self.usage.send_if_modified(|usage| {
                usage.in_flight += usize::from(!usage.is_closing);
                !usage.is_closing
            });
        taken.then(|| Lease(Arc::clone(self)))
    }

    /// Since when nobody uses it; `None` while somebody does or when it is closing.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let usage = self.usage.borrow();
        (usage.in_flight == 0 && !usage.is_closing).then_some(usage.last)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.usage.borrow().is_closing && !self.peer.is_transport_closed()
    }

    /// Nobody gets it any more. Callers that hold it keep it until it ends.
    pub(super) fn close(&self) {
        self.usage.send_modify(|usage| usage.is_closing = true);
        self.close.cancel();
    }

    async fn keep(
        &self,
        service: RunningService<RoleClient, Handle>,
        ttl: Duration,
        stop: CancellationToken,
    ) {
        let token = service.cancellation_token();
        let mut ended = std::pin::pin!(service.waiting());
        let mut usage = self.usage.subscribe();
        let has_ended = loop {
            let idle_until = {
                let usage = usage.borrow_and_update();
                (usage.in_flight == 0).then(|| usage.last + ttl)
            };
            tokio::select! {
                biased;
                // What has ended need not be closed. Cancel-safe: a joined task.
                _ = &mut ended => break true,
                // All cancel-safe from here on: they only wait.
                () = stop.cancelled() => break false,
                () = self.close.cancelled() => break false,
                () = self.doubted.notified() => {
                    if !self.answers_ping().await {
                        break false;
                    }
                }
                changed = usage.changed() => debug_assert!(changed.is_ok(), "its sender is self"),
                () = tokio::time::sleep_until(idle_until.unwrap_or_else(Instant::now)),
                    if idle_until.is_some() =>
                {
                    if self.retire() {
                        break false;
                    }
                }
            }
        };
        self.usage.send_modify(|usage| usage.is_closing = true);
        if !has_ended {
            token.cancel();
            let _quit = ended.await;
        }
        tracing::debug!(server = self.server, "connection closed");
    }

    /// Closes it unless somebody took it in this moment.
    fn retire(&self) -> bool {
        self.usage.send_if_modified(|usage| {
            usage.is_closing |= usage.in_flight == 0;
            usage.is_closing
        })
    }

    async fn answers_ping(&self) -> bool {
        let ping = ClientRequest::PingRequest(PingRequest::default());
        let answered = tokio::time::timeout(PING_WAIT, self.peer.send_request(ping)).await;
        // A refusal is an answer, too.
        matches!(answered, Ok(Ok(_) | Err(ServiceError::McpError(_))))
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        &self.0.peer
    }

    /// Waits for an answer within `limit`. Dropping it tells the server that nobody waits any more.
    pub(super) async fn within<T>(
        &self,
        act: &'static str,
        limit: Duration,
        asking: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, CallFault> {
        let connection = &*self.0;
        tokio::select! {
            biased;
            // An answer that came just before the end counts. Cancel-safe: dropping it cancels the call.
            answered = asking => answered.map_err(|error| self.fault(act, &error)),
            () = connection.report.ended.cancelled() => Err(self.fault(act, &ServiceError::TransportClosed)),
            () = tokio::time::sleep(limit) => {
                connection.doubted.notify_one();
                let error = McpError::Slow {
                    server: connection.server.clone(),
                    act,
                    limit,
                    noticed: connection.report.noticed_text(),
                    said: connection.report.said(),
                };
                Err(CallFault { error, may_have_run: true, is_lost: false })
            }
        }
    }

    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        limit: Duration,
    ) -> Result<CallToolResult, CallFault> {
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let asking = Box::pin(self.0.peer.call_tool_once(request));
        let answered = self.within("the call", limit, asking).await?;
        if let CallToolResponse::Complete(result) = answered {
            return Ok(result);
        }
        let fault = if matches!(answered, CallToolResponse::InputRequired(_)) {
            "asks for input in the middle of a call, which this client does not offer"
        } else {
            "turns the call into a task, which this client does not offer"
        };
        let (server, fault) = (self.0.server.clone(), fault.to_owned());
        let error = McpError::Protocol { server, fault, said: Said::default() };
        Err(CallFault { error, may_have_run: true, is_lost: false })
    }

    fn fault(&self, act: &'static str, error: &ServiceError) -> CallFault {
        super::error::of_service(&self.0.server, act, error, &self.0.report)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.usage.send_modify(|usage| {
            usage.in_flight -= 1;
            usage.last = Instant::now();
            usage.is_closing |= self.0.is_for_one_call && usage.in_flight == 0;
        });
    }
}
