//! Who may manage: checks signatures and yields a principal.
//!
//! Invariants: a key that was revoked, rotated or added by any process counts from the next request
//! on, since every check asks the store for the revision of its keys; a valid signature is never
//! refused because of others' failures; secrets are in memory and in config.yaml only, everywhere
//! else they are sealed; nothing here knows a route's handler.

pub mod calls;
mod failures;
pub mod keys;
pub mod master;
mod nonces;
pub mod role;
pub mod when;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use muxi_contract::keys::Role;
use muxi_contract::signature::{self, Authorization, CONTENT_SHA256, Signed};
use muxi_service::{Clock, TaskGroup, TaskKind};
use rusqlite::Connection;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
use self::failures::Failures;
use self::keys::{KeyRules, seal_context};
use self::master::{MasterKey, MasterKeyError};
use self::nonces::{Nonces, Novelty};
pub use self::role::{Permission, Principal};
use crate::config::{Config, KeyConfig};
use crate::percent;
use crate::store::keys as rows;
use crate::store::{Store, StoreError};

/// The keeper of the door.
#[derive(Debug)]
pub struct Auth {
    master: Option<MasterKey>,
    known: ArcSwap<Known>,
    nonces: Nonces,
    pub calls: Calls,
    uses: Arc<Uses>,
    store: Store,
    clock: Clock,
}

/// A request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub principal: Principal,
    /// Absent while authentication is off.
    pub signed: Option<SignedBy>,
}

/// What a signature said beyond who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// SHA-256 of the signature.
    pub signature: [u8; 32],
    /// Of the body, as signed by version 2.
    pub content_sha256: Option<String>,
}

/// A request that was not let in.
#[derive(Debug)]
pub struct Refused {
    pub refusal: Refusal,
    /// The key it named, whether or not there is one.
    pub claimed_key: Option<String>,
    /// There were too many failures; how long to wait.
    pub wait: Option<Duration>,
}

/// Why a request was not let in; the words of the first five are those that clients match on.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("Missing authorization header")]
    Missing,
    #[error("Invalid authorization header format")]
    Malformed,
    #[error("Invalid key")]
    UnknownKey,
    #[error("Request expired (timestamp too old or in future)")]
    Expired,
    #[error("Invalid signature")]
    WrongSignature,
    #[error(
        "This manager accepts signatures of version 2 only (auth.require_v2): sign body, query and a \
         nonce, and add v=2"
    )]
    OldVersion,
    #[error(
        "A signature of version 2 needs X-Muxi-Content-SHA256, the lower-case hex hash of the body"
    )]
    NoContentHash,
    #[error("This nonce was used before; sign each request with a fresh one")]
    RepeatedNonce,
    #[error("More signatures are valid at once than are kept track of; call less often")]
    TooManyNonces,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "no key is usable: run `muxi-server keys add --role admin`, or put one {{id, secret}} under \
         auth.keys in config.yaml"
    )]
    NoUsableKey,
}

/// What holds for a revision of the stored keys and a reading of the configuration.
#[derive(Debug)]
struct Known {
    revision: i64,
    config: Arc<Config>,
    failures: Arc<Failures>,
    /// By the SHA-256 of their ids.
    keys: HashMap<[u8; 32], Key>,
}

#[derive(Debug)]
struct Key {
    id: String,
    role: Role,
    expires_at_ms: Option<i64>,
    /// Each with the time from which on it is void.
    secrets: Vec<(SecretString, Option<i64>)>,
}

/// When keys were last used, written to the store now and then.
#[derive(Debug, Default)]
struct Uses {
    /// Not yet in the store.
    fresh: Mutex<BTreeMap<String, i64>>,
    writing: Mutex<bool>,
}

/// How long a use may be known to this process only.
const USES_PERIOD: Duration = Duration::from_mins(1);
const CLAIMED_CHARS_MAX: usize = 64;

// === impl Auth ===

impl Auth {
    /// Reads keys and master key; refuses to begin where nobody could manage.
    pub fn open(
        config: &Arc<Config>,
        master_key: &Path,
        connection: &Connection,
        store: Store,
        clock: Clock,
    ) -> Result<Self, AuthError> {
        let master = match MasterKey::load_or_make(master_key) {
            Ok(master) => Some(master),
            // A folder that cannot be written is no fault until a secret must be sealed.
            Err(error @ MasterKeyError::Make { .. }) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "no keys can be made, and the audit log has no seal");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let known = Known::read(connection, config, master.as_ref(), None)?;
        known.ensure_usable(clock.now_ms())?;
        Ok(Self {
            calls: Calls::new(store.clone(), master.clone()),
            master,
            known: ArcSwap::from_pointee(known),
            nonces: Nonces::default(),
            uses: Arc::default(),
            store,
            clock,
        })
    }

    /// Refuses a configuration with which nobody could manage any more.
    pub async fn judge(&self, config: &Config) -> Result<(), AuthError> {
        let (config, master) = (Arc::new(config.clone()), self.master.clone());
        let read = move |db: &Connection| Known::read(db, &config, master.as_ref(), None);
        self.store.read(read).await?.ensure_usable(self.clock.now_ms())
    }

    pub fn master(&self) -> Option<&MasterKey> {
        self.master.as_ref()
    }

    /// What acts on keys are judged by, as of now.
    pub fn rules(&self, config: &Config) -> KeyRules {
        KeyRules { configured: config.keys(), master: self.master.clone(), now: self.clock.now() }
    }

    /// Uses that the store does not know yet.
    pub fn fresh_uses(&self) -> BTreeMap<String, i64> {
        self.uses.lock().clone()
    }

    /// Whether a request may come in at all; a role is looked at later. `config` is that in effect.
    pub async fn admit(
        &self,
        config: &Arc<Config>,
        parts: &Parts,
        address: Option<IpAddr>,
    ) -> Result<Admitted, Refused> {
        if !config.auth.enabled {
            return Ok(Admitted { principal: Principal::anonymous(), signed: None });
        }
        let known = match self.known(config).await {
            Ok(known) => known,
            Err(error) => return Err(Refused::without_blame(error.into())),
        };
        self.check(parts, &known).map_err(|(refusal, claimed_key)| {
            let named = claimed_key.as_deref().filter(|id| known.find(id).is_some());
            let wait = refusal.is_failure().then(|| known.failures.note(address, named)).flatten();
            let claimed_key = claimed_key.map(|id| id.chars().take(CLAIMED_CHARS_MAX).collect());
            Refused { refusal, claimed_key, wait }
        })
    }

    /// Remembers that a key was used; the store learns it within a minute.
    pub fn note_use(&self, principal: &Principal, tasks: &TaskGroup, stop: &CancellationToken) {
        self.uses.lock().insert(principal.key_id.clone(), self.clock.now_ms());
        let mut writing = self.uses.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *writing, true) {
            return;
        }
        let (uses, store, stop) = (Arc::clone(&self.uses), self.store.clone(), stop.clone());
        tasks.spawn(TaskKind::Connection, "note uses of keys", async move {
            // At the end as well as after a while.
            let _stopping_or_not = tokio::time::timeout(USES_PERIOD, stop.cancelled()).await;
            // First, so that a use that comes now finds a task of its own.
            *uses.writing.lock().unwrap_or_else(PoisonError::into_inner) = false;
            let fresh = std::mem::take(&mut *uses.lock());
            let write = move |tx: &rusqlite::Transaction<'_>| {
                fresh.iter().try_for_each(|(id, at_ms)| rows::note_use(tx, id, *at_ms))
            };
            if let Err(error) = store.write(write).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "when keys were last used is not stored");
            }
        });
    }

    /// The keys as of now, read anew if any process changed them, or a reload did.
    async fn known(&self, config: &Arc<Config>) -> Result<Arc<Known>, StoreError> {
        let known = self.known.load_full();
        let (held, config, master) = (Arc::clone(&known), Arc::clone(config), self.master.clone());
        let newer = self.store.read(move |db| {
            if Arc::ptr_eq(&held.config, &config) && rows::revision(db)? == held.revision {
                return Ok(None);
            }
            Known::read(db, &config, master.as_ref(), Some(&held)).map(Some)
        });
        let Some(newer) = newer.await? else { return Ok(known) };
        let newer = Arc::new(newer);
        // Requests may read at the same time. Whichever stays: each judges by what it read itself,
        // and the next one sees whether what stayed is the newest.
        self.known.store(Arc::clone(&newer));
        Ok(newer)
    }

    fn check(&self, parts: &Parts, known: &Known) -> Result<Admitted, (Refusal, Option<String>)> {
        let tolerance_s = i64::from(known.config.auth.timestamp_tolerance);
        let header = parts.headers.get(AUTHORIZATION).filter(|value| !value.is_empty());
        let header = header.ok_or((Refusal::Missing, None))?;
        let header = header.to_str().map_err(|_| (Refusal::Malformed, None))?;
        let given = Authorization::parse(header).map_err(|_| (Refusal::Malformed, None))?;
        let refuse = |refusal| (refusal, Some(given.key.to_owned()));
        let now = self.clock.now();
        let key = known.find(given.key).filter(|key| key.is_usable(now.as_millisecond()));
        let key = key.ok_or_else(|| refuse(Refusal::UnknownKey))?;
        let expired = || refuse(Refusal::Expired);
        let timestamp: i64 = given.timestamp.parse().map_err(|_| expired())?;
        if now.as_second().abs_diff(timestamp) > tolerance_s.unsigned_abs() {
            return Err(expired());
        }
        let secrets = key.secrets(now.as_millisecond());
        let content_sha256 = match given.nonce {
            None => {
                check_version_1(parts, &given, secrets).map_err(refuse)?;
                // Only to holders of the secret is it said what this manager asks for.
                if known.config.auth.require_v2 {
                    return Err(refuse(Refusal::OldVersion));
                }
                None
            }
            Some(nonce) => {
                let content = check_version_2(parts, &given, nonce, secrets).map_err(refuse)?;
                let end_s = timestamp.saturating_add(tolerance_s);
                match self.nonces.note(&key.id, nonce, end_s, now.as_second()) {
                    Novelty::Fresh => Some(content),
                    Novelty::Repeated => return Err(refuse(Refusal::RepeatedNonce)),
                    Novelty::Full => return Err(refuse(Refusal::TooManyNonces)),
                }
            }
        };
        let signature = Sha256::digest(given.signature.as_bytes()).into();
        let principal = Principal::new(key.id.clone(), key.role);
        Ok(Admitted { principal, signed: Some(SignedBy { signature, content_sha256 }) })
    }
}

fn check_version_1<'a>(
    parts: &Parts,
    given: &Authorization<'_>,
    mut secrets: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    // Clients sign the path as they wrote it, with or without its query; the original decodes it.
    let uri = &parts.uri;
    let with_query = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
    let decoded = percent::decode(uri.path());
    let paths = [uri.path(), with_query, &decoded];
    let valid = secrets.any(|secret| {
        let method = parts.method.as_str();
        paths
            .iter()
            .any(|path| signature::verify(secret, given.timestamp, method, path, given.signature))
    });
    if valid { Ok(()) } else { Err(Refusal::WrongSignature) }
}

/// Answers the hash that the body must have.
fn check_version_2<'a>(
    parts: &Parts,
    given: &Authorization<'_>,
    nonce: &str,
    mut secrets: impl Iterator<Item = &'a str>,
) -> Result<String, Refusal> {
    let content = parts.headers.get(CONTENT_SHA256).and_then(|value| value.to_str().ok());
    let content = content.filter(|it| signature::is_content_sha256(it));
    let content = content.ok_or(Refusal::NoContentHash)?;
    let signed = Signed {
        timestamp: given.timestamp,
        nonce,
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        content_sha256: content,
    };
    if secrets.any(|secret| signed.verify(secret, given.signature)) {
        Ok(content.to_owned())
    } else {
        Err(Refusal::WrongSignature)
    }
}

// === impl Known ===

impl Known {
    fn read(
        connection: &Connection,
        config: &Arc<Config>,
        master: Option<&MasterKey>,
        before: Option<&Self>,
    ) -> Result<Self, StoreError> {
        // The revision first: a change in between is then read twice, and never missed.
        let revision = rows::revision(connection)?;
        let mut keys = HashMap::new();
        for stored in rows::all(connection)?.into_iter().filter(|it| it.revoked_at_ms.is_none()) {
            let context = seal_context(&stored.id);
            let open = |sealed: &[u8]| {
                let plain = master?.open(&context, sealed)?;
                String::from_utf8(plain.to_vec()).ok().map(SecretString::from)
            };
            let opened =
                stored.secrets.iter().filter_map(|it| Some((open(&it.sealed)?, it.valid_until_ms)));
            let secrets: Vec<_> = opened.collect();
            if secrets.is_empty() {
                tracing::error!(
                    key = stored.id,
                    "its secret cannot be opened with manager.key; rotate it with `muxi-server keys rotate`"
                );
                continue;
            }
            let (id, role, expires_at_ms) = (stored.id, stored.role, stored.expires_at_ms);
            keys.insert(hash(&id), Key { id, role, expires_at_ms, secrets });
        }
        for key in config.keys() {
            let secrets = vec![(SecretString::from(key.secret.as_str()), None)];
            let expires_at_ms = key.expires.map(jiff::Timestamp::as_millisecond);
            let KeyConfig { id, role, .. } = key;
            // Whoever can write the file has the last word.
            keys.insert(hash(&id), Key { id, role, expires_at_ms, secrets });
        }
        // What was counted stays counted, unless another limit was set.
        let per_minute = config.auth.failures_per_minute;
        let before = before.filter(|it| it.config.auth.failures_per_minute == per_minute);
        let failures = before.map_or_else(
            || Arc::new(Failures::new(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN))),
            |before| Arc::clone(&before.failures),
        );
        Ok(Self { revision, config: Arc::clone(config), failures, keys })
    }

    fn ensure_usable(&self, now_ms: i64) -> Result<(), AuthError> {
        let any = self.keys.values().any(|key| key.is_usable(now_ms));
        if any || !self.config.auth.enabled { Ok(()) } else { Err(AuthError::NoUsableKey) }
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.keys.get(&hash(id))
    }
}

// === impl Key ===

impl Key {
    fn is_usable(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|at| at > now_ms) && self.secrets(now_ms).next().is_some()
    }

    fn secrets(&self, now_ms: i64) -> impl Iterator<Item = &str> {
        let valid =
            self.secrets.iter().filter(move |(_, until)| until.is_none_or(|at| at > now_ms));
        valid.map(|(secret, _)| secret.expose_secret())
    }
}

// === impl Uses ===

impl Uses {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, i64>> {
        // The map is whole even if a holder panicked: each use is one call.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Refused ===

impl Refused {
    fn without_blame(refusal: Refusal) -> Self {
        Self { refusal, claimed_key: None, wait: None }
    }
}

// === impl Refusal ===

impl Refusal {
    /// Whether it can be somebody's attempt to get in without a key.
    const fn is_failure(&self) -> bool {
        !matches!(self, Self::OldVersion | Self::TooManyNonces | Self::Store(_))
    }
}

/// Of equal length and unforeseeable, so that time tells nothing about ids.
fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

#[cfg(test)]
mod tests;
