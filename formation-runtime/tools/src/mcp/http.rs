//! Streamable HTTP: the client, its headers and its bounds.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use rmcp::transport::AuthorizationManager;
use rmcp::transport::common::client_side_sse::FixedInterval;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use secrecy::ExposeSecret as _;

use super::config::{Auth, Limits, ServerConfig};
use super::error::{McpError, root_cause};
use super::oauth::Grants;
use super::settings::Settings;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const POOL_IDLE: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;
/// A stream that breaks off is taken up again this often.
const STREAM_RETRIES: usize = 3;
const STREAM_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The clients of all servers. Each is built at its first use: the one for https loads the machine's
/// certificate authorities.
#[derive(Debug, Clone)]
pub(super) struct Http {
    tls: Arc<OnceLock<reqwest::Client>>,
    plain: Arc<OnceLock<reqwest::Client>>,
    grants: Arc<Grants>,
}

impl Http {
    pub(super) fn new(grants: Arc<Grants>) -> Self {
        Self { tls: Arc::default(), plain: Arc::default(), grants }
    }

    pub(super) fn client(
        &self,
        config: &ServerConfig,
        url: &str,
    ) -> Result<reqwest::Client, McpError> {
        let is_tls = url.starts_with("https://");
        let cell = if is_tls { &self.tls } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(POOL_IDLE)
            .user_agent(concat!("muxi-runtime/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(redirect));
        if !is_tls {
            // Plain http is for servers nearby: neither a proxy nor a certificate store is wanted.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| McpError::Start {
            server: config.id.clone(),
            fault: format!("the HTTP client cannot be made: {}", root_cause(&error)),
        })?;
        Ok(cell.get_or_init(|| client).clone())
    }

    /// Tokens for the server, when it is asked with OAuth.
    pub(super) async fn authorized(
        &self,
        config: &ServerConfig,
        url: &str,
        settings: &Settings,
    ) -> Result<Option<AuthorizationManager>, McpError> {
        match (&config.auth, &settings.grant) {
            (Auth::OAuth(client), Some(grant)) => {
                self.grants.manager(&config.id, url, client, grant).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

pub(super) fn wire_config(
    config: &ServerConfig,
    url: &str,
    settings: &Settings,
    limits: &Limits,
) -> Result<StreamableHttpClientTransportConfig, McpError> {
    let mut retries = FixedInterval::default();
    retries.max_times = Some(STREAM_RETRIES);
    retries.duration = STREAM_RETRY_PAUSE;
    let mut wire = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(headers(config, settings)?)
        .max_concurrent_requests(limits.calls)
        .max_sse_event_size(limits.message_bytes)
        .max_json_response_size(limits.message_bytes)
        .max_error_response_size(ERROR_BODY_BYTES_MAX)
        .reinit_on_expired_session(true);
    wire.retry_config = Arc::new(retries);
    Ok(wire)
}

fn headers(
    config: &ServerConfig,
    settings: &Settings,
) -> Result<HashMap<HeaderName, HeaderValue>, McpError> {
    let mut headers = HashMap::new();
    for (name, value) in &settings.headers {
        // The value is a secret: it stays out of the message.
        let unfit = || McpError::Start {
            server: config.id.clone(),
            fault: format!("its header `{name}` has a name or a value that HTTP does not allow"),
        };
        let header = HeaderName::try_from(name).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unfit())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// Only those that keep the request's body, and only to where the credentials already went.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let is_same_origin =
        attempt.previous().first().is_some_and(|it| it.origin() == attempt.url().origin());
    if keeps_body && is_same_origin && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
