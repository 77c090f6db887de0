//! The secrets of the formation: those of its bundle, and over them those that were set through the
//! API. The latter lie in the data folder, because a bundle's folder may be read-only.

mod mask;
mod reload;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use muxi_vault::{Vault, VaultError};
use secrecy::SecretString;

use crate::load::Surroundings;
use crate::redact::Redactor;

pub use self::mask::mask;
pub use self::reload::{Effect, ReloadError, Reloaded, after_change, reload};

/// Where the secrets lie, and what the bundle wants them for.
#[derive(Debug)]
pub struct Secrets {
    bundle: PathBuf,
    around: Surroundings,
    uses: Uses,
    /// As they were when they were last taken into use.
    in_use: Mutex<Opened>,
    reloading: tokio::sync::Mutex<()>,
}

/// The normalised names of the secrets that a bundle refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    pub all: BTreeSet<String>,
    /// Those in what is read at the start only, such as the formation's own keys.
    pub until_restart: BTreeSet<String>,
}

/// Both files at one moment.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    bundle: Vault,
    set: Vault,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret '{0}' exists already; PUT replaces it")]
    Exists(String),
    #[error("the secret '{0}' was not found")]
    NotFound(String),
    #[error("the bundle refers to the secret '{0}'")]
    InUse(String),
    #[error("the secret '{0}' is part of the bundle; deploy a bundle without it")]
    OfBundle(String),
    #[error("the secrets could not be read or written")]
    Vault(#[from] VaultError),
}

// === impl Secrets ===

impl Secrets {
    pub fn new(bundle: PathBuf, around: Surroundings, uses: Uses, opened: Opened) -> Self {
        let (in_use, reloading) = (Mutex::new(opened), tokio::sync::Mutex::default());
        Self { bundle, around, uses, in_use, reloading }
    }

    /// Knows them all.
    pub fn redactor(&self) -> &Redactor {
        &self.around.redactor
    }

    /// One of those in use; the environment stands in for what no file has.
    pub fn value(&self, name: &str) -> Option<SecretString> {
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let of_files = in_use.get(name).cloned();
        let variable = || (self.around.environment)(&muxi_vault::normalize_name(name));
        of_files.or_else(|| variable().filter(|it| !it.is_empty()).map(SecretString::from))
    }

    /// The bundle's folder.
    pub fn folder(&self) -> &Path {
        &self.bundle
    }

    /// Where what was set through the API lies.
    pub fn data_dir(&self) -> &Path {
        &self.around.data_dir
    }

    /// As they are on the disk. This and the changes block for as long as the disk takes.
    pub fn read(&self) -> Result<Opened, SecretError> {
        Ok(Opened::read(&self.bundle, &self.around.data_dir)?)
    }

    pub fn create(
        &self,
        name: &str,
        value: SecretString,
        now_unix_s: u64,
    ) -> Result<(), SecretError> {
        self.redactor().learn([&value]);
        self.change(now_unix_s, |vault, bundles| {
            if vault.get(name).or(bundles.get(name)).is_some() {
                return Err(SecretError::Exists(name.to_owned()));
            }
            vault.set(name, value)?;
            Ok(())
        })
    }

    pub fn replace(
        &self,
        name: &str,
        value: SecretString,
        now_unix_s: u64,
    ) -> Result<(), SecretError> {
        self.redactor().learn([&value]);
        self.change(now_unix_s, |vault, bundles| {
            if vault.get(name).or(bundles.get(name)).is_none() {
                return Err(SecretError::NotFound(name.to_owned()));
            }
            vault.set(name, value)?;
            Ok(())
        })
    }

    /// What the bundle refers to stays: without it the next start would fail.
    pub fn delete(&self, name: &str, now_unix_s: u64) -> Result<(), SecretError> {
        self.change(now_unix_s, |vault, bundles| {
            let name = name.to_owned();
            match (vault.get(&name).is_some(), bundles.get(&name).is_some()) {
                (false, false) => Err(SecretError::NotFound(name)),
                _ if self.uses.all.contains(&name) => Err(SecretError::InUse(name)),
                (_, true) => Err(SecretError::OfBundle(name)),
                (true, false) => {
                    vault.remove(&name);
                    Ok(())
                }
            }
        })
    }

    /// `change` gets what may be changed and what may only be read.
    fn change(
        &self,
        now_unix_s: u64,
        change: impl FnOnce(&mut Vault, &Vault) -> Result<(), SecretError>,
    ) -> Result<(), SecretError> {
        let data_dir = &self.around.data_dir;
        let bundles = if is_same(&self.bundle, data_dir) {
            Vault::default()
        } else {
            of_bundle(&self.bundle)?
        };
        Vault::change(data_dir, now_unix_s, |vault| change(vault, &bundles))
    }
}

// === impl Opened ===

impl Opened {
    pub fn read(bundle: &Path, data_dir: &Path) -> Result<Self, VaultError> {
        let set = if is_same(bundle, data_dir) { None } else { Vault::open(data_dir)? };
        Ok(Self { bundle: of_bundle(bundle)?, set: set.unwrap_or_default() })
    }

    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.set.get(name).or_else(|| self.bundle.get(name))
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.bundle.names().chain(self.set.names()).collect()
    }
}

// === private helpers ===

/// Without its key the vault is as good as absent: the environment may hold the secrets.
fn of_bundle(folder: &Path) -> Result<Vault, VaultError> {
    match Vault::open(folder) {
        Ok(vault) => Ok(vault.unwrap_or_default()),
        Err(VaultError::KeyMissing { .. }) => Ok(Vault::default()),
        Err(error) => Err(error),
    }
}

/// A formation without a manager keeps its data in the bundle's folder, so that there is one file.
fn is_same(bundle: &Path, data_dir: &Path) -> bool {
    bundle == data_dir
        || matches!((bundle.canonicalize(), data_dir.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
