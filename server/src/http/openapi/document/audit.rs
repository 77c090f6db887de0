//! What was asked of the manager.

use muxi_contract::audit::{AuditPage, Outcome, ServerLogs};
use muxi_contract::management::Success;

/// Every management call, also the refused ones
///
/// Pages, newest first. Entries form a chain of hashes that `muxi-server audit verify` walks along. For
/// keys with the role `admin`.
#[utoipa::path(get, path = "/rpc/audit", tag = "audit", operation_id = "list_audit",
    params(
        ("actor" = Option<String>, Query, description = "Only of this key"),
        ("target" = Option<String>, Query, description = "Only about this formation, operation or key"),
        ("action" = Option<String>, Query, description = "Only such as `formations.restart`, or all of `formations`"),
        ("outcome" = Option<Outcome>, Query, description = "Only with this outcome"),
        ("since" = Option<String>, Query, description = "Not before this RFC 3339 time"),
        ("until" = Option<String>, Query, description = "Not after this RFC 3339 time"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Default 100"),
    ),
    responses((status = 200, description = "A page", body = Success<AuditPage>)))]
pub(super) fn list() {}

/// The newest entries of the audit log as lines of text
///
/// `time=… level=… method=… path=… auth_key=… remote_addr=… status=… duration_ms=… error=…`, oldest
/// first. For keys with the role `admin`.
#[utoipa::path(get, path = "/rpc/server/logs", tag = "audit", operation_id = "server_logs",
    params(
        ("lines" = Option<u32>, Query, description = "At most so many, default 100, never more than 10000"),
        ("limit" = Option<u32>, Query, description = "The same, as the SDKs call it"),
    ),
    responses((status = 200, description = "Lines; as JSON for clients that accept nothing else", content(
        (String = "text/plain"),
        (Success<ServerLogs> = "application/json"),
    ))))]
pub(super) fn logs() {}
