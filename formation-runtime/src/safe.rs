//! Keys of what users entrust to the formation: random, each in a file of its own in the data folder,
//! made once.
//!
//! The database and its backups open nothing without those files. A lost or foreign key is told; a
//! new one is never made in its place while something is sealed with the old one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use muxi_contract::ids::nanoid;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a key is for, and so which file it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Credentials,
    Artifacts,
}

/// The place of a key.
#[derive(Debug, Clone)]
pub struct Safe {
    purpose: Purpose,
    path: PathBuf,
    tidied: Arc<Once>,
}

/// A key.
pub struct Key {
    purpose: Purpose,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    fingerprint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SafeError {
    #[error("failed to read `{}`", .0.file())]
    Read(Purpose, #[source] io::Error),
    #[error("failed to make `{}`", .0.file())]
    Make(Purpose, #[source] io::Error),
    #[error("`{}` is not there, and {} are sealed with it; bring it back", .0.file(), .0)]
    Missing(Purpose),
    #[error("`{}` is not the key that {} are sealed with; bring the right one back", .0.file(), .0)]
    Foreign(Purpose),
    #[error("`{}` is no key; bring the right one back", .0.file())]
    Malformed(Purpose),
    #[error("other users can read `{}`; run chmod 600 on it", .0.file())]
    Open(Purpose),
    #[error("what was sealed among the {0} was changed")]
    Changed(Purpose),
    #[error("the system's random source did not answer")]
    Random(#[from] getrandom::Error),
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const UNFINISHED: &str = ".tmp";

// === impl Purpose ===

impl Purpose {
    pub const fn file(self) -> &'static str {
        match self {
            Self::Credentials => "credentials.key",
            Self::Artifacts => "artifacts.key",
        }
    }

    /// What fingerprints and derived keys begin with, so that no two purposes ever meet.
    const fn label(self) -> &'static str {
        match self {
            Self::Credentials => "muxi credential key",
            Self::Artifacts => "muxi artifact key",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Credentials => "credentials",
            Self::Artifacts => "artifacts",
        })
    }
}

// === impl Safe ===

impl Safe {
    pub fn new(data_dir: &Path, purpose: Purpose) -> Self {
        Self { purpose, path: data_dir.join(purpose.file()), tidied: Arc::new(Once::new()) }
    }

    /// The key that is there already.
    pub fn key(&self) -> Result<Key, SafeError> {
        let purpose = self.purpose;
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SafeError::Missing(purpose));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SafeError::Malformed(purpose));
            }
            Err(error) => return Err(SafeError::Read(purpose, error)),
        };
        let read = |error| SafeError::Read(purpose, error);
        let mode = fs::metadata(&self.path).map_err(read)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SafeError::Open(purpose));
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice())
            .map_err(|_| SafeError::Malformed(purpose))?;
        self.tidied.call_once(|| self.remove_copies());
        Ok(Key::new(purpose, key))
    }

    /// The key, made if there is none. Processes that make it at once agree on one.
    pub fn key_or_new(&self) -> Result<Key, SafeError> {
        match self.key() {
            Err(SafeError::Missing(purpose)) => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                getrandom::fill(key.as_mut_slice())?;
                let text = Zeroizing::new(hex::encode(key.as_slice()) + "\n");
                let made = self.write_once(text.as_bytes());
                made.map_err(|error| SafeError::Make(purpose, error))?;
                self.key()
            }
            found => found,
        }
    }

    /// Whole or not at all, and never over one that is there.
    fn write_once(&self, text: &[u8]) -> io::Result<()> {
        let beside = self.path.with_extension(format!("{}{UNFINISHED}", nanoid()));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        let written = file.write_all(text).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| match fs::hard_link(&beside, &self.path) {
            // Who made one first may have tidied up by now.
            Err(error) if !self.path.exists() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
        // The reason of a failure matters more than a left-over file.
        drop(fs::remove_file(&beside));
        placed?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Whoever was killed while it made the key left what it wrote beside it. Nobody needs that once
    /// there is a key.
    fn remove_copies(&self) {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_stem()) else {
            return;
        };
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let between = file.to_str().zip(name.to_str()).and_then(|(file, name)| {
                file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(UNFINISHED)
            });
            if between.is_some_and(|id| id.len() == nanoid().len())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(%error, file = ?file, "a copy of a key could not be removed");
            }
        }
    }
}

// === impl Key ===

impl Key {
    fn new(purpose: Purpose, bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = Sha256::new_with_prefix(purpose.label()).chain_update(*bytes).finalize();
        Self { purpose, bytes, fingerprint: hex::encode(&hash[..8]) }
    }

    /// A key of its own for one name; it has the fingerprint of the key that it comes from.
    #[must_use]
    pub fn derived(&self, name: &str) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(self.bytes.as_slice());
        let mut mac = mac.expect("a key of any length is taken");
        mac.update(self.purpose.label().as_bytes());
        mac.update(b"\0");
        mac.update(name.as_bytes());
        let bytes = Zeroizing::new(mac.finalize().into_bytes().into());
        Self { purpose: self.purpose, bytes, fingerprint: self.fingerprint.clone() }
    }

    /// Tells keys apart, and tells nothing else about one.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// `context` says whose it is; only with the same is it opened again.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SafeError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        Ok([&nonce[..], &sealed.expect("what is sealed fits into memory")].concat())
    }

    pub fn open(
        &self,
        context: &str,
        sealed: &[u8],
        sealed_by: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SafeError> {
        if sealed_by != self.fingerprint {
            return Err(SafeError::Foreign(self.purpose));
        }
        let changed = || SafeError::Changed(self.purpose);
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(changed)?;
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| changed())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new_from_slice(self.bytes.as_slice()).expect("the key has its length")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Key").field(&self.fingerprint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let safe = Safe::new(folder.path(), Purpose::Credentials);
        assert!(matches!(safe.key(), Err(SafeError::Missing(_))));
        let made = safe.key_or_new().unwrap();
        assert_eq!(safe.key_or_new().unwrap().bytes, made.bytes);
        let path = folder.path().join("credentials.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        safe.write_once(b"another").unwrap();
        assert_eq!(safe.key().unwrap().bytes, made.bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(safe.key_or_new(), Err(SafeError::Open(_))));
    }

    #[test]
    fn what_a_kill_left_of_a_key_goes_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let safe = Safe::new(folder.path(), Purpose::Credentials);
        let left = |name: &str| folder.path().join(format!("{name}.{}.tmp", nanoid()));
        let (ours, others) = (left("credentials"), left("artifacts"));
        let foreign = folder.path().join("credentials.mine.tmp");
        for path in [&ours, &others, &foreign] {
            fs::write(path, "a key").unwrap();
        }
        assert!(matches!(safe.key(), Err(SafeError::Missing(_))));
        assert!(ours.exists());
        let made = safe.key_or_new().unwrap();
        assert!(!ours.exists() && others.exists() && foreign.exists());
        // It was killed after the key was in its place.
        fs::write(&ours, "a key").unwrap();
        let next = Safe::new(folder.path(), Purpose::Credentials);
        assert_eq!(next.key().unwrap().bytes, made.bytes);
        assert!(!ours.exists());
    }

    #[test]
    fn only_the_same_key_and_context_open_what_was_sealed() {
        let key = Key::new(Purpose::Credentials, Zeroizing::new([1; KEY_BYTES]));
        let other = Key::new(Purpose::Credentials, Zeroizing::new([2; KEY_BYTES]));
        let sealed = key.seal("alice", b"secret").unwrap();
        let by = key.fingerprint();
        assert_eq!(key.open("alice", &sealed, by).unwrap().as_slice(), b"secret");
        assert!(matches!(key.open("bob", &sealed, by), Err(SafeError::Changed(_))));
        assert!(matches!(other.open("alice", &sealed, by), Err(SafeError::Foreign(_))));
        assert!(matches!(key.open("alice", &sealed[..9], by), Err(SafeError::Changed(_))));
    }

    #[test]
    fn each_name_has_a_key_of_its_own() {
        let key = Key::new(Purpose::Artifacts, Zeroizing::new([1; KEY_BYTES]));
        let (alice, bob) = (key.derived("alice"), key.derived("bob"));
        assert!(alice.bytes != bob.bytes && alice.bytes != key.bytes);
        assert_eq!(alice.bytes, key.derived("alice").bytes);
        let sealed = alice.seal("x", b"secret").unwrap();
        let opened = bob.open("x", &sealed, key.fingerprint());
        assert!(matches!(opened, Err(SafeError::Changed(Purpose::Artifacts))));
    }
}
