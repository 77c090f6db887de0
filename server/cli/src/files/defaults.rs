//! `defaults.yaml`: who the user is where nothing else says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Home, VERSION, document};
use crate::fault::Fault;

const FILE: &str = "defaults.yaml";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Defaults {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, serde_yaml::Value>,
}

// === impl Defaults ===

impl Defaults {
    pub(crate) fn read(home: &Home) -> Result<Self, Fault> {
        Ok(document::read(&home.file(FILE))?.unwrap_or_default())
    }

    pub(crate) fn write(&self, home: &Home) -> Result<(), Fault> {
        document::write(&home.file(FILE), self)
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self { version: VERSION.to_owned(), user_id: None, others: BTreeMap::new() }
    }
}
