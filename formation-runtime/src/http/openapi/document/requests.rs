//! What became of requests.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::explanation::Explanation;
use muxi_contract::formation::requests::{RequestCancelled, RequestList, RequestView};

use super::parameters::{AnyUser, NamedRequest};

/// Requests, newest first
///
/// Every turn is one, also of those who waited for it. They are kept for a day.
#[utoipa::path(get, path = "/v1/requests", tag = "requests", operation_id = "list_requests",
    security(("client" = []), ("admin" = [])),
    params(AnyUser,
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("request_list request.list.retrieved"))),
    responses((status = 200, description = "Newest first", body = Envelope<RequestList>)))]
pub(super) fn list() {}

/// One request
///
/// Polled for the answer of an asynchronous one: it is in `result` once `status` is `completed`.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "requests", operation_id = "get_request",
    security(("client" = []), ("admin" = [])), params(AnyUser, NamedRequest),
    extensions(("x-answer" = json!("request_status request.status.retrieved"))),
    responses(
        (status = 200, description = "It is known", body = Envelope<RequestView>),
        (status = 403, description = "`FORBIDDEN`: it is another user's", body = Failure),
    ))]
pub(super) fn one() {}

/// Cancel a request
///
/// Ends the call of the model, or what the request waits for. What was said until then is kept in the
/// session.
#[utoipa::path(delete, path = "/v1/requests/{id}", tag = "requests", operation_id = "cancel_request",
    security(("client" = []), ("admin" = [])), params(AnyUser, NamedRequest),
    extensions(("x-answer" = json!("request_status request.cancelled"))),
    responses(
        (status = 200, description = "It ends", body = Envelope<RequestCancelled>),
        (status = 400, description = "`OPERATION_FAILED`: it has ended", body = Failure),
        (status = 403, description = "`FORBIDDEN`: it is another user's", body = Failure),
    ))]
pub(super) fn cancel() {}

/// Why a request went as it did
///
/// What was decided and why, which models and tools were called, and what came of the parts of a plan.
/// It is told from what was written down; no model is asked.
#[utoipa::path(get, path = "/v1/requests/{id}/explanation", tag = "requests", operation_id = "explain_request",
    security(("client" = []), ("admin" = [])), params(AnyUser, NamedRequest),
    extensions(("x-answer" = json!("request_explanation request.explained"))),
    responses(
        (status = 200, description = "As far as it has come", body = Envelope<Explanation>),
        (status = 403, description = "`FORBIDDEN`: it is another user's", body = Failure),
    ))]
pub(super) fn explanation() {}
