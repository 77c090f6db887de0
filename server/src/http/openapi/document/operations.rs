//! Acts under way and done.

use muxi_contract::management::{OperationList, OperationView, Success};

/// Operations, newest first
#[utoipa::path(get, path = "/rpc/operations", tag = "operations", operation_id = "list_operations",
    params(
        ("formation" = Option<String>, Query, description = "Only of this formation, its draft included"),
        ("limit" = Option<u32>, Query, maximum = 100, description = "Default 100"),
    ),
    responses((status = 200, description = "Without their steps", body = Success<OperationList>)))]
pub(super) fn list() {}

/// One operation with its steps
#[utoipa::path(get, path = "/rpc/operations/{id}", tag = "operations", operation_id = "get_operation",
    params(("id" = String, Path, description = "The operation's id")),
    responses((status = 200, description = "It is known", body = Success<OperationView>)))]
pub(super) fn one() {}

/// The steps of an operation as a stream
///
/// From the first, or from the one after `Last-Event-ID`, until its last.
#[utoipa::path(get, path = "/rpc/operations/{id}/stream", tag = "operations", operation_id = "follow_operation",
    params(
        ("id" = String, Path, description = "The operation's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The number of the last step that was seen"),
    ),
    responses((status = 200, description = "The steps", content((String = "text/event-stream")))))]
pub(super) fn stream() {}
