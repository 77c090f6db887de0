//! Who may manage, and how strictly signatures are looked at.

use jiff::Timestamp;
use muxi_contract::keys::Role;
use serde::{Deserialize, Serialize};

/// Keys are a list, or the older single pair, or both; more are made with `muxi-server keys add`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// False is accepted only on a loopback address.
    pub enabled: bool,
    pub keys: Vec<KeyConfig>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// How far a signature's timestamp may be off, either way, in seconds.
    pub timestamp_tolerance: u32,
    /// Refuses signatures that do not cover body and query; published clients still send those.
    pub require_v2: bool,
    /// Failed attempts of one address, and with one key, that are answered one by one.
    pub failures_per_minute: u32,
}

#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    pub id: String,
    pub secret: String,
    #[serde(default)]
    pub label: String,
    #[serde(default = "admin")]
    pub role: Role,
    /// RFC 3339; absent means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 16;

// === impl AuthConfig ===

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            keys: Vec::new(),
            key: String::new(),
            secret: String::new(),
            timestamp_tolerance: 300,
            require_v2: false,
            failures_per_minute: 30,
        }
    }
}

impl AuthConfig {
    /// The older single pair included.
    pub(super) fn all_keys(&self) -> Vec<KeyConfig> {
        let mut keys = self.keys.clone();
        if !self.key.is_empty() {
            keys.push(KeyConfig {
                id: self.key.clone(),
                secret: self.secret.clone(),
                label: "auth.key".to_owned(),
                role: Role::Admin,
                expires: None,
            });
        }
        keys
    }

    pub(super) fn masked(&self) -> Self {
        let mut masked = self.clone();
        for key in &mut masked.keys {
            key.secret = mask(&key.secret);
        }
        if !masked.secret.is_empty() {
            masked.secret = mask(&masked.secret);
        }
        masked
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let keys = self.all_keys();
        let unique = |(at, id): (usize, &str)| keys[..at].iter().all(|it| it.id != id);
        let mut faults = Vec::new();
        let mut check = |fine: bool, fault: &str| {
            if !fine {
                faults.push(fault.to_owned());
            }
        };
        check(
            keys.iter().all(|key| !key.id.is_empty() && !key.secret.is_empty()),
            "auth: every key needs an id and a secret",
        );
        check(
            keys.iter().map(|key| key.id.as_str()).enumerate().all(unique),
            "auth: two keys have the same id",
        );
        check(
            (1..=86_400).contains(&self.timestamp_tolerance),
            "auth.timestamp_tolerance must be 1 to 86400",
        );
        check(
            (1..=100_000).contains(&self.failures_per_minute),
            "auth.failures_per_minute must be 1 to 100000",
        );
        faults
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let keys = self.all_keys();
        let short = keys.iter().filter(|key| key.secret.len() < SECRET_BYTES_MIN);
        short
            .map(|key| {
                let id = &key.id;
                format!("the secret of key `{id}` is short enough to be guessed; make a longer one")
            })
            .collect()
    }
}

// === impl KeyConfig ===

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, label, role, expires, secret: _ } = self;
        f.debug_struct("KeyConfig")
            .field("id", id)
            .field("label", label)
            .field("role", role)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { enabled, keys, key, timestamp_tolerance, require_v2, .. } = self;
        f.debug_struct("AuthConfig")
            .field("enabled", enabled)
            .field("keys", keys)
            .field("key", key)
            .field("timestamp_tolerance", timestamp_tolerance)
            .field("require_v2", require_v2)
            .finish_non_exhaustive()
    }
}

/// Keys that were written before there were roles may do all.
const fn admin() -> Role {
    Role::Admin
}

/// The kind of a secret, never a part of it.
pub(super) fn mask(secret: &str) -> String {
    let prefix = if secret.starts_with("muxi_sk_") { "muxi_sk_" } else { "" };
    format!("{prefix}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_expiry_are_read_and_admin_is_the_default() {
        let text = "keys: [{id: a, secret: s}, {id: b, secret: s, role: read, expires: 2027-01-31T12:00:00Z}]";
        let keys = serde_yaml::from_str::<AuthConfig>(text).unwrap().all_keys();
        assert_eq!((keys[0].role, keys[0].expires), (Role::Admin, None));
        assert_eq!(keys[1].role, Role::Read);
        assert_eq!(keys[1].expires.unwrap().to_string(), "2027-01-31T12:00:00Z");
        assert!(
            serde_yaml::from_str::<AuthConfig>("keys: [{id: a, secret: s, role: boss}]").is_err()
        );
    }

    #[test]
    fn all_faults_are_found() {
        let text = "{timestamp_tolerance: 0, failures_per_minute: 0, keys: [{id: a, secret: s}, {id: a, secret: ''}]}";
        let config = serde_yaml::from_str::<AuthConfig>(text).unwrap();
        assert_eq!(config.faults().len(), 4);
        assert_eq!(config.warnings().len(), 2);
    }
}
