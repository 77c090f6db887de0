//! OAuth for HTTP servers, as the protocol's authorization specification has it: metadata of the resource
//! and of its authorization server, PKCE, resource indicators, registration, refresh.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::UserId;
use rmcp::transport::auth::{
    AuthError, AuthorizationSession, CredentialRefreshGuard, CredentialStore, OAuthClientConfig,
    StoredCredentials,
};
use rmcp::transport::{AuthorizationManager, AuthorizationRequest, ClientCredentialsConfig};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::config::{Limits, OAuth};
use super::error::{McpError, Said, quoted};
use super::settings::Grant;

const CLIENT_NAME: &str = "MUXI formation";
const FAULT_CHARS_MAX: usize = 400;

/// Keeps tokens, sealed. The text is one that this module wrote before.
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// `user` is absent for tokens of the formation itself.
    fn load<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
    ) -> BoxFuture<'a, Result<Option<SecretString>, TokenStoreError>>;

    /// `None` forgets them.
    fn save<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
        tokens: Option<SecretString>,
    ) -> BoxFuture<'a, Result<(), TokenStoreError>>;
}

/// Why tokens could not be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("the tokens cannot be {act}: {reason}")]
pub struct TokenStoreError {
    /// `read` or `kept`.
    pub act: &'static str,
    pub reason: String,
}

/// Forgets all at the end of the process.
#[derive(Debug, Default)]
pub struct TokensInMemory {
    tokens: Mutex<HashMap<(String, Option<UserId>), SecretString>>,
}

/// Who granted what, and who is about to.
pub(super) struct Grants {
    store: Arc<dyn TokenStore>,
    limits: Arc<Limits>,
    /// By the `state` that comes back.
    pending: Mutex<HashMap<String, Pending>>,
    /// One refresh at a time for each owner: a refresh token can often be used once only.
    refreshing: Mutex<HashMap<Owner, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    server: String,
    user: Option<UserId>,
}

struct Pending {
    owner: Owner,
    session: AuthorizationSession,
    begun: Instant,
}

// === impl Grants ===

impl Grants {
    pub(super) fn new(store: Arc<dyn TokenStore>, limits: Arc<Limits>) -> Self {
        Self { store, limits, pending: Mutex::default(), refreshing: Mutex::default() }
    }

    /// What puts tokens on requests and renews them.
    pub(super) async fn manager(
        &self,
        server: &str,
        url: &str,
        client: &OAuth,
        grant: &Grant,
    ) -> Result<AuthorizationManager, McpError> {
        let owner = Owner::new(server, grant);
        let preparing = Box::pin(self.prepare(&owner, url, client, grant));
        self.in_time(server, preparing).await
    }

    async fn prepare(
        &self,
        owner: &Owner,
        url: &str,
        client: &OAuth,
        grant: &Grant,
    ) -> Result<AuthorizationManager, AuthError> {
        let mut manager = AuthorizationManager::new(url).await?;
        manager.set_credential_store(self.store_of(owner));
        let has_tokens = manager.initialize_from_store().await?;
        match (grant, &client.client_id, &client.client_secret) {
            (Grant::OfFormation, Some(id), Some(secret)) => {
                if !has_tokens {
                    let resolution = manager.resolve_metadata().await?;
                    manager.set_metadata(resolution.metadata);
                }
                let config = ClientCredentialsConfig::ClientSecret {
                    client_id: id.clone(),
                    client_secret: secret.expose_secret().to_owned(),
                    scopes: client.scopes.clone(),
                    resource: Some(url.to_owned()),
                };
                manager.validate_client_credentials_metadata(&config)?;
                manager.configure_client_credentials(&config)?;
                match manager.get_access_token().await {
                    Ok(_) if has_tokens => {}
                    Ok(_) | Err(AuthError::AuthorizationRequired) => {
                        manager.exchange_client_credentials(&config).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            (Grant::OfFormation, ..) => {
                return Err(AuthError::ClientCredentialsError(
                    "a `client_secret` needs its `client_id`".to_owned(),
                ));
            }
            (Grant::OfUser(_), _, secret) => {
                if !has_tokens {
                    return Err(AuthError::AuthorizationRequired);
                }
                if let (Some(id), Some(secret)) = (&client.client_id, secret) {
                    // A refresh has no redirect, but the client's description needs an address.
                    let config =
                        OAuthClientConfig::new(id, url).with_client_secret(secret.expose_secret());
                    manager.configure_client(config)?;
                }
                // Says now, and not in the middle of a handshake, that the user has to come back.
                manager.get_access_token().await?;
            }
        }
        Ok(manager)
    }

    pub(super) async fn begin(
        &self,
        server: &str,
        url: &str,
        client: &OAuth,
        user: &UserId,
        redirect_uri: &str,
    ) -> Result<String, McpError> {
        let owner = Owner::new(server, &Grant::OfUser(user.clone()));
        let mut request = AuthorizationRequest::new(redirect_uri)
            .with_initial_scope_selection()
            .with_scopes(&client.scopes)
            .with_client_name(CLIENT_NAME)
            .with_application_type("web");
        if let Some(id) = &client.client_id {
            request = request.with_preregistered_client(id);
        }
        if let Some(secret) = &client.client_secret {
            request = request.with_client_secret(secret.expose_secret());
        }
        let store = self.store_of(&owner);
        let beginning = async {
            let mut manager = AuthorizationManager::new(url).await?;
            manager.set_credential_store(store);
            let resolution = manager.resolve_metadata().await?;
            manager.set_metadata(resolution.metadata);
            AuthorizationSession::new(manager, request).await.map_err(|(_, error)| error)
        };
        let session = self.in_time(server, Box::pin(beginning)).await?;
        let address = session.get_authorization_url().to_owned();
        let Some(state) = state_of(&address) else {
            return Err(failed(server, "its authorization address has no `state`"));
        };
        let pending = Pending { owner, session, begun: Instant::now() };
        self.remember(state, pending).ok_or_else(|| McpError::Busy {
            server: server.to_owned(),
            fault: "too many users are about to authorize; try again in some minutes",
        })?;
        Ok(address)
    }

    pub(super) async fn finish(
        &self,
        state: &str,
        code: &str,
        issuer: Option<&str>,
        user: &UserId,
    ) -> Result<String, McpError> {
        // Taken out: a state is good for one answer, and a wrong one spoils it.
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
        let age_max = self.limits.pending_grant;
        // Whoever hands in the code of another account must not have it kept for the one who began, so
        // this comes before the exchange. Nobody learns from the refusal that a state exists.
        let is_theirs =
            |it: &Pending| it.owner.user.as_ref() == Some(user) && it.begun.elapsed() <= age_max;
        let Some(Pending { owner, session, .. }) = pending.filter(is_theirs) else {
            return Err(failed("?", "this user did not begin it, or too long ago; begin again"));
        };
        let exchanging = session.handle_callback_with_issuer(code, state, issuer);
        self.in_time(&owner.server, Box::pin(exchanging)).await?;
        Ok(owner.server)
    }

    pub(super) async fn forget(&self, server: &str, grant: &Grant) -> Result<(), TokenStoreError> {
        let owner = Owner::new(server, grant);
        self.store.save(&owner.server, owner.user.as_ref(), None).await
    }

    fn remember(&self, state: String, pending: Pending) -> Option<()> {
        let mut all = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, it| it.begun.elapsed() <= self.limits.pending_grant);
        (all.len() < self.limits.pending_grants).then(|| {
            all.insert(state, pending);
        })
    }

    fn store_of(&self, owner: &Owner) -> StoreOf {
        let mut refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        refreshing.retain(|_, it| Arc::strong_count(it) > 1);
        let refresh = Arc::clone(refreshing.entry(owner.clone()).or_default());
        StoreOf { owner: owner.clone(), store: Arc::clone(&self.store), refresh }
    }

    async fn in_time<T>(
        &self,
        server: &str,
        work: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, McpError> {
        match tokio::time::timeout(self.limits.start, work).await {
            Ok(Err(AuthError::AuthorizationRequired)) => {
                Err(McpError::NeedsAuthorization { server: server.to_owned() })
            }
            Ok(done) => done.map_err(|error| failed(server, &error.to_string())),
            Err(_elapsed) => Err(McpError::Slow {
                server: server.to_owned(),
                act: "questions of authorization",
                limit: self.limits.start,
                noticed: String::new(),
                said: Said::default(),
            }),
        }
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grants").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Owner {
    fn new(server: &str, grant: &Grant) -> Self {
        let user = match grant {
            Grant::OfFormation => None,
            Grant::OfUser(user) => Some(user.clone()),
        };
        Self { server: server.to_owned(), user }
    }
}

/// The SDK's view of one owner's tokens.
struct StoreOf {
    owner: Owner,
    store: Arc<dyn TokenStore>,
    refresh: Arc<tokio::sync::Mutex<()>>,
}

impl StoreOf {
    async fn put(&self, tokens: Option<SecretString>) -> Result<(), AuthError> {
        let saved = self.store.save(&self.owner.server, self.owner.user.as_ref(), tokens).await;
        saved.map_err(|error| AuthError::CredentialStoreError(error.to_string()))
    }
}

#[async_trait::async_trait]
impl CredentialStore for StoreOf {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let loaded = self.store.load(&self.owner.server, self.owner.user.as_ref()).await;
        let tokens = loaded.map_err(|error| AuthError::CredentialStoreError(error.to_string()))?;
        let Some(tokens) = tokens else { return Ok(None) };
        // The parser's message could quote a token.
        let unreadable = |_| AuthError::CredentialStoreError("they are unreadable".to_owned());
        serde_json::from_str(tokens.expose_secret()).map(Some).map_err(unreadable)
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let unwritable = |_| AuthError::CredentialStoreError("they are unwritable".to_owned());
        let text = serde_json::to_string(&credentials).map_err(unwritable)?;
        self.put(Some(SecretString::from(text))).await
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.put(None).await
    }

    async fn on_refresh_token_rejected(&self, _used: &StoredCredentials) -> Result<(), AuthError> {
        self.put(None).await
    }

    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        let guard = Arc::clone(&self.refresh).lock_owned().await;
        Ok(Some(CredentialRefreshGuard::new(guard)))
    }
}

// === impl TokensInMemory ===

impl TokenStore for TokensInMemory {
    fn load<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
    ) -> BoxFuture<'a, Result<Option<SecretString>, TokenStoreError>> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.get(&(server.to_owned(), user.cloned())).cloned();
        std::future::ready(Ok(found)).boxed()
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
        tokens: Option<SecretString>,
    ) -> BoxFuture<'a, Result<(), TokenStoreError>> {
        let key = (server.to_owned(), user.cloned());
        let mut all = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match tokens {
            Some(tokens) => all.insert(key, tokens),
            None => all.remove(&key),
        };
        std::future::ready(Ok(())).boxed()
    }
}

fn failed(server: &str, fault: &str) -> McpError {
    McpError::Authorization { server: server.to_owned(), fault: quoted(fault, FAULT_CHARS_MAX) }
}

fn state_of(address: &str) -> Option<String> {
    let address = reqwest::Url::parse(address).ok()?;
    address.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned())
}
