//! Files that were made for users: compressed, sealed with a key of the user, and checked when they are
//! read.
//!
//! Invariants: the bytes are on the disk before anybody is told of them; no name that a user or a model
//! gave is ever part of a path; what no row knows goes an hour later.

mod blobs;
mod content;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use muxi_contract::formation::artifacts::ArtifactRef;
use muxi_contract::{SessionId, UserId};
use muxi_formation::manifest::{Artifacts as Config, RetentionPolicy};
use muxi_memory::{Artifact, ArtifactAge, ArtifactRefusal, NewArtifact, Store, StoreError, TurnId};
use muxi_service::Clock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::blobs::Blobs;
use crate::safe::{Key, Purpose, Safe, SafeError};

/// A handle; clones share what it does.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Store,
    blobs: Blobs,
    safe: Safe,
    config: Config,
    clock: Clock,
    per_user_max: u32,
    at_work: Arc<Semaphore>,
}

/// A file that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    pub name: String,
    pub content_type: String,
    pub bytes: Bytes,
    pub agent: String,
    pub session: SessionId,
    pub turn: TurnId,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: usize,
    pub orphans: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the manifest turns artifacts off (`artifacts.enabled`)")]
    Off,
    #[error("it has {bytes} bytes, and {bytes_max} are allowed (`artifacts.max_size_mb`)")]
    TooLarge { bytes: usize, bytes_max: u64 },
    #[error("the user has {0} artifacts already")]
    TooMany(u32),
    #[error("it could not be sealed")]
    Safe(#[from] SafeError),
    #[error("the disk did not take it")]
    Disk(#[from] io::Error),
    #[error("the memory did not take it")]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the bytes of artifact '{0}' are not on this machine")]
    Missing(String),
    #[error("the bytes of artifact '{0}' were changed on the disk")]
    Changed(String),
    #[error(transparent)]
    Safe(#[from] SafeError),
    #[error("the bytes of artifact '{id}' could not be read")]
    Disk {
        id: String,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("the folder of the artifacts could not be swept")]
    Disk(#[from] io::Error),
    #[error("the memory did not answer")]
    Store(#[from] StoreError),
}

/// Bytes that are compressed or opened at a time.
const AT_WORK_MAX: usize = 4;
/// Forgotten or looked up in one transaction.
const BATCH: u32 = 100;
/// A file without a row may be one that somebody is just writing.
const ORPHAN_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

// === impl Artifacts ===

impl Artifacts {
    pub fn new(
        config: Config,
        store: Store,
        data_dir: &Path,
        clock: Clock,
        per_user_max: u32,
    ) -> Self {
        Self {
            blobs: Blobs::new(data_dir.join(&config.storage.path)),
            safe: Safe::new(data_dir, Purpose::Artifacts),
            store,
            config,
            clock,
            per_user_max,
            at_work: Arc::new(Semaphore::new(AT_WORK_MAX)),
        }
    }

    /// The next version of what the user has under the file's name. It is on the disk when this returns.
    pub async fn keep(&self, user: &UserId, file: NewFile) -> Result<Artifact, KeepError> {
        if !self.config.enabled {
            return Err(KeepError::Off);
        }
        let (bytes, bytes_max) = (file.bytes.len(), self.config.bytes_max());
        if bytes as u64 > bytes_max {
            return Err(KeepError::TooLarge { bytes, bytes_max });
        }
        let id = blobs::new_id();
        let key = self.key_to_seal(user).await?;
        let sealed_by = key.as_ref().map(|key| key.fingerprint().to_owned());
        let (blobs, written, context) = (self.blobs.clone(), id.clone(), context(&id, user));
        let plain = file.bytes;
        let sha256 = self
            .blocking(move || -> Result<String, KeepError> {
                let packed = content::pack(&plain)?;
                let packed = match key {
                    Some(key) => key.seal(&context, &packed)?,
                    None => packed,
                };
                blobs.write(&written, &packed)?;
                Ok(content::sha256(&plain))
            })
            .await?;
        let new = NewArtifact {
            id: id.clone(),
            name: file.name,
            content_type: file.content_type,
            size_bytes: bytes as u64,
            sha256,
            sealed_by,
            agent: file.agent,
            session: file.session,
            turn: file.turn,
            at_ms: self.clock.now_ms(),
        };
        let kept = self.store.for_user(user).keep_artifact(new, self.per_user_max - 1).await?;
        let refusal = match kept {
            Ok(artifact) => return Ok(artifact),
            Err(refusal) => refusal,
        };
        self.remove(vec![id]).await?;
        Err(match refusal {
            ArtifactRefusal::OtherKey => SafeError::Foreign(Purpose::Artifacts).into(),
            ArtifactRefusal::TooMany => KeepError::TooMany(self.per_user_max),
        })
    }

    /// The bytes of a version of the user, as they were given.
    pub async fn read(&self, user: &UserId, artifact: &Artifact) -> Result<Bytes, ReadError> {
        let (blobs, safe, context) =
            (self.blobs.clone(), self.safe.clone(), context(&artifact.id, user));
        let (user, artifact) = (user.clone(), artifact.clone());
        self.blocking(move || {
            let id = artifact.id;
            let packed = blobs.read(&id).map_err(|source| {
                let id = id.clone();
                if source.kind() == io::ErrorKind::NotFound {
                    ReadError::Missing(id)
                } else {
                    ReadError::Disk { id, source }
                }
            })?;
            let packed = match artifact.sealed_by {
                Some(by) => {
                    let key = safe.key()?.derived(user.as_str());
                    match key.open(&context, &packed, &by) {
                        Ok(packed) => packed.to_vec(),
                        Err(SafeError::Changed(_)) => return Err(ReadError::Changed(id)),
                        Err(error) => return Err(error.into()),
                    }
                }
                None => packed,
            };
            let plain = content::unpack(&packed, artifact.size_bytes);
            let plain = plain.filter(|plain| content::sha256(plain) == artifact.sha256);
            plain.map(Bytes::from).ok_or(ReadError::Changed(id))
        })
        .await
    }

    /// All versions of what has this version; how many there were.
    pub async fn delete(&self, user: &UserId, id: &str) -> Result<usize, KeepError> {
        let gone = self.store.for_user(user).delete_artifact(id).await?;
        let count = gone.len();
        self.remove(gone).await?;
        Ok(count)
    }

    /// Removes what is older than the manifest wants, and what a process left that died while it wrote.
    pub async fn sweep(&self) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        let retention = self.config.retention;
        if retention.days > 0 {
            let age = match retention.policy {
                RetentionPolicy::LastAccessed => ArtifactAge::SinceRead,
                RetentionPolicy::LastUpdated => ArtifactAge::SinceMade,
            };
            let before_ms = self.clock.now_ms() - i64::from(retention.days) * DAY_MS;
            loop {
                let gone = self.store.forget_artifacts(age, before_ms, BATCH).await?;
                if gone.is_empty() {
                    break;
                }
                swept.expired += gone.len();
                self.remove(gone).await?;
            }
        }
        let (blobs, before_ms) = (self.blobs.clone(), self.clock.now_ms() - ORPHAN_MS);
        let there = self.blocking(move || blobs.older_than(before_ms)).await?;
        for ids in there.chunks(BATCH as usize) {
            let known = self.store.known_artifacts(ids.to_vec()).await?;
            let orphans: Vec<String> =
                ids.iter().filter(|id| !known.contains(*id)).cloned().collect();
            swept.orphans += orphans.len();
            self.remove(orphans).await?;
        }
        Ok(swept)
    }

    /// None if the bytes are not to be sealed.
    async fn key_to_seal(&self, user: &UserId) -> Result<Option<Key>, KeepError> {
        if !self.config.encryption.enabled {
            return Ok(None);
        }
        // Made with the first artifact, and never again while one is kept.
        let key = if self.store.has_sealed_artifacts().await? {
            self.safe.key()?
        } else {
            self.safe.key_or_new()?
        };
        Ok(Some(key.derived(user.as_str())))
    }

    async fn remove(&self, ids: Vec<String>) -> io::Result<()> {
        let blobs = self.blobs.clone();
        self.blocking(move || ids.iter().try_for_each(|id| blobs.remove(id))).await
    }

    async fn blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = Arc::clone(&self.at_work).acquire_owned().await;
        let work = spawn_blocking(move || {
            let _held = permit;
            work()
        });
        work.await.expect("packing and unpacking do not panic")
    }
}

/// As an answer names it.
pub fn reference(artifact: &Artifact) -> ArtifactRef {
    ArtifactRef {
        url: url(&artifact.id),
        id: artifact.id.clone(),
        name: artifact.name.clone(),
        version: artifact.version,
        content_type: artifact.content_type.clone(),
        size_bytes: artifact.size_bytes,
    }
}

pub fn url(id: &str) -> String {
    format!("/v1/artifacts/{id}/content")
}

// === private helpers ===

/// Bytes that were put under another id, or given to another user, do not open.
fn context(id: &str, user: &UserId) -> String {
    format!("{id} {user}")
}

#[cfg(test)]
mod tests;
