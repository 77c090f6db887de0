//! `registries.yaml`: where formations of others are found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Home, VERSION, document};
use crate::fault::Fault;

const FILE: &str = "registries.yaml";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the file names them so")]
pub(crate) struct Registries {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default_registry: Option<String>,
    #[serde(default)]
    pub(crate) registries: BTreeMap<String, serde_yaml::Value>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

// === impl Registries ===

impl Registries {
    pub(crate) fn read(home: &Home) -> Result<Self, Fault> {
        Ok(document::read(&home.file(FILE))?.unwrap_or_default())
    }

    pub(crate) fn write(&self, home: &Home) -> Result<(), Fault> {
        document::write(&home.file(FILE), self)
    }
}

impl Default for Registries {
    fn default() -> Self {
        let (version, default_registry) = (VERSION.to_owned(), None);
        Self { version, default_registry, registries: BTreeMap::new(), others: BTreeMap::new() }
    }
}
