//! The master key: what secrets are sealed with at rest.
//!
//! HMAC needs a key's secret itself, so it cannot be stored as a hash. It is sealed with
//! XChaCha20-Poly1305 under a key of its own file, `manager.key` beside config.yaml, made at first
//! use and readable by this user only. It never lies in the data folder unless the two folders are
//! the same, so a copy of the data alone opens nothing.
//!
//! When the file is lost, a new one is made at the next start: keys of config.yaml go on, stored
//! keys are `unreadable` until they are rotated, kept answers are forgotten, and `audit verify`
//! says that the seal is of another master key.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The key and what is derived from it.
#[derive(Clone)]
pub struct MasterKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    fingerprint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("failed to read the master key {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "failed to make the master key {path}; the folder must be writable once, and `muxi-server service \
         install` makes it for a service of the machine"
    )]
    Make { path: PathBuf, source: io::Error },
    #[error("other users can read the master key {0}; run `chmod 600 {0}`")]
    Open(PathBuf),
    #[error(
        "{0} is no master key; put the right one back, or move it away to have a new one made, \
         which makes stored keys unreadable until they are rotated"
    )]
    Malformed(PathBuf),
    #[error("the system's random source did not answer")]
    Random(#[from] getrandom::Error),
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

// === impl MasterKey ===

impl MasterKey {
    /// Reads the file, or makes it. Two processes that make it at once agree on one.
    pub fn load_or_make(path: &Path) -> Result<Self, MasterKeyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        Self::make(path)?;
        Self::load(path)?.ok_or_else(|| MasterKeyError::Malformed(path.to_owned()))
    }

    fn load(path: &Path) -> Result<Option<Self>, MasterKeyError> {
        let read = |source| MasterKeyError::Read { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(read(source)),
        };
        if fs::metadata(path).map_err(read)?.permissions().mode() & 0o077 != 0 {
            return Err(MasterKeyError::Open(path.to_owned()));
        }
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice())
            .map_err(|_| MasterKeyError::Malformed(path.to_owned()))?;
        Ok(Some(Self::from_bytes(key)))
    }

    fn make(path: &Path) -> Result<(), MasterKeyError> {
        let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice())?;
        let text = Zeroizing::new(hex::encode(bytes.as_slice()) + "\n");
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Temporary files are made for this user only.
            let mut file = tempfile::Builder::new().prefix(".manager.key-").tempfile_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(path) {
                Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error.error);
                }
                _ => {}
            }
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|source| MasterKeyError::Make { path: path.to_owned(), source })
    }

    fn from_bytes(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = Sha256::new_with_prefix("muxi master key fingerprint").chain_update(*key);
        let fingerprint = hex::encode(&hash.finalize()[..8]);
        Self { key, fingerprint }
    }

    /// Tells master keys apart, and tells nothing else about one.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// `context` says what it is; only with the same is it opened again.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        Ok([&nonce[..], &sealed.expect("what is sealed fits into memory")].concat())
    }

    /// Nothing if it was sealed with another key, for another context, or was changed.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    /// A hash that only the holder of the key can make.
    pub fn mac(&self, context: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.hmac(context, parts).finalize().into_bytes().into()
    }

    pub fn is_mac(&self, context: &str, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.hmac(context, parts).verify_slice(mac).is_ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new_from_slice(self.key.as_slice()).expect("the key has its length")
    }

    fn hmac(&self, context: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        // A key of its own for each use, so that no use can be mistaken for another.
        let derive = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.key.as_slice());
        let own = derive.expect("HMAC takes keys of any length").chain_update(context).finalize();
        let hmac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&own.into_bytes());
        let hmac = hmac.expect("HMAC takes keys of any length");
        parts.iter().fold(hmac, hmac::Mac::chain_update)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKey").field(&self.fingerprint).finish()
    }
}

#[cfg(test)]
impl MasterKey {
    pub(crate) fn for_tests(byte: u8) -> Self {
        Self::from_bytes(Zeroizing::new([byte; KEY_BYTES]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/manager.key");
        let made = MasterKey::load_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::load_or_make(&path).unwrap().key, made.key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::load_or_make(&path), Err(MasterKeyError::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not hex").unwrap();
        assert!(matches!(MasterKey::load_or_make(&path), Err(MasterKeyError::Malformed(_))));
    }

    #[test]
    fn only_the_same_key_and_context_open_what_was_sealed() {
        let key = MasterKey::for_tests(1);
        let sealed = key.seal("a", b"secret").unwrap();
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"secret");
        assert_ne!(key.seal("a", b"secret").unwrap(), sealed, "each nonce is fresh");
        assert!(key.open("b", &sealed).is_none());
        assert!(MasterKey::for_tests(2).open("a", &sealed).is_none());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(key.open("a", &changed).is_none());
        assert!(key.open("a", &sealed[..10]).is_none());
    }

    #[test]
    fn a_mac_is_bound_to_its_use() {
        let key = MasterKey::for_tests(1);
        let mac = key.mac("a", &[b"x"]);
        assert!(key.is_mac("a", &[b"x"], &mac));
        assert!(!key.is_mac("b", &[b"x"], &mac));
        assert!(!MasterKey::for_tests(2).is_mac("a", &[b"x"], &mac));
    }
}
