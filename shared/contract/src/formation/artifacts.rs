//! `/v1/artifacts`: files that were made for a user, in versions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::SessionId;

/// How an answer names a file that was made with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactRef {
    #[schema(example = "art_V1StGXR8_Z5jdHi6B-myT")]
    pub id: String,
    pub name: String,
    /// From 1 on, of those with the same name.
    pub version: u32,
    #[schema(example = "image/png")]
    pub content_type: String,
    pub size_bytes: u64,
    /// Where its bytes are, on the formation's own address.
    #[schema(example = "/v1/artifacts/art_V1StGXR8_Z5jdHi6B-myT/content")]
    pub url: String,
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    #[schema(example = "art_V1StGXR8_Z5jdHi6B-myT")]
    pub id: String,
    pub name: String,
    /// From 1 on, of those with the same name.
    pub version: u32,
    /// Whether it is the newest of its name.
    pub is_latest: bool,
    /// The version before it, which may be gone.
    pub parent_id: Option<String>,
    #[schema(example = "image/png")]
    pub content_type: String,
    /// `image`, `audio`, `video`, `document`, `text`, `data` or `other`.
    pub category: String,
    /// Nothing writes summaries in this version.
    pub summary: Option<String>,
    /// Nothing sets tags in this version.
    pub tags: Vec<String>,
    /// Who made it.
    pub agent_id: String,
    /// The session that it was made in.
    pub conversation_id: SessionId,
    pub size_bytes: u64,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// ISO 8601, as the following.
    pub created_at: String,
    /// A version never changes, so this is when it was made.
    pub updated_at: String,
    /// When its bytes were read last; until then when it was made.
    pub last_accessed_at: String,
    /// Where its bytes are, on the formation's own address.
    pub url: String,
}

/// `GET /v1/artifacts`: the newest version of each name, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    pub artifacts: Vec<Artifact>,
    pub count: usize,
    /// Of all names that the user has.
    pub total: u64,
}

/// `GET /v1/artifacts/{id}/versions`, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactVersions {
    pub name: String,
    pub versions: Vec<Artifact>,
    pub count: usize,
}

/// `DELETE /v1/artifacts/{id}`: the file is gone with all of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactDeleted {
    pub id: String,
    pub name: String,
    /// How many versions there were.
    pub versions: usize,
    pub deleted: bool,
}
