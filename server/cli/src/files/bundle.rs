//! A formation's folder: where it is, who it is, and what `.muxi` in it remembers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use muxi_contract::FormationId;
use muxi_formation::MANIFEST_NAMES;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::document;
use crate::exit::Exit;
use crate::fault::Fault;
use muxi_vault::Vault;

/// How many folders up a manifest is looked for.
const PARENTS_MAX: usize = 5;
const SETTINGS: &str = ".muxi";
const SETTINGS_WITHIN: &str = "folder.yaml";
/// How a manifest is called that is made here.
pub(crate) const MANIFEST: &str = MANIFEST_NAMES[0];

/// The folder of a formation.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: PathBuf,
}

/// `DIR/.muxi`: what commands in this folder mean when they do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    /// Commands speak to the draft that `muxi up` runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) draft: bool,
    /// Where the draft runs, if `muxi up` was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draft_profile: Option<String>,
    /// On this machine, in the place of the profile's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draft_port: Option<u16>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

/// The first lines of a manifest that every command needs.
#[derive(Debug, Deserialize)]
struct Head {
    id: Option<String>,
    version: Option<String>,
}

// === impl Settings ===

impl Settings {
    /// The profile and the port of the manager that runs the draft: those that are given, if any is, else
    /// those that `muxi up` was told.
    pub(crate) fn draft_place(
        &self,
        profile: Option<&String>,
        port: Option<u16>,
    ) -> (Option<String>, Option<u16>) {
        if profile.is_some() || port.is_some() {
            return (profile.cloned(), port);
        }
        (self.draft_profile.clone(), self.draft_port)
    }
}

// === impl Bundle ===

impl Bundle {
    /// In `from` or up to five folders above it.
    pub(crate) fn find(from: &Path) -> Option<Self> {
        from.ancestors().take(PARENTS_MAX + 1).find_map(Self::at)
    }

    pub(crate) fn at(folder: &Path) -> Option<Self> {
        let manifest =
            MANIFEST_NAMES.iter().map(|name| folder.join(name)).find(|it| it.is_file())?;
        Some(Self { folder: folder.to_owned(), manifest })
    }

    /// The one that a command needs, which must be there.
    pub(crate) fn required(from: &Path) -> Result<Self, Fault> {
        Self::find(from).ok_or_else(|| {
            let message = format!("no formation.afs in {} or above it", from.display());
            Fault::new(Exit::NotFound, "NoFormation", message)
                .mend("go into a formation's folder")
                .mend("muxi new formation NAME   makes one")
        })
    }

    pub(crate) fn id(&self) -> Result<FormationId, Fault> {
        let id = self.head()?.id.ok_or_else(|| {
            Fault::failed(format!("{} has no `id`", self.manifest.display()))
                .mend("write `id: my-team` into it")
        })?;
        id.parse().map_err(|error| {
            Fault::failed(format!("the id `{id}` in {}: {error}", self.manifest.display()))
        })
    }

    /// 1.0.0 when none is written.
    pub(crate) fn version(&self) -> Result<String, Fault> {
        Ok(self.head()?.version.unwrap_or_else(|| "1.0.0".to_owned()))
    }

    pub(crate) fn settings(&self) -> Result<Settings, Fault> {
        Ok(document::read(&self.settings_file())?.unwrap_or_default())
    }

    /// Nothing to remember leaves no file behind.
    pub(crate) fn remember(&self, settings: &Settings) -> Result<(), Fault> {
        let path = self.settings_file();
        if *settings != Settings::default() {
            return document::write(&path, settings);
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::file("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// In a home folder, the name is taken by the folder of all settings.
    fn settings_file(&self) -> PathBuf {
        let path = self.folder.join(SETTINGS);
        if path.is_dir() { path.join(SETTINGS_WITHIN) } else { path }
    }

    pub(crate) fn vault(&self) -> Result<Option<Vault>, Fault> {
        Vault::open(&self.folder).map_err(|error| {
            Fault::failed(error_chain(&error))
                .mend("put the .key back that secrets.enc was made with")
        })
    }

    /// The admin and the client key, as the manifest names them, else by their usual names.
    pub(crate) fn keys(&self) -> (Option<SecretString>, Option<SecretString>) {
        let vault = self.vault().ok().flatten().unwrap_or_default();
        let secret = |name: &str| vault.get(name).cloned();
        let value = |source, name: &str| match source {
            muxi_formation::Source::Secrets => secret(name)
                .map(|it| it.expose_secret().to_owned())
                .or_else(|| super::variable(name)),
            muxi_formation::Source::Env => super::variable(name),
        };
        // Whatever else is missing does not matter here.
        let lenient = |source, name: &str| Some(value(source, name).unwrap_or_default());
        let loaded =
            muxi_formation::load(&self.folder, muxi_formation::Resolve::With(&lenient)).ok();
        let given = loaded.map(|it| it.manifest.server.api_keys.clone()).unwrap_or_default();
        let filled = |key: Option<SecretString>| key.filter(|it| !it.expose_secret().is_empty());
        (
            filled(given.admin_key).or_else(|| secret("FORMATION_ADMIN_API_KEY")),
            filled(given.client_key).or_else(|| secret("FORMATION_CLIENT_API_KEY")),
        )
    }

    fn head(&self) -> Result<Head, Fault> {
        document::read(&self.manifest)?
            .ok_or_else(|| Fault::not_found(format!("{} is gone", self.manifest.display())))
    }
}

/// An error with what caused it.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
