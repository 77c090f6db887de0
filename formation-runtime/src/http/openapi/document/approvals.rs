//! What agents may only do when their user agrees.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::approvals::{
    Approval, ApprovalDecided, ApprovalDecision, ApprovalList,
};

use super::parameters::User;

/// Approvals, newest first
///
/// Those of the user. A message in the session of an open one answers it as well.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", operation_id = "list_approvals",
    security(("client" = [])),
    params(User,
        ("status" = Option<String>, Query, example = "open",
            description = "`open` unless said otherwise; `approved`, `denied`, `answered`, `cancelled`, `expired` or `all`"),
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("approval_list approval.list.retrieved"))),
    responses((status = 200, description = "Newest first", body = Envelope<ApprovalList>)))]
pub(super) fn list() {}

/// One approval
#[utoipa::path(get, path = "/v1/approvals/{id}", tag = "approvals", operation_id = "get_approval",
    security(("client" = [])),
    params(User, ("id" = String, Path, description = "The approval's id")),
    extensions(("x-answer" = json!("approval approval.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Approval>)))]
pub(super) fn get() {}

/// Decide an approval
///
/// The request that waits goes on under its own id. A plan can be changed on the way: `plan` holds what is
/// done instead.
#[utoipa::path(post, path = "/v1/approvals/{id}", tag = "approvals", operation_id = "decide_approval",
    security(("client" = [])),
    params(User, ("id" = String, Path, description = "The approval's id")),
    request_body(content = ApprovalDecision, content_type = "application/json"),
    extensions(("x-answer" = json!("approval approval.decided"))),
    responses(
        (status = 202, description = "The request goes on", body = Envelope<ApprovalDecided>),
        (status = 400, description = "`PARSE_ERROR`, `INVALID_REQUEST`, or `OPERATION_FAILED`: what it takes to go on was written by \
                                      another version", body = Failure),
        (status = 409, description = "`CONFLICT`: it was decided before, its time is over, or its request is open", body = Failure),
    ))]
pub(super) fn decide() {}
