//! The key of users' credentials: random, in a file of its own in the data folder, made once.
//!
//! The database and its backups open nothing without that file. A lost or foreign key is told; a new
//! one is never made in its place while something is sealed with the old one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use muxi_contract::ids::nanoid;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Where the key is kept.
pub const KEY_FILE: &str = "credentials.key";

/// The place of the key.
#[derive(Debug, Clone)]
pub struct Safe {
    path: PathBuf,
}

/// The key.
pub struct CredentialKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    fingerprint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SafeError {
    #[error("failed to read `{KEY_FILE}`")]
    Read(#[source] io::Error),
    #[error("failed to make `{KEY_FILE}`")]
    Make(#[source] io::Error),
    #[error("`{KEY_FILE}` is not there, and credentials are sealed with it; bring it back")]
    Missing,
    #[error(
        "`{KEY_FILE}` is not the key that credentials are sealed with; bring the right one back"
    )]
    Foreign,
    #[error("`{KEY_FILE}` is no key; bring the right one back")]
    Malformed,
    #[error("other users can read `{KEY_FILE}`; run chmod 600 on it")]
    Open,
    #[error("a credential was changed in the database")]
    Changed,
    #[error("the system's random source did not answer")]
    Random(#[from] getrandom::Error),
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

// === impl Safe ===

impl Safe {
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(KEY_FILE) }
    }

    /// The key that is there already.
    pub fn key(&self) -> Result<CredentialKey, SafeError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SafeError::Missing);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SafeError::Malformed);
            }
            Err(error) => return Err(SafeError::Read(error)),
        };
        let mode = fs::metadata(&self.path).map_err(SafeError::Read)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SafeError::Open);
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| SafeError::Malformed)?;
        Ok(CredentialKey::new(key))
    }

    /// The key, made if there is none. Processes that make it at once agree on one.
    pub fn key_or_new(&self) -> Result<CredentialKey, SafeError> {
        match self.key() {
            Err(SafeError::Missing) => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                getrandom::fill(key.as_mut_slice())?;
                let text = Zeroizing::new(hex::encode(key.as_slice()) + "\n");
                self.write_once(text.as_bytes()).map_err(SafeError::Make)?;
                self.key()
            }
            found => found,
        }
    }

    /// Whole or not at all, and never over one that is there.
    fn write_once(&self, text: &[u8]) -> io::Result<()> {
        let beside = self.path.with_extension(format!("{}.tmp", nanoid()));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        let written = file.write_all(text).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| match fs::hard_link(&beside, &self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
        // The reason of a failure matters more than a left-over file.
        drop(fs::remove_file(&beside));
        placed?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

// === impl CredentialKey ===

impl CredentialKey {
    fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = Sha256::new_with_prefix("muxi credential key").chain_update(*key).finalize();
        Self { key, fingerprint: hex::encode(&hash[..8]) }
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
            return Err(SafeError::Foreign);
        }
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SafeError::Changed)?;
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| SafeError::Changed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new_from_slice(self.key.as_slice()).expect("the key has its length")
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CredentialKey").field(&self.fingerprint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let safe = Safe::new(folder.path());
        assert!(matches!(safe.key(), Err(SafeError::Missing)));
        let made = safe.key_or_new().unwrap();
        assert_eq!(safe.key_or_new().unwrap().key, made.key);
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        safe.write_once(b"another").unwrap();
        assert_eq!(safe.key().unwrap().key, made.key);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(safe.key_or_new(), Err(SafeError::Open)));
    }

    #[test]
    fn only_the_same_key_and_context_open_what_was_sealed() {
        let key = CredentialKey::new(Zeroizing::new([1; KEY_BYTES]));
        let other = CredentialKey::new(Zeroizing::new([2; KEY_BYTES]));
        let sealed = key.seal("alice", b"secret").unwrap();
        let by = key.fingerprint();
        assert_eq!(key.open("alice", &sealed, by).unwrap().as_slice(), b"secret");
        assert!(matches!(key.open("bob", &sealed, by), Err(SafeError::Changed)));
        assert!(matches!(other.open("alice", &sealed, by), Err(SafeError::Foreign)));
        assert!(matches!(key.open("alice", &sealed[..9], by), Err(SafeError::Changed)));
    }
}
