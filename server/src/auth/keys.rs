//! Making, listing, rotating and revoking keys. The manager and its command line call the same
//! functions on the same store, each in a transaction of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use muxi_contract::keys::{KeySource, KeyStatus, KeyView, KeyWithSecret, Role};
use rusqlite::Connection;

use super::master::MasterKey;
use super::when::rfc3339;
use crate::config::KeyConfig;
use crate::store::StoreError;
use crate::store::keys::{self, SealedSecret, StoredKey};

/// What keys are judged by.
#[derive(Debug, Clone)]
pub struct KeyRules {
    /// The keys of config.yaml.
    pub configured: Vec<KeyConfig>,
    /// Absent if its file could not be made.
    pub master: Option<MasterKey>,
    pub now: Timestamp,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub label: String,
    pub role: Role,
    pub expires_at: Option<Timestamp>,
}

/// Why a key stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there is no key `{0}`")]
    Unknown(String),
    #[error(
        "key `{0}` comes from config.yaml; change or remove it there and run `muxi-server reload`"
    )]
    Configured(String),
    #[error("key `{0}` is the last usable one with the role admin; make another one first")]
    LastAdmin(String),
    #[error("key `{0}` is revoked; make a new one")]
    Revoked(String),
    #[error("a label has at most {LABEL_CHARS_MAX} characters and no control characters")]
    Label,
    #[error("this manager has {KEYS_MAX} keys that are not revoked; revoke what is not used")]
    TooMany,
    #[error("there is no master key to seal secrets with; the manager's log says why")]
    NoMasterKey,
    #[error("the system's random source did not answer")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

const LABEL_CHARS_MAX: usize = 200;
/// Keys that are not revoked.
const KEYS_MAX: usize = 10_000;

/// Every key, those of the configuration first; `fresh_uses` are not yet in the store.
pub fn list(
    connection: &Connection,
    rules: &KeyRules,
    fresh_uses: &BTreeMap<String, i64>,
) -> Result<Vec<KeyView>, StoreError> {
    let mut last_used: BTreeMap<String, i64> = keys::uses(connection)?.into_iter().collect();
    for (id, at_ms) in fresh_uses {
        last_used.insert(id.clone(), *at_ms);
    }
    let configured = rules.configured.iter().map(|key| rules.configured_view(key));
    let stored = keys::all(connection)?;
    let stored = stored.iter().map(|key| rules.stored_view(key));
    let with_use = |mut view: KeyView| {
        view.last_used_at = last_used.get(&view.id).copied().map(rfc3339);
        view
    };
    Ok(configured.chain(stored).map(with_use).collect())
}

/// The answer holds the secret, which is shown only now.
pub fn add(
    connection: &Connection,
    rules: &KeyRules,
    wanted: Wanted,
) -> Result<KeyWithSecret, KeyError> {
    if wanted.label.chars().count() > LABEL_CHARS_MAX || wanted.label.contains(char::is_control) {
        return Err(KeyError::Label);
    }
    let live = keys::all(connection)?.iter().filter(|key| key.revoked_at_ms.is_none()).count();
    if live >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    let (id, secret) = (format!("muxi_pk_{}", random_hex::<12>()?), new_secret()?);
    let sealed = rules.seal(&id, &secret)?;
    let key = StoredKey {
        id,
        label: wanted.label,
        role: wanted.role,
        created_at_ms: rules.now.as_millisecond(),
        expires_at_ms: wanted.expires_at.map(Timestamp::as_millisecond),
        revoked_at_ms: None,
        secrets: vec![SealedSecret { sealed, valid_until_ms: None }],
    };
    keys::insert(connection, &key)?;
    Ok(KeyWithSecret { key: rules.stored_view(&key), secret })
}

/// Ends a key; of one that is revoked already nothing changes. `force` also ends the last admin.
pub fn revoke(
    connection: &Connection,
    rules: &KeyRules,
    id: &str,
    force: bool,
) -> Result<KeyView, KeyError> {
    let all = keys::all(connection)?;
    let mut key = rules.stored(&all, id)?.clone();
    if key.revoked_at_ms.is_none() {
        let others = all.iter().filter(|other| other.id != id).map(|it| rules.stored_view(it));
        let others = others.chain(rules.configured.iter().map(|it| rules.configured_view(it)));
        let is_admin = |key: &KeyView| key.role == Role::Admin && key.status == KeyStatus::Active;
        if !force
            && is_admin(&rules.stored_view(&key))
            && !others.into_iter().any(|it| is_admin(&it))
        {
            return Err(KeyError::LastAdmin(id.to_owned()));
        }
        let now_ms = rules.now.as_millisecond();
        keys::revoke(connection, id, now_ms)?;
        key = StoredKey { revoked_at_ms: Some(now_ms), secrets: Vec::new(), ..key };
    }
    Ok(rules.stored_view(&key))
}

/// A new secret for a key; the old one stays valid for the grace.
pub fn rotate(
    connection: &Connection,
    rules: &KeyRules,
    id: &str,
    grace: Option<Duration>,
) -> Result<KeyWithSecret, KeyError> {
    let all = keys::all(connection)?;
    let key = rules.stored(&all, id)?;
    if key.revoked_at_ms.is_some() {
        return Err(KeyError::Revoked(id.to_owned()));
    }
    let secret = new_secret()?;
    let sealed = rules.seal(id, &secret)?;
    let now_ms = rules.now.as_millisecond();
    let grace_ms = grace.and_then(|grace| i64::try_from(grace.as_millis()).ok());
    let old_until_ms = grace_ms.filter(|ms| *ms > 0).map(|ms| now_ms.saturating_add(ms));
    keys::rotate(connection, id, &sealed, old_until_ms, now_ms)?;
    let all = keys::all(connection)?;
    Ok(KeyWithSecret { key: rules.stored_view(rules.stored(&all, id)?), secret })
}

/// A fresh `muxi_sk_…`.
pub fn new_secret() -> Result<String, getrandom::Error> {
    Ok(format!("muxi_sk_{}", random_hex::<28>()?))
}

pub fn random_hex<const BYTES: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// What a sealed secret is bound to, so that it cannot stand in for another key's.
pub(super) fn seal_context(id: &str) -> String {
    format!("secret of key {id}")
}

// === impl KeyRules ===

impl KeyRules {
    fn stored<'a>(&self, all: &'a [StoredKey], id: &str) -> Result<&'a StoredKey, KeyError> {
        if self.configured.iter().any(|key| key.id == id) {
            return Err(KeyError::Configured(id.to_owned()));
        }
        all.iter().find(|key| key.id == id).ok_or_else(|| KeyError::Unknown(id.to_owned()))
    }

    fn seal(&self, id: &str, secret: &str) -> Result<Vec<u8>, KeyError> {
        let master = self.master.as_ref().ok_or(KeyError::NoMasterKey)?;
        Ok(master.seal(&seal_context(id), secret.as_bytes())?)
    }

    fn configured_view(&self, key: &KeyConfig) -> KeyView {
        let expired = key.expires.is_some_and(|at| at <= self.now);
        KeyView {
            id: key.id.clone(),
            label: key.label.clone(),
            role: key.role,
            source: KeySource::Config,
            status: if expired { KeyStatus::Expired } else { KeyStatus::Active },
            created_at: None,
            last_used_at: None,
            expires_at: key.expires.map(|it| it.to_string()),
            revoked_at: None,
            old_secret_valid_until: None,
        }
    }

    fn stored_view(&self, key: &StoredKey) -> KeyView {
        let now_ms = self.now.as_millisecond();
        let old = key.secrets.iter().filter_map(|it| it.valid_until_ms).filter(|at| *at > now_ms);
        let status = if key.revoked_at_ms.is_some() {
            KeyStatus::Revoked
        } else if key.expires_at_ms.is_some_and(|at| at <= now_ms) {
            KeyStatus::Expired
        } else if self.can_open(key) {
            KeyStatus::Active
        } else {
            KeyStatus::Unreadable
        };
        KeyView {
            id: key.id.clone(),
            label: key.label.clone(),
            role: key.role,
            source: KeySource::Store,
            status,
            created_at: Some(rfc3339(key.created_at_ms)),
            last_used_at: None,
            expires_at: key.expires_at_ms.map(rfc3339),
            revoked_at: key.revoked_at_ms.map(rfc3339),
            old_secret_valid_until: old.max().map(rfc3339),
        }
    }

    fn can_open(&self, key: &StoredKey) -> bool {
        let Some(master) = &self.master else { return false };
        let context = seal_context(&key.id);
        key.secrets.iter().any(|it| master.open(&context, &it.sealed).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn rules(configured: Vec<KeyConfig>) -> KeyRules {
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        KeyRules { configured, master: Some(MasterKey::for_tests(1)), now }
    }

    fn wanted(role: Role) -> Wanted {
        Wanted { label: "ci".to_owned(), role, expires_at: None }
    }

    fn configured(id: &str, role: Role) -> KeyConfig {
        let (secret, label) = ("s".to_owned(), String::new());
        KeyConfig { id: id.to_owned(), secret, label, role, expires: None }
    }

    #[test]
    fn the_last_usable_admin_stays() {
        let db = store::in_memory();
        let rules = rules(vec![configured("reader", Role::Read)]);
        let first = add(&db, &rules, wanted(Role::Admin)).unwrap().key.id;
        let deployer = add(&db, &rules, wanted(Role::Deploy)).unwrap().key.id;
        assert!(matches!(revoke(&db, &rules, &first, false), Err(KeyError::LastAdmin(_))));
        assert_eq!(revoke(&db, &rules, &deployer, false).unwrap().status, KeyStatus::Revoked);
        let second = add(&db, &rules, wanted(Role::Admin)).unwrap().key.id;
        assert_eq!(revoke(&db, &rules, &first, false).unwrap().status, KeyStatus::Revoked);
        assert!(matches!(revoke(&db, &rules, &second, false), Err(KeyError::LastAdmin(_))));
        // One in the configuration is enough.
        let with_config =
            KeyRules { configured: vec![configured("boss", Role::Admin)], ..rules.clone() };
        assert!(revoke(&db, &with_config, &second, false).is_ok());
        assert!(revoke(&db, &rules, "nobody", false).is_err());
        assert!(matches!(revoke(&db, &rules, "reader", true), Err(KeyError::Configured(_))));
    }

    #[test]
    fn force_revokes_the_last_admin_and_no_secret_is_left() {
        let db = store::in_memory();
        let rules = rules(Vec::new());
        let key = add(&db, &rules, wanted(Role::Admin)).unwrap().key.id;
        revoke(&db, &rules, &key, true).unwrap();
        assert!(keys::all(&db).unwrap()[0].secrets.is_empty());
        assert!(matches!(rotate(&db, &rules, &key, None), Err(KeyError::Revoked(_))));
    }

    #[test]
    fn a_rotation_keeps_old_secrets_for_the_grace_only() {
        let db = store::in_memory();
        let mut rules = rules(Vec::new());
        let made = add(&db, &rules, wanted(Role::Admin)).unwrap();
        let id = made.key.id;
        let rotated = rotate(&db, &rules, &id, Some(Duration::from_hours(1))).unwrap();
        assert_ne!(rotated.secret, made.secret);
        assert_eq!(rotated.key.old_secret_valid_until.as_deref(), Some("2026-11-22T09:00:00Z"));
        // A second rotation does not lengthen the first one's grace.
        let again = rotate(&db, &rules, &id, Some(Duration::from_hours(5))).unwrap();
        assert_eq!(again.key.old_secret_valid_until.as_deref(), Some("2026-11-22T13:00:00Z"));
        let untils: Vec<_> = keys::all(&db).unwrap()[0]
            .secrets
            .iter()
            .map(|it| it.valid_until_ms.map(rfc3339))
            .collect();
        assert_eq!(
            untils,
            [
                None,
                Some("2026-11-22T13:00:00Z".to_owned()),
                Some("2026-11-22T09:00:00Z".to_owned())
            ]
        );
        rules.now = "2026-11-22T10:00:00Z".parse().unwrap();
        rotate(&db, &rules, &id, Some(Duration::from_mins(1))).unwrap();
        assert_eq!(keys::all(&db).unwrap()[0].secrets.len(), 3, "what is past is gone");
        let last = rotate(&db, &rules, &id, None).unwrap();
        assert_eq!(last.key.old_secret_valid_until, None);
        assert_eq!(keys::all(&db).unwrap()[0].secrets.len(), 1);
    }

    #[test]
    fn a_key_of_another_master_key_is_unreadable_until_it_is_rotated() {
        let db = store::in_memory();
        let rules = rules(Vec::new());
        let id = add(&db, &rules, wanted(Role::Admin)).unwrap().key.id;
        let lost = KeyRules { master: Some(MasterKey::for_tests(2)), ..rules };
        let status = |rules| list(&db, rules, &BTreeMap::new()).unwrap()[0].status;
        assert_eq!(status(&lost), KeyStatus::Unreadable);
        rotate(&db, &lost, &id, None).unwrap();
        assert_eq!(status(&lost), KeyStatus::Active);
    }

    #[test]
    fn every_change_is_counted() {
        let db = store::in_memory();
        let rules = rules(Vec::new());
        let mut seen = keys::revision(&db).unwrap();
        let mut changed = || {
            let before = seen;
            seen = keys::revision(&db).unwrap();
            seen != before
        };
        let id = add(&db, &rules, wanted(Role::Admin)).unwrap().key.id;
        assert!(changed());
        rotate(&db, &rules, &id, None).unwrap();
        assert!(changed());
        revoke(&db, &rules, &id, true).unwrap();
        assert!(changed());
        list(&db, &rules, &BTreeMap::new()).unwrap();
        assert!(!changed());
    }
}
