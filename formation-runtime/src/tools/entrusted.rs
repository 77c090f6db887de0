//! What users have entrusted to the formation, and what servers gave it: opened for a call and sealed again.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::UserId;
use muxi_formation::interpolate;
use muxi_memory::{SealedToken, Store};
use muxi_service::Clock;
use muxi_tools::Outcome;
use muxi_tools::mcp::{MissingCredential, TokenStore, TokenStoreError, UserCredentials};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::entrusting::Entrusting;
use crate::redact::Redactor;
use crate::safe::{Safe, SafeError};

/// Credentials of users, and tokens of servers that ask for an authorization.
#[derive(Debug, Clone)]
pub struct Entrusted(Arc<Means>);

#[derive(Debug)]
struct Means {
    store: Store,
    safe: Safe,
    clock: Clock,
    redactor: Redactor,
    entrusting: Entrusting,
}

/// Under which of these a credential holds the text that services want.
const TOKEN_FIELDS: [&str; 5] = ["token", "api_key", "access_token", "key", "password"];

// === impl Entrusted ===

impl Entrusted {
    pub fn new(
        store: Store,
        safe: Safe,
        clock: Clock,
        redactor: Redactor,
        entrusting: Entrusting,
    ) -> Self {
        Self(Arc::new(Means { store, safe, clock, redactor, entrusting }))
    }

    /// The user's newest credential for the service.
    async fn credential(&self, user: &UserId, service: &str) -> Option<SecretString> {
        let Means { store, safe, redactor, .. } = &*self.0;
        let credentials = store.for_user(user).credentials().await;
        let credentials = credentials.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "credentials cannot be read");
        });
        let of_service = credentials.ok()?.into_iter();
        let newest = of_service
            .filter(|it| it.service.eq_ignore_ascii_case(service))
            .max_by_key(|it| it.updated_ms)?;
        let context = format!("{} {user}", newest.id);
        let opened =
            safe.key().and_then(|key| key.open(&context, &newest.sealed, &newest.sealed_by));
        let plain = opened
            .map_err(|error| tracing::error!(error = ?error, "a credential cannot be opened"))
            .ok()?;
        let fields: Map<String, Value> = serde_json::from_slice(&plain).ok()?;
        let named = TOKEN_FIELDS.iter().find_map(|name| fields.get(*name)?.as_str());
        let only = || fields.values().next().filter(|_| fields.len() == 1)?.as_str();
        let secret = SecretString::from(named.or_else(only)?);
        redactor.learn([&secret]);
        Some(secret)
    }
}

impl UserCredentials for Entrusted {
    fn fill<'a>(
        &'a self,
        user: &'a UserId,
        template: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, MissingCredential>> {
        async move {
            let mut found = Vec::new();
            for service in interpolate::user_credentials(template) {
                let secret = self.credential(user, &service).await;
                found.push((service, secret));
            }
            let look_up = |service: &str| {
                let (_, secret) = found.iter().find(|(name, _)| name == service)?;
                secret.clone()
            };
            interpolate::fill_user_credentials(template, &look_up)
                .map_err(|missing| MissingCredential { service: missing.service })
        }
        .boxed()
    }

    fn wanted(&self, service: &str) -> Outcome {
        self.0.entrusting.wanted(service)
    }
}

impl TokenStore for Entrusted {
    fn load<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
    ) -> BoxFuture<'a, Result<Option<SecretString>, TokenStoreError>> {
        async move {
            let Means { store, safe, .. } = &*self.0;
            let found = match user {
                Some(user) => store.for_user(user).tool_token(server).await,
                None => store.formation_token(server).await,
            };
            let Some(token) = found.map_err(|error| failed("read", &error))? else {
                return Ok(None);
            };
            let opened = safe
                .key()
                .and_then(|key| key.open(&context(server, user), &token.sealed, &token.sealed_by))
                .map_err(|error| failed("read", &error))?;
            let text = std::str::from_utf8(&opened).map_err(|error| failed("read", &error))?;
            Ok(Some(SecretString::from(text)))
        }
        .boxed()
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        user: Option<&'a UserId>,
        tokens: Option<SecretString>,
    ) -> BoxFuture<'a, Result<(), TokenStoreError>> {
        async move {
            let store = &self.0.store;
            let kept = match (user, tokens) {
                (Some(user), None) => {
                    store.for_user(user).delete_tool_token(server).await.map(drop)
                }
                (None, None) => store.delete_formation_token(server).await.map(drop),
                (user, Some(tokens)) => {
                    let sealed =
                        self.sealed(server, user, &tokens).map_err(|it| failed("kept", &it))?;
                    match user {
                        Some(user) => store.for_user(user).keep_tool_token(server, sealed).await,
                        None => store.keep_formation_token(server, sealed).await,
                    }
                }
            };
            kept.map_err(|error| failed("kept", &error))
        }
        .boxed()
    }
}

impl Entrusted {
    fn sealed(
        &self,
        server: &str,
        user: Option<&UserId>,
        tokens: &SecretString,
    ) -> Result<SealedToken, SafeError> {
        let key = self.0.safe.key_or_new()?;
        let plain = Zeroizing::new(tokens.expose_secret().as_bytes().to_vec());
        Ok(SealedToken {
            sealed: key.seal(&context(server, user), &plain)?,
            sealed_by: key.fingerprint().to_owned(),
            updated_ms: self.0.clock.now_ms(),
        })
    }
}

// === private helpers ===

/// A row that was copied to another user or server does not open.
fn context(server: &str, user: Option<&UserId>) -> String {
    user.map_or_else(|| format!("formation {server}"), |user| format!("user {user} {server}"))
}

fn failed(act: &'static str, error: &dyn std::error::Error) -> TokenStoreError {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let reason = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    TokenStoreError { act, reason }
}
