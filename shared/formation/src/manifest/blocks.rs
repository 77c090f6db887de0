//! Small blocks of the manifest.

use serde::Deserialize;

use super::Selection;

/// What of the runtime itself is switched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Runtime {
    pub built_in_mcps: Selection,
}

/// Which skills there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Skills {
    /// Absent: all of the folder `skills/`.
    pub names: Option<Vec<String>>,
    /// Of those that come with this version.
    pub disable_builtin: Option<Selection>,
}

/// Where users entrust a service's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    pub url: String,
    pub label: Option<String>,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UserCredentials {
    /// Told when a credential is needed; absent: words of the runtime's own.
    pub redirect_message: Option<String>,
}

// === impl Skills ===

impl Skills {
    /// Whether a skill that comes with this version is there.
    pub fn has_builtin(&self, name: &str) -> bool {
        self.disable_builtin.as_ref().is_none_or(|disabled| !disabled.includes(name))
    }
}
