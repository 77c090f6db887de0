//! Files that were made for a user.

use muxi_contract::envelope::Envelope;
use muxi_contract::formation::artifacts::{
    Artifact, ArtifactDeleted, ArtifactList, ArtifactVersions,
};

use super::parameters::{NamedArtifact, User};

/// A user's files
///
/// The newest version of each.
#[utoipa::path(get, path = "/v1/artifacts", tag = "artifacts", operation_id = "list_artifacts",
    security(("client" = []), ("admin" = [])),
    params(User, ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 100)),
    extensions(("x-answer" = json!("artifact_list artifact.list"))),
    responses((status = 200, description = "The latest first", body = Envelope<ArtifactList>)))]
pub(super) fn list() {}

/// One version of a file
#[utoipa::path(get, path = "/v1/artifacts/{id}", tag = "artifacts", operation_id = "get_artifact",
    security(("client" = []), ("admin" = [])), params(User, NamedArtifact),
    extensions(("x-answer" = json!("artifact artifact.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Artifact>)))]
pub(super) fn one() {}

/// All versions of a file
#[utoipa::path(get, path = "/v1/artifacts/{id}/versions", tag = "artifacts", operation_id = "list_artifact_versions",
    security(("client" = []), ("admin" = [])), params(User, NamedArtifact),
    extensions(("x-answer" = json!("artifact_versions artifact.versions.retrieved"))),
    responses((status = 200, description = "The newest first", body = Envelope<ArtifactVersions>)))]
pub(super) fn versions() {}

/// The bytes of a file
///
/// With the type that the model gave it. `ETag` is their hash, so that nobody reads them twice.
#[utoipa::path(get, path = "/v1/artifacts/{id}/content", tag = "artifacts", operation_id = "get_artifact_content",
    security(("client" = []), ("admin" = [])),
    params(User, NamedArtifact,
        ("version" = Option<u32>, Query, description = "Another version of the same name", minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of what the caller has")),
    responses(
        (status = 200, description = "The bytes", body = Vec<u8>, content_type = "*/*", headers(
            ("Content-Disposition" = String, description = "`inline`, with the name (RFC 6266)"),
            ("ETag" = String, description = "Of these bytes"),
            ("X-Muxi-Artifact-Id" = String, description = "Of this version"),
            ("X-Muxi-Artifact-Version" = String, description = "From 1 on"))),
        (status = 304, description = "The caller has them"),
    ))]
pub(super) fn content() {}

/// Delete a file
///
/// With all of its versions.
#[utoipa::path(delete, path = "/v1/artifacts/{id}", tag = "artifacts", operation_id = "delete_artifact",
    security(("client" = []), ("admin" = [])), params(User, NamedArtifact),
    extensions(("x-answer" = json!("artifact artifact.deleted"))),
    responses((status = 200, description = "It is gone", body = Envelope<ArtifactDeleted>)))]
pub(super) fn delete() {}
