//! What is deployed, and acts on it.

use muxi_contract::answers::{Deleted, FormationList, Started, Stopped};
use muxi_contract::management::{
    Completed, FormationView, Problem, RollbackRequest, Success, UpdateCancelled, Updated,
};

/// All formations
#[utoipa::path(get, path = "/rpc/formations", tag = "formations", operation_id = "list_formations",
    responses((status = 200, description = "By id", body = Success<FormationList>)))]
pub(super) fn list() {}

/// Deploy a new formation
///
/// The body is the bundle, a gzipped tar archive. Id and version come from its manifest; headers may
/// name them, too, and must agree then. The answer comes when the formation is healthy. One that does
/// not become healthy is removed again, and the answer has the end of its log.
#[utoipa::path(post, path = "/rpc/formations", tag = "formations", operation_id = "deploy_formation",
    params(
        ("X-Formation-ID" = Option<String>, Header, description = "The id, if it is to be checked"),
        ("X-Formation-Version" = Option<String>, Header, description = "The version, if it is to be checked"),
    ),
    request_body(content_type = "application/gzip", content = Vec<u8>,
        description = "The bundle: `tar -czf bundle.tar.gz my-formation`"),
    responses((status = 201, description = "It serves", content(
        (Success<Completed> = "application/json"), (String = "text/event-stream")))))]
pub(super) fn deploy() {}

/// One formation
#[utoipa::path(get, path = "/rpc/formations/{id}", tag = "formations", operation_id = "get_formation",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It is known", body = Success<FormationView>)))]
pub(super) fn one() {}

/// Delete a formation with everything but its logs
#[utoipa::path(delete, path = "/rpc/formations/{id}", tag = "formations", operation_id = "delete_formation",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It is gone", body = Success<Deleted>)))]
pub(super) fn delete() {}

/// Update a formation to a new generation
///
/// Zero downtime: the new instance is started beside the old one, takes over once it is healthy, and is
/// watched for a while; the old one ends when its open streams have. If the new one fails, the old
/// generation serves on, and the answer has the end of the new one's log.
#[utoipa::path(put, path = "/rpc/formations/{id}", tag = "formations", operation_id = "update_formation",
    params(
        ("id" = String, Path, description = "The formation's id; the bundle's must be the same"),
        ("X-Formation-Version" = Option<String>, Header, description = "The version, if it is to be checked"),
        ("If-Match" = Option<String>, Header, description = "The generation that must serve now, such as `\"3\"`"),
    ),
    request_body(content_type = "application/gzip", content = Vec<u8>, description = "The bundle"),
    responses(
        (status = 200, description = "The new generation serves", content(
            (Success<Updated> = "application/json"), (String = "text/event-stream"))),
        (status = 412, description = "`PreconditionFailed`: another generation serves", body = Problem),
    ))]
pub(super) fn update() {}

/// Start a formation that is stopped or was given up
///
/// A stream opens at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/start", tag = "formations", operation_id = "start_formation",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It serves", content(
        (Success<Started> = "application/json"), (String = "text/event-stream")))))]
pub(super) fn start() {}

/// Start, told as a stream
///
/// It opens at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/start/stream", tag = "formations", operation_id = "start_formation_stream",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "The steps", content((String = "text/event-stream")))))]
pub(super) fn start_stream() {}

/// Stop a formation
///
/// Its port stays its own, and the manager answers there with 503.
#[utoipa::path(post, path = "/rpc/formations/{id}/stop", tag = "formations", operation_id = "stop_formation",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It is stopped", body = Success<Stopped>)))]
pub(super) fn stop() {}

/// Replace the running instance by a fresh one, without a gap
///
/// A stream opens at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/restart", tag = "formations", operation_id = "restart_formation",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It serves again", content(
        (Success<Started> = "application/json"), (String = "text/event-stream")))))]
pub(super) fn restart() {}

/// Restart, told as a stream
///
/// It opens at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/restart/stream", tag = "formations", operation_id = "restart_formation_stream",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "The steps", content((String = "text/event-stream")))))]
pub(super) fn restart_stream() {}

/// Go back to an earlier generation
///
/// To the one that served before, or to any that is kept. Zero downtime, as an update. A stream opens
/// at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/rollback", tag = "formations", operation_id = "rollback_formation",
    params(
        ("id" = String, Path, description = "The formation's id"),
        ("If-Match" = Option<String>, Header, description = "The generation that must serve now"),
    ),
    request_body(content = Option<RollbackRequest>, description = "Which one; nothing means the previous"),
    responses(
        (status = 200, description = "The earlier generation serves", content(
            (Success<Updated> = "application/json"), (String = "text/event-stream"))),
        (status = 412, description = "`PreconditionFailed`: another generation serves", body = Problem),
    ))]
pub(super) fn rollback() {}

/// Go back, told as a stream
///
/// It opens at once: what is refused is its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/rollback/stream", tag = "formations", operation_id = "rollback_formation_stream",
    params(
        ("id" = String, Path, description = "The formation's id"),
        ("If-Match" = Option<String>, Header, description = "The generation that must serve now"),
    ),
    request_body(content = Option<RollbackRequest>, description = "Which one; nothing means the previous"),
    responses(
        (status = 200, description = "The steps", content((String = "text/event-stream"))),
        (status = 412, description = "`PreconditionFailed`: another generation serves", body = Problem),
    ))]
pub(super) fn rollback_stream() {}

/// End an update or a rollback that is under way
///
/// The old generation serves on. The answer has no envelope.
#[utoipa::path(post, path = "/rpc/formations/{id}/cancel-update", tag = "formations", operation_id = "cancel_update",
    params(("id" = String, Path, description = "The formation's id")),
    responses((status = 200, description = "It is cancelled", body = UpdateCancelled)))]
pub(super) fn cancel_update() {}
