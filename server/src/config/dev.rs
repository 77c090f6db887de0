//! Running folders of this machine as drafts.

use serde::{Deserialize, Serialize};

/// `POST /rpc/dev/run` with a path. Drafts that are edited through the API can always be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevConfig {
    /// Whether folders may be run at all.
    pub enabled: bool,
    /// Absolute paths; only what lies below one of them may be run.
    pub roots: Vec<String>,
}

// === impl DevConfig ===

impl DevConfig {
    pub(super) fn faults(&self) -> Vec<String> {
        absolute("dev.roots", &self.roots)
    }
}

/// What is wrong with a list of folders.
pub(super) fn absolute(key: &str, folders: &[String]) -> Vec<String> {
    let relative = folders.iter().filter(|folder| !folder.starts_with('/'));
    relative.map(|folder| format!("{key}: `{folder}` must be an absolute path")).collect()
}
