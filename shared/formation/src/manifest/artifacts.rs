//! `artifacts`, typed.

use camino::Utf8PathBuf;
use serde::Deserialize;

/// Files that are made for users.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Artifacts {
    /// Whether new ones are kept; what is kept already can be read either way.
    pub enabled: bool,
    pub storage: ArtifactStorage,
    pub encryption: ArtifactEncryption,
    pub retention: ArtifactRetention,
    /// Of one.
    pub max_size_mb: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ArtifactStorage {
    /// A folder below the formation's data folder.
    pub path: Utf8PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ArtifactEncryption {
    pub enabled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ArtifactRetention {
    pub policy: RetentionPolicy,
    /// For ever if it is 0.
    #[serde(rename = "duration")]
    pub days: u32,
}

/// From when on an artifact grows old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionPolicy {
    #[default]
    LastAccessed,
    LastUpdated,
}

// === impl Artifacts ===

impl Artifacts {
    pub fn bytes_max(&self) -> u64 {
        u64::from(self.max_size_mb) << 20
    }
}

impl Default for Artifacts {
    fn default() -> Self {
        Self {
            enabled: true,
            storage: ArtifactStorage::default(),
            encryption: ArtifactEncryption::default(),
            retention: ArtifactRetention::default(),
            max_size_mb: 50,
        }
    }
}

// === impl ArtifactStorage ===

impl Default for ArtifactStorage {
    fn default() -> Self {
        Self { path: "artifacts".into() }
    }
}

// === impl ArtifactEncryption ===

impl Default for ArtifactEncryption {
    fn default() -> Self {
        Self { enabled: true }
    }
}
