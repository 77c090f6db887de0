//! The manager's own ports: the management port, plain or with TLS, and the plain one that sends
//! callers to it.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use jiff::Timestamp;
use muxi_service::TaskKind;
use muxi_service::accept::{self, AcceptLimits};

use crate::client_address::OverTls;
use crate::config::Config;
use crate::supervisor::Context;
use crate::tls::{self, LivePair, TlsListener};

/// Bound, but not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    management: TcpListener,
    pair: Option<Arc<LivePair>>,
    redirect: Option<TcpListener>,
}

/// A caller of the redirecting port gets one short answer.
const REDIRECT_CONNECTIONS: usize = 64;

// === impl Listeners ===

impl Listeners {
    /// Binds before any work, so that a taken port or a bad certificate is told at once.
    pub(crate) fn bind(config: &Config, now: Timestamp) -> anyhow::Result<Self> {
        let server = &config.server;
        let pair = server.tls.as_ref().map(|tls| LivePair::new(tls, now)).transpose()?;
        let address = resolve(&server.host, server.port)?;
        let management = muxi_service::listen::bind(address).with_context(|| {
            format!("failed to listen on {address}; is another manager running? try --port")
        })?;
        let port = server.tls.as_ref().and_then(|tls| tls.redirect_http_port);
        let redirect = port.map(|port| {
            let address = SocketAddr::new(address.ip(), port);
            muxi_service::listen::bind(address).with_context(|| {
                format!("failed to listen on {address}, which is server.tls.redirect_http_port")
            })
        });
        if !server.is_loopback() && pair.is_none() && server.trusted_proxies.is_empty() {
            tracing::warn!(
                host = server.host,
                "other machines reach this port without encryption; set server.tls, or put a proxy with \
                 TLS before it and name that in server.trusted_proxies"
            );
        }
        Ok(Self { management, pair: pair.map(Arc::new), redirect: redirect.transpose()? })
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.management.local_addr()
    }

    /// Where the manager can be reached from this machine.
    pub(crate) fn url(&self) -> std::io::Result<String> {
        let scheme = if self.pair.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.address()?))
    }

    pub(crate) fn pair(&self) -> Option<Arc<LivePair>> {
        self.pair.clone()
    }

    /// Accepts until the manager stops.
    pub(crate) fn serve(self, app: Router, context: &Context) -> std::io::Result<()> {
        let Self { management, pair, redirect } = self;
        let limits = AcceptLimits {
            connections: context.config.limits.connections,
            header_read: Duration::from_millis(context.config.limits.header_read_ms),
            write_stall: Duration::from_millis(context.config.limits.write_stall_ms),
        };
        let (tasks, shutdown) = (&context.tasks, &context.shutdown);
        let port = management.local_addr()?.port();
        let listener = tokio::net::TcpListener::from_std(management)?;
        let name = "management listener";
        if let Some(pair) = pair {
            let listener = TlsListener::new(listener, pair);
            let app = app.layer(axum::Extension(OverTls));
            let serving = accept::serve(listener, app, limits, tasks.clone(), shutdown.clone());
            tasks.spawn(TaskKind::Critical, name, serving);
        } else {
            let listener = listener.tap_io(|stream| {
                // A token must not wait for the next one.
                let _only_slower = stream.set_nodelay(true);
            });
            let serving = accept::serve(listener, app, limits, tasks.clone(), shutdown.clone());
            tasks.spawn(TaskKind::Critical, name, serving);
        }
        if let Some(redirect) = redirect {
            let listener = tokio::net::TcpListener::from_std(redirect)?;
            let limits = AcceptLimits { connections: REDIRECT_CONNECTIONS, ..limits };
            let app = tls::redirect(port);
            let serving = accept::serve(listener, app, limits, tasks.clone(), shutdown.clone());
            tasks.spawn(TaskKind::Critical, "redirect listener", serving);
        }
        Ok(())
    }
}

fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()
        .with_context(|| format!("server.host `{host}` is no address"))?
        .next()
        .with_context(|| format!("server.host `{host}` has no address"))
}
