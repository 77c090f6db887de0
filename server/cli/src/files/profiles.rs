//! Managers that the user knows, and which of them a command is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Home, VERSION, bundle, document, local_manager, variable};
use crate::exit::Exit;
use crate::fault::Fault;

const FILE: &str = "profiles.yaml";
/// What older versions called it.
const OLDER_FILE: &str = "servers.yaml";
/// The profile that the environment gives.
pub(crate) const ENVIRONMENT: &str = "environment";
/// The profile that nobody had to add: the manager that this user has on this machine.
pub(crate) const LOCAL: &str = "local";

/// `profiles.yaml`. What is not known here is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Written")]
#[expect(clippy::struct_field_names, reason = "the file names them so")]
pub(crate) struct Profiles {
    pub(crate) version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_profile: Option<String>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

/// The file with the names that older versions and their documents have, beside those of today or in their
/// place.
#[derive(Deserialize)]
#[serde(default)]
struct Written {
    version: String,
    default_profile: Option<String>,
    default: Option<String>,
    profiles: BTreeMap<String, Profile>,
    servers: BTreeMap<String, Profile>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_yaml::Value>,
}

/// How a manager is reached.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) key_id: String,
    #[serde(default)]
    pub(crate) secret_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_at: Option<String>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

/// The profile that a command is for.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) profile: Profile,
}

// === impl Chosen ===

impl Chosen {
    /// If a port is given, the manager of this machine that listens there, with the same key.
    pub(crate) fn on_port(mut self, port: Option<u16>) -> Self {
        if let Some(port) = port {
            self.profile.url = format!("http://127.0.0.1:{port}");
        }
        self
    }
}

// === impl Profiles ===

impl Profiles {
    pub(crate) fn read(home: &Home) -> Result<Self, Fault> {
        for name in [FILE, OLDER_FILE] {
            if let Some(profiles) = document::read(&home.file(name))? {
                return Ok(profiles);
            }
        }
        Ok(Self::default())
    }

    pub(crate) fn write(&self, home: &Home) -> Result<(), Fault> {
        document::write(&home.file(FILE), self)
    }

    /// The flag, else the environment, else the formation's folder, else the default, else the only one,
    /// else the manager of this machine.
    pub(crate) fn choose(
        home: &Home,
        flag: Option<&str>,
        folder: &bundle::Settings,
    ) -> Result<Chosen, Fault> {
        let profiles = Self::read(home)?;
        let asked = flag.map(str::to_owned).or_else(|| variable("MUXI_PROFILE"));
        if asked.is_none()
            && let Some(profile) = Profile::from_environment()?
        {
            return Ok(Chosen { name: ENVIRONMENT.to_owned(), profile });
        }
        let name = asked
            .or_else(|| folder.profile.clone())
            .or_else(|| profiles.usual().map(str::to_owned));
        if let Some(name) = name {
            return profiles.named(home, &name);
        }
        if let Some(profile) = local_manager::profile(home)? {
            return Ok(Chosen { name: LOCAL.to_owned(), profile });
        }
        if !profiles.profiles.is_empty() {
            let known: Vec<&str> = profiles.profiles.keys().map(String::as_str).collect();
            let message = format!("which manager? There are {}", known.join(", "));
            return Err(Fault::new(Exit::Usage, "NoProfile", message)
                .mend("--profile NAME   names one for this command")
                .mend("muxi set default profile NAME   names one for all"));
        }
        Err(Fault::new(Exit::Usage, "NoProfile", "no manager is known")
            .mend("muxi-server init && muxi-server start   makes one on this machine")
            .mend("muxi profiles add NAME --url URL --key-id ID --secret-key KEY   names one elsewhere"))
    }

    /// The default, or the only one.
    pub(crate) fn usual(&self) -> Option<&str> {
        let known = |name: &&String| self.profiles.contains_key(*name) || *name == LOCAL;
        let only = || (self.profiles.len() == 1).then(|| self.profiles.keys().next()).flatten();
        self.default_profile.as_ref().filter(known).or_else(only).map(String::as_str)
    }

    fn named(&self, home: &Home, name: &str) -> Result<Chosen, Fault> {
        if let Some(profile) = self.profiles.get(name) {
            return Ok(Chosen { name: name.to_owned(), profile: profile.clone() });
        }
        if name == LOCAL
            && let Some(profile) = local_manager::profile(home)?
        {
            return Ok(Chosen { name: LOCAL.to_owned(), profile });
        }
        let local = local_manager::profile(home)?.map(|_| LOCAL);
        let known: Vec<&str> = self.profiles.keys().map(String::as_str).chain(local).collect();
        let known = if known.is_empty() {
            "there is none yet".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        };
        Err(Fault::not_found(format!("there is no profile {name}; {known}"))
            .mend(format!("muxi profiles add {name} --url URL --key-id ID --secret-key KEY")))
    }
}

impl From<Written> for Profiles {
    fn from(written: Written) -> Self {
        let Written { version, default_profile, default, profiles, mut servers, others } = written;
        servers.extend(profiles);
        Self { version, default_profile: default_profile.or(default), profiles: servers, others }
    }
}

impl Default for Written {
    fn default() -> Self {
        let (profiles, servers, others) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (version, default_profile, default) = (VERSION.to_owned(), None, None);
        Self { version, default_profile, default, profiles, servers, others }
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Written::default().into()
    }
}

// === impl Profile ===

impl Profile {
    pub(crate) fn new(url: &str, key_id: &str, secret_key: &str) -> Self {
        let [url, key_id, secret_key] = [url, key_id, secret_key].map(str::to_owned);
        Self { url, key_id, secret_key, added_at: None, others: BTreeMap::new() }
    }

    /// From the three variables; one alone is a mistake that is told.
    fn from_environment() -> Result<Option<Self>, Fault> {
        const NAMES: [&str; 3] = ["MUXI_SERVER_URL", "MUXI_KEY_ID", "MUXI_SECRET_KEY"];
        let values = NAMES.map(variable);
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        let missing = NAMES.iter().zip(&values).filter(|(_, value)| value.is_none());
        let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
        let [Some(url), Some(key_id), Some(secret_key)] = values else {
            return Err(Fault::usage("the environment names a manager only in part")
                .mend(format!("set {}, too", missing.join(" and "))));
        };
        Ok(Some(Self::new(&url, &key_id, &secret_key)))
    }
}

/// Never with its secret.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, key_id, .. } = self;
        f.debug_struct("Profile").field("url", url).field("key_id", key_id).finish_non_exhaustive()
    }
}
