//! Management keys: who may ask the manager for what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a key may do; each role may do all that the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Every GET that is not for administrators.
    Read,
    /// Formations, their operations and dev runs.
    Deploy,
    /// All: keys, the audit log, the manager itself.
    Admin,
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; take read, deploy or admin")]
pub struct InvalidRole(String);

/// Where a key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// In config.yaml; only an edit of that file changes it.
    Config,
    /// In the manager's store.
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    Active,
    Expired,
    Revoked,
    /// The master key that sealed its secret is lost; rotate it, or make a new one.
    Unreadable,
}

/// One key, never with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    pub id: String,
    pub label: String,
    pub role: Role,
    pub source: KeySource,
    pub status: KeyStatus,
    /// Null for keys of the configuration.
    pub created_at: Option<String>,
    /// Exact to about a minute.
    pub last_used_at: Option<String>,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
    /// Until when the secret before the last rotation is valid, too.
    pub old_secret_valid_until: Option<String>,
}

/// `data` of `GET /rpc/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    pub total: usize,
    pub keys: Vec<KeyView>,
}

/// Body of `POST /rpc/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    #[serde(default)]
    pub label: String,
    #[serde(default = "Role::of_new_keys")]
    pub role: Role,
    /// A span from now such as `30d` or `12h`, or an RFC 3339 time; absent means never.
    #[serde(default)]
    pub expires: Option<String>,
}

/// Body of `POST /rpc/keys/{id}/rotate`; may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old secret stays valid, such as `1h`; absent means not at all.
    #[serde(default)]
    pub grace: Option<String>,
}

/// `data` of the answer that makes a secret: the only time it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyWithSecret {
    pub key: KeyView,
    pub secret: String,
}

// === impl Role ===

impl Role {
    /// The least that lets a pipeline do its work.
    pub const fn of_new_keys() -> Self {
        Self::Deploy
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Read, Self::Deploy, Self::Admin];
        let found = all.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| InvalidRole(text.to_owned()))
    }
}

// === impl KeyStatus ===

impl KeyStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unreadable => "unreadable",
        }
    }
}

// === impl KeySource ===

impl KeySource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Store => "store",
        }
    }
}

// === impl KeyWithSecret ===

impl fmt::Debug for KeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithSecret").field("key", &self.key).finish_non_exhaustive()
    }
}
