//! `formations.yaml`: keys of formations that do not lie in a folder here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Home, VERSION, document};
use crate::fault::Fault;

const FILE: &str = "formations.yaml";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the file names them so")]
pub(crate) struct Formations {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) formations: BTreeMap<String, Saved>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default_profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default_user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_at: Option<String>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

// === impl Formations ===

impl Formations {
    pub(crate) fn read(home: &Home) -> Result<Self, Fault> {
        Ok(document::read(&home.file(FILE))?.unwrap_or_default())
    }

    pub(crate) fn write(&self, home: &Home) -> Result<(), Fault> {
        document::write(&home.file(FILE), self)
    }
}

impl Default for Formations {
    fn default() -> Self {
        let version = VERSION.to_owned();
        Self { version, formations: BTreeMap::new(), others: BTreeMap::new() }
    }
}

/// Never with its keys.
impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved")
            .field("default_profile", &self.default_profile)
            .finish_non_exhaustive()
    }
}
