//! What operators did.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::audit::{AuditCleared, AuditLog};
use utoipa::ToSchema;

use crate::http::audit::Resource;

/// What must be said to clear the log.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
enum Confirmation {
    ClearAuditLog,
}

/// What operators did, newest first
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit_log",
    security(("admin" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "At most so many", minimum = 1, maximum = 1000),
        ("action" = Option<String>, Query, description = "Only this action", example = "secret.created"),
        ("resource_type" = Option<Resource>, Query, description = "Only what was done to things of this kind"),
        ("since" = Option<String>, Query, description = "Only from this time on: ISO 8601, or a day; without a zone it is UTC",
            example = "2026-01-31T12:00:00Z")),
    extensions(("x-answer" = json!("audit_log audit.retrieved"))),
    responses(
        (status = 200, description = "Newest first", body = Envelope<AuditLog>),
        (status = 400, description = "`INVALID_PARAMETER`: `since` is no time", body = Failure),
    ))]
pub(super) fn list() {}

/// Clear the log
///
/// That it was cleared is its first entry then.
#[utoipa::path(delete, path = "/v1/audit", tag = "audit", operation_id = "clear_audit_log",
    security(("admin" = [])),
    params(("confirm" = inline(Confirmation), Query, description = "The word that says that this is meant")),
    extensions(("x-answer" = json!("audit_log audit.cleared"))),
    responses(
        (status = 200, description = "It is empty", body = Envelope<AuditCleared>),
        (status = 400, description = "`INVALID_PARAMETER`: the word is missing", body = Failure),
    ))]
pub(super) fn clear() {}
