//! The agents elsewhere that a bundle names, as tools.

use std::sync::Arc;
use std::time::Duration;

use muxi_formation::RemoteAgent;
use muxi_formation::manifest::OutboundAuth;
use muxi_service::TaskGroup;
use muxi_tools::Tool;
use muxi_tools::a2a::{self, Credentials, Remote, RemoteError};

/// One that cannot be asked as it is written.
#[derive(Debug, thiserror::Error)]
pub enum RemoteAgentError {
    #[error("the remote agent `{id}` has the address `{url}`, which is none")]
    Address { id: String, url: String },
    #[error("the remote agent `{id}` cannot be asked")]
    Client {
        id: String,
        #[source]
        source: RemoteError,
    },
}

/// A tool for each of them; none of them is called before a model asks for it.
pub fn tools(
    remote: &[RemoteAgent],
    tasks: &TaskGroup,
) -> Result<Vec<Arc<dyn Tool>>, RemoteAgentError> {
    remote.iter().map(|it| tool(it, tasks)).collect()
}

// === private helpers ===

fn tool(remote: &RemoteAgent, tasks: &TaskGroup) -> Result<Arc<dyn Tool>, RemoteAgentError> {
    let (id, url) = (remote.id.clone(), remote.url.clone());
    let parsed = url.parse();
    let remote = Remote {
        id: id.clone(),
        name: remote.name.clone(),
        description: remote.description.clone(),
        url: parsed.map_err(|_| RemoteAgentError::Address { id: id.clone(), url })?,
        timeout: Duration::from_secs(u64::from(remote.timeout_seconds)),
        retries: remote.retry_attempts,
        credentials: credentials(&remote.auth),
    };
    let made = a2a::RemoteAgent::new(remote, tasks.clone());
    Ok(Arc::new(made.map_err(|source| RemoteAgentError::Client { id, source })?))
}

fn credentials(auth: &OutboundAuth) -> Credentials {
    match auth.clone() {
        OutboundAuth::None => Credentials::None,
        OutboundAuth::ApiKey(it) => Credentials::ApiKey { header: it.header, key: it.key },
        OutboundAuth::Bearer(it) => Credentials::Bearer { token: it.token },
        OutboundAuth::Basic(it) => {
            Credentials::Basic { username: it.username, password: it.password }
        }
        OutboundAuth::Custom(it) => Credentials::Headers(it.headers),
        OutboundAuth::Hmac(it) => Credentials::Hmac {
            secret: it.secret,
            signature_header: it.signature_header,
            timestamp_header: it.timestamp_header,
        },
        OutboundAuth::Oauth2(it) => Credentials::OAuth2 {
            client_id: it.client_id,
            client_secret: it.client_secret,
            token_url: it.token_url,
            scope: it.scope,
        },
    }
}
