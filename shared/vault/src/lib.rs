//! Secrets at rest: `secrets.enc`, one Fernet token over a JSON object of name → value, and `.key`.
//!
//! Invariants: a value leaves only as [`SecretString`]; no error carries a value or a piece of the
//! decrypted text; both files are replaced whole or not at all, the key first.

mod fernet;
mod files;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use fernet::TokenFault;

/// The encrypted values; safe to commit.
pub const SECRETS_FILE: &str = "secrets.enc";
/// The key of [`SECRETS_FILE`]; never to be committed.
pub const KEY_FILE: &str = ".key";

const SECRETS_FILE_BYTES_MAX: u64 = 1024 * 1024;
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The opened secrets of one bundle, by normalised name.
#[derive(Clone, Default)]
pub struct Vault {
    secrets: BTreeMap<String, SecretString>,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("failed to read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is larger than {bytes_max} bytes", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("`{SECRETS_FILE}` is there but its key `{}` is missing", path.display())]
    KeyMissing { path: PathBuf },
    #[error("`{}` is not a Fernet key (url-safe base64 of 32 bytes)", path.display())]
    KeyMalformed { path: PathBuf },
    #[error("failed to decrypt `{}`", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: TokenFault,
    },
    /// Only the place is told: the parser's own words could quote a secret.
    #[error(
        "`{}` does not hold a JSON object of texts (line {line}, column {column} of the decrypted text)",
        path.display()
    )]
    Content { path: PathBuf, line: usize, column: usize },
    #[error("the secret name `{name}` has no letter or digit")]
    NameEmpty { name: String },
    #[error("two secrets share the name `{name}` once it is normalised")]
    NameTwice { name: String },
    #[error("failed to draw random bytes")]
    Random(#[source] getrandom::Error),
}

/// The form under which a secret is stored and found: upper case, every run of other characters
/// than letters and digits is one `_`, none at the ends.
pub fn normalize_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_uppercase).collect::<Vec<_>>().join("_")
}

// === impl Vault ===

impl Vault {
    /// Opens the secrets of the bundle in `folder`; `None` when it has none.
    pub fn open(folder: &Path) -> Result<Option<Self>, VaultError> {
        let path = folder.join(SECRETS_FILE);
        let Some(token) = files::read(&path, SECRETS_FILE_BYTES_MAX)? else { return Ok(None) };
        let key = read_key(folder)?
            .ok_or_else(|| VaultError::KeyMissing { path: folder.join(KEY_FILE) })?;
        let json = fernet::decrypt(&key, token.trim_ascii())
            .map_err(|source| VaultError::Token { path: path.clone(), source })?;
        parse(&json, &path).map(Some)
    }

    /// Looks a secret up; the name may be written in any way that normalises to the stored one.
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.secrets.get(&normalize_name(name))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Sets a secret and gives back the one it replaces.
    pub fn set(
        &mut self,
        name: &str,
        value: SecretString,
    ) -> Result<Option<SecretString>, VaultError> {
        let normal = normalize_name(name);
        if normal.is_empty() {
            return Err(VaultError::NameEmpty { name: name.to_owned() });
        }
        Ok(self.secrets.insert(normal, value))
    }

    pub fn remove(&mut self, name: &str) -> Option<SecretString> {
        self.secrets.remove(&normalize_name(name))
    }

    /// Replaces `secrets.enc` in `folder`, with the key that is there or with a new one.
    ///
    /// `now_unix_s` is stamped into the token, as the format demands; nothing reads it back.
    pub fn save(&self, folder: &Path, now_unix_s: u64) -> Result<(), VaultError> {
        let key = if let Some(key) = read_key(folder)? {
            key
        } else {
            let key = fernet::Key::generate().map_err(VaultError::Random)?;
            files::replace(&folder.join(KEY_FILE), key.to_base64().as_bytes())?;
            key
        };
        let exposed: BTreeMap<&str, &str> =
            self.secrets.iter().map(|(name, value)| (&**name, value.expose_secret())).collect();
        let mut json = Zeroizing::new(Vec::new());
        serde_json::to_writer_pretty(&mut *json, &exposed)
            .expect("a map of texts is always written into memory");
        let token = fernet::encrypt(&key, &json, now_unix_s).map_err(VaultError::Random)?;
        let path = folder.join(SECRETS_FILE);
        // What could not be opened again must not take the place of what can.
        if token.len() as u64 > SECRETS_FILE_BYTES_MAX {
            return Err(VaultError::TooLarge { path, bytes_max: SECRETS_FILE_BYTES_MAX });
        }
        files::replace(&path, token.as_bytes())
    }

    /// Opens the secrets in `folder`, changes and saves them, while no other process does the same.
    /// A change that fails leaves them as they were.
    pub fn change<T, E: From<VaultError>>(
        folder: &Path,
        now_unix_s: u64,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
        // Held until the end: the files themselves are replaced, so a lock on them would be lost.
        let _lock = lock.map_err(|source| VaultError::Write { path: folder.to_owned(), source })?;
        let mut vault = Self::open(folder)?.unwrap_or_default();
        let value = change(&mut vault)?;
        vault.save(folder, now_unix_s)?;
        Ok(value)
    }
}

/// Names only: a vault may end in a log by accident.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("names", &self.secrets.keys()).finish_non_exhaustive()
    }
}

// === private helpers ===

fn read_key(folder: &Path) -> Result<Option<fernet::Key>, VaultError> {
    let path = folder.join(KEY_FILE);
    let Some(text) = files::read(&path, KEY_FILE_BYTES_MAX)? else { return Ok(None) };
    fernet::Key::from_base64(text.trim_ascii()).map(Some).ok_or(VaultError::KeyMalformed { path })
}

fn parse(json: &[u8], path: &Path) -> Result<Vault, VaultError> {
    let stored: BTreeMap<String, Zeroizing<String>> =
        serde_json::from_slice::<BTreeMap<String, String>>(json)
            .map_err(|error| VaultError::Content {
                path: path.to_owned(),
                line: error.line(),
                column: error.column(),
            })?
            .into_iter()
            .map(|(name, value)| (name, Zeroizing::new(value)))
            .collect();
    let mut vault = Vault::default();
    for (name, value) in stored {
        if vault.set(&name, SecretString::from(value.as_str()))?.is_some() {
            return Err(VaultError::NameTwice { name: normalize_name(&name) });
        }
    }
    Ok(vault)
}

#[cfg(test)]
mod tests;
