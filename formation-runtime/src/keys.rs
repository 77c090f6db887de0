//! The two keys of the formation API: the manifest's, or ones made here and kept in the data folder.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use muxi_contract::ids::nanoid;
use muxi_formation::manifest::ServerKeys;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

/// Where generated keys are kept.
pub const KEYS_FILE: &str = "keys.json";

/// Which key a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClass {
    Client,
    Admin,
}

#[derive(Debug)]
pub struct Keys {
    client: SecretString,
    admin: SecretString,
    /// Which of them are not in the manifest, and whether this start made them.
    pub generated: Vec<Generated>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    pub class: KeyClass,
    pub is_new: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("failed to read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The parser's own words could quote a key.
    #[error("`{}` is not a JSON object of texts; remove it to have new keys made", path.display())]
    Malformed { path: PathBuf },
    #[error("failed to write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

// === impl KeyClass ===

impl KeyClass {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Client => "client_key",
            Self::Admin => "admin_key",
        }
    }
}

impl fmt::Display for KeyClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

// === impl Keys ===

impl Keys {
    /// The manifest's keys; what it lacks comes from the file in `data_dir`, which is made if need
    /// be, so that generated keys survive a restart.
    pub fn settle(manifest: &ServerKeys, data_dir: &Path) -> Result<Self, KeysError> {
        let path = data_dir.join(KEYS_FILE);
        let given = |key: &Option<SecretString>| {
            key.clone().filter(|key| !key.expose_secret().trim().is_empty())
        };
        let (client, admin) = (given(&manifest.client_key), given(&manifest.admin_key));
        if let (Some(client), Some(admin)) = (&client, &admin) {
            let (client, admin) = (client.clone(), admin.clone());
            return Ok(Self { client, admin, generated: Vec::new() });
        }
        let mut kept = read(&path)?;
        let mut generated = Vec::new();
        let mut settle = |class: KeyClass, given: Option<SecretString>| {
            if let Some(key) = given {
                return key;
            }
            let stored = kept.get(class.field()).and_then(Value::as_str).map(SecretString::from);
            generated.push(Generated { class, is_new: stored.is_none() });
            stored.unwrap_or_else(|| {
                let key = generate(class);
                kept.insert(class.field().to_owned(), key.expose_secret().into());
                key
            })
        };
        let (client, admin) = (settle(KeyClass::Client, client), settle(KeyClass::Admin, admin));
        if generated.iter().any(|key| key.is_new) {
            write(&path, &kept).map_err(|source| KeysError::Write { path, source })?;
        }
        Ok(Self { client, admin, generated })
    }

    /// Takes the same time wherever the keys differ.
    pub fn is(&self, class: KeyClass, given: &[u8]) -> bool {
        self.get(class).expose_secret().as_bytes().ct_eq(given).into()
    }

    pub fn get(&self, class: KeyClass) -> &SecretString {
        match class {
            KeyClass::Client => &self.client,
            KeyClass::Admin => &self.admin,
        }
    }
}

// === private helpers ===

const GENERATED_CHARS: usize = 24;
const FILE_BYTES_MAX: u64 = 64 * 1024;

fn generate(class: KeyClass) -> SecretString {
    let mut key = format!("sk_muxi_{class}_");
    let start = key.len();
    while key.len() < start + GENERATED_CHARS {
        let room = start + GENERATED_CHARS - key.len();
        key.extend(nanoid().chars().filter(char::is_ascii_alphanumeric).take(room));
    }
    key.into()
}

fn read(path: &Path) -> Result<Map<String, Value>, KeysError> {
    let failed = |source| KeysError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(failed(error)),
    };
    let text = io::read_to_string(io::Read::take(file, FILE_BYTES_MAX)).map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| KeysError::Malformed { path: path.to_owned() })
}

/// Whole or not at all, and readable by the owner only from the first byte on.
fn write(path: &Path, keys: &Map<String, Value>) -> io::Result<()> {
    // Not the process id: in a container that was killed here the next one has the same.
    let beside = path.with_extension(format!("{}.tmp", nanoid()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
    let written = serde_json::to_vec_pretty(keys)
        .map_err(io::Error::from)
        .and_then(|json| file.write_all(&json))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The reason of the failure matters more than a left-over file.
        drop(fs::remove_file(&beside));
    }
    written?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn generated_keys_have_the_documented_form_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::settle(&ServerKeys::default(), folder.path()).unwrap();
        for class in [KeyClass::Client, KeyClass::Admin] {
            let key = first.get(class).expose_secret();
            let random = key.strip_prefix(&format!("sk_muxi_{class}_")).unwrap();
            assert_eq!(random.len(), GENERATED_CHARS);
            assert!(random.chars().all(|c| c.is_ascii_alphanumeric()), "{random}");
        }
        assert!(first.generated.iter().all(|key| key.is_new));
        let file = folder.path().join(KEYS_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let second = Keys::settle(&ServerKeys::default(), folder.path()).unwrap();
        for class in [KeyClass::Client, KeyClass::Admin] {
            assert!(second.is(class, first.get(class).expose_secret().as_bytes()));
        }
        assert!(second.generated.iter().all(|key| !key.is_new));
    }

    #[test]
    fn the_manifests_keys_win_and_nothing_is_written_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let given =
            ServerKeys { admin_key: Some("fma_1".into()), client_key: Some("fmc_1".into()) };
        let keys = Keys::settle(&given, folder.path()).unwrap();
        assert!(keys.is(KeyClass::Client, b"fmc_1") && keys.is(KeyClass::Admin, b"fma_1"));
        assert!(!keys.is(KeyClass::Client, b"fma_1") && !keys.is(KeyClass::Client, b""));
        assert!(!folder.path().join(KEYS_FILE).exists());
    }

    #[test]
    fn a_broken_file_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(KEYS_FILE);
        fs::write(&file, "{ sk_muxi").unwrap();
        let error = Keys::settle(&ServerKeys::default(), folder.path()).unwrap_err();
        assert!(matches!(error, KeysError::Malformed { .. }));
        assert_eq!(fs::read_to_string(&file).unwrap(), "{ sk_muxi");
    }
}
