//! Formations that are made on the manager, and deploys as the published SDKs call them.

use muxi_contract::draft::{
    BundleReference, DevRun, DevRunRequest, DevStop, DevStopRequest, DraftReply, DraftRequest,
};
use muxi_contract::management::{Completed, Problem, Success, Updated};

/// Make, edit and deploy a draft
///
/// One route for all actions: `init`, `list`, `read`, `write`, `delete`, `deploy` and `discard`.
/// `deploy` makes the draft a deploy or an update and answers as those do.
#[utoipa::path(post, path = "/rpc/formations/{id}/draft/files", tag = "drafts", operation_id = "draft_files",
    params(("id" = String, Path, description = "The formation's id, which need not exist yet")),
    request_body(content = DraftRequest, description = "What to do"),
    responses(
        (status = 200, description = "It is done", content(
            (DraftReply = "application/json"), (String = "text/event-stream"))),
        (status = 201, description = "The draft is deployed", body = Success<Completed>),
    ))]
pub(super) fn files() {}

/// Run a draft, or a folder of the manager's machine
///
/// It is reached below `/draft/{id}/`, with the formation's own keys. Folders are run only below
/// those that `dev.roots` lists. The answer has no envelope.
#[utoipa::path(post, path = "/rpc/dev/run", tag = "drafts", operation_id = "dev_run",
    request_body(content = DevRunRequest, description = "Which"),
    responses((status = 200, description = "It runs", body = DevRun)))]
pub(super) fn run() {}

/// Stop what runs as a draft
#[utoipa::path(post, path = "/rpc/dev/stop", tag = "drafts", operation_id = "dev_stop",
    request_body(content = DevStopRequest, description = "Which"),
    responses((status = 200, description = "It is stopped", body = DevStop)))]
pub(super) fn stop() {}

/// Deploy, with JSON that says where the bundle is
///
/// As the published SDKs call it. `bundle_path` is read only below the folders that the
/// configuration allows; `bundle` is the archive in Base64.
#[utoipa::path(post, path = "/rpc/formations/{id}/deploy", tag = "formations", operation_id = "sdk_deploy",
    params(("id" = String, Path, description = "The formation's id")),
    request_body(content = BundleReference, description = "Where the bundle is"),
    responses(
        (status = 201, description = "It serves", content(
        (Success<Completed> = "application/json"), (String = "text/event-stream"))),
        (status = 422, description = "`InvalidPayload`: the JSON names no bundle that can be read", body = Problem),
    ))]
pub(super) fn deploy() {}

/// The same, told as a stream
///
/// It begins when the JSON is whole: faults of that are its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/deploy/stream", tag = "formations", operation_id = "sdk_deploy_stream",
    params(("id" = String, Path, description = "The formation's id")),
    request_body(content = BundleReference, description = "Where the bundle is"),
    responses(
        (status = 200, description = "The steps", content((String = "text/event-stream"))),
        (status = 422, description = "`InvalidPayload`: the id in the path is none", body = Problem),
    ))]
pub(super) fn deploy_stream() {}

/// Update, with JSON that says where the bundle is
#[utoipa::path(post, path = "/rpc/formations/{id}/update", tag = "formations", operation_id = "sdk_update",
    params(("id" = String, Path, description = "The formation's id")),
    request_body(content = BundleReference, description = "Where the bundle is"),
    responses(
        (status = 200, description = "The new generation serves", content(
        (Success<Updated> = "application/json"), (String = "text/event-stream"))),
        (status = 422, description = "`InvalidPayload`: the JSON names no bundle that can be read", body = Problem),
    ))]
pub(super) fn update() {}

/// The same, told as a stream
///
/// It begins when the JSON is whole: faults of that are its `error`.
#[utoipa::path(post, path = "/rpc/formations/{id}/update/stream", tag = "formations", operation_id = "sdk_update_stream",
    params(("id" = String, Path, description = "The formation's id")),
    request_body(content = BundleReference, description = "Where the bundle is"),
    responses(
        (status = 200, description = "The steps", content((String = "text/event-stream"))),
        (status = 422, description = "`InvalidPayload`: the id in the path is none", body = Problem),
    ))]
pub(super) fn update_stream() {}
