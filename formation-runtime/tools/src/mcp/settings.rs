//! A server's settings with everything of its user filled in: what a connection is made from.

use std::collections::BTreeMap;

use muxi_contract::UserId;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::config::{Auth, Parameter, Secret, ServerConfig, Transport, UserCredentials};
use super::error::McpError;

/// Filled in for one user.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Variables of a child.
    pub(super) env: BTreeMap<String, SecretString>,
    /// Headers of each request.
    pub(super) headers: BTreeMap<String, SecretString>,
    /// Whose tokens are used, when the server is asked with OAuth.
    pub(super) grant: Option<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grant {
    /// The formation acts for itself.
    OfFormation,
    OfUser(UserId),
}

/// Connections with equal keys can serve each other's callers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) server: String,
    credential: [u8; 32],
}

impl Settings {
    /// `user` is absent at start, when nobody has asked yet.
    pub(super) async fn resolve(
        config: &ServerConfig,
        user: Option<&UserId>,
        credentials: &dyn UserCredentials,
    ) -> Result<Self, McpError> {
        let filler = Filler { server: &config.id, user, credentials };
        let mut settings = Self { env: BTreeMap::new(), headers: BTreeMap::new(), grant: None };
        match &config.transport {
            Transport::Command { env, .. } => settings.env = filler.fill_all(env).await?,
            Transport::Http { headers, .. } => settings.headers = filler.fill_all(headers).await?,
        }
        match &config.auth {
            Auth::None => {}
            Auth::Env(env) => settings.env.extend(filler.fill_all(env).await?),
            Auth::Bearer(token) => {
                let token = filler.fill(token).await?;
                settings.authorize(format!("Bearer {}", token.expose_secret()));
            }
            Auth::Basic { username, password } => {
                use base64::Engine as _;
                let (username, password) =
                    (filler.fill(username).await?, filler.fill(password).await?);
                let pair = format!("{}:{}", username.expose_secret(), password.expose_secret());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                settings.authorize(format!("Basic {pair}"));
            }
            Auth::ApiKey { header, key } => {
                settings.headers.insert(header.clone(), filler.fill(key).await?);
            }
            Auth::OAuth(client) => {
                settings.grant = Some(match (&client.client_secret, user) {
                    (Some(_), _) => Grant::OfFormation,
                    (None, Some(user)) => Grant::OfUser(user.clone()),
                    (None, None) => {
                        return Err(McpError::NeedsAuthorization { server: config.id.clone() });
                    }
                });
            }
        }
        Ok(settings)
    }

    pub(super) fn key(&self, server: &str) -> Key {
        let mut hash = Sha256::new();
        // Lengths keep neighbours apart: `ab` + `c` is not `a` + `bc`.
        let mut add = |text: &str| {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        };
        for (name, value) in self.env.iter().chain(&self.headers) {
            add(name);
            add(value.expose_secret());
        }
        if let Some(Grant::OfUser(user)) = &self.grant {
            add(user.as_str());
        }
        Key { server: server.to_owned(), credential: hash.finalize().into() }
    }

    fn authorize(&mut self, value: String) {
        self.headers.insert("authorization".to_owned(), SecretString::from(value));
    }
}

/// The arguments' defaults for one user.
pub(super) async fn parameters(
    config: &ServerConfig,
    user: Option<&UserId>,
    credentials: &dyn UserCredentials,
) -> Result<BTreeMap<String, Value>, McpError> {
    let filler = Filler { server: &config.id, user, credentials };
    let mut values = BTreeMap::new();
    for (name, parameter) in &config.parameters {
        let value = match parameter {
            Parameter::Fixed(value) => value.clone(),
            Parameter::OfUser(template) => {
                Value::from(filler.of_user(template).await?.expose_secret())
            }
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

struct Filler<'a> {
    server: &'a str,
    user: Option<&'a UserId>,
    credentials: &'a dyn UserCredentials,
}

impl Filler<'_> {
    async fn fill_all(
        &self,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<BTreeMap<String, SecretString>, McpError> {
        let mut filled = BTreeMap::new();
        for (name, secret) in secrets {
            filled.insert(name.clone(), self.fill(secret).await?);
        }
        Ok(filled)
    }

    async fn fill(&self, secret: &Secret) -> Result<SecretString, McpError> {
        match secret {
            Secret::Shared(text) => Ok(text.clone()),
            Secret::OfUser(template) => self.of_user(template).await,
        }
    }

    async fn of_user(&self, template: &str) -> Result<SecretString, McpError> {
        let server = || self.server.to_owned();
        let Some(user) = self.user else {
            return Err(McpError::NeedsCredential { server: server(), service: server() });
        };
        let filled = self.credentials.fill(user, template).await;
        filled.map_err(|missing| McpError::NeedsCredential {
            server: server(),
            service: missing.service,
        })
    }
}

#[cfg(test)]
mod tests;
