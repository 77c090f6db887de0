//! `index.json`: what a registry has.

use serde::{Deserialize, Serialize};

use super::super::bump::parts;
use crate::fault::Fault;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) formations: Vec<Entry>,
    #[serde(flatten)]
    pub(super) others: serde_json::Map<String, serde_json::Value>,
}

/// One version of one formation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    /// Of the bundle, a tar.gz; relative to the index, or whole.
    pub(super) url: String,
    pub(super) sha256: String,
    #[serde(flatten)]
    pub(super) others: serde_json::Map<String, serde_json::Value>,
}

// === impl Index ===

impl Index {
    /// `NAME`, whose newest version is meant, or `NAME@VERSION`.
    pub(super) fn find(&self, reference: &str) -> Result<&Entry, Fault> {
        let (name, version) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        let found = match version {
            Some(version) => {
                self.formations.iter().find(|it| it.name == name && it.version == version)
            }
            None => newest(self, name),
        };
        found.ok_or_else(|| {
            let fault = Fault::not_found(format!("the registry has no {reference}"));
            if version.is_some() && newest(self, name).is_some() {
                return fault.mend(format!("muxi show {name}   lists its versions"));
            }
            fault.mend("muxi search   shows all")
        })
    }
}

pub(super) fn newest<'a>(index: &'a Index, name: &str) -> Option<&'a Entry> {
    index.formations.iter().filter(|it| it.name == name).max_by_key(|it| parts(&it.version))
}

// === impl Entry ===

impl Entry {
    pub(super) fn has(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let texts = [&self.name, &self.description].into_iter().chain(&self.tags);
        texts.into_iter().any(|it| it.to_lowercase().contains(&word))
    }
}
