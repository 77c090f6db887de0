//! What formations wrote, and their files.

use muxi_contract::logs::LogsAnswer;
use muxi_contract::management::Success;

/// The log of a formation
///
/// The last lines of each stream, or with `follow` those to come, as a stream.
#[utoipa::path(get, path = "/rpc/formations/{id}/logs", tag = "logs", operation_id = "get_logs",
    params(
        ("id" = String, Path, description = "The formation's id"),
        ("lines" = Option<u32>, Query, description = "How many; default 100, at most 10000"),
        ("limit" = Option<u32>, Query, description = "The same as `lines`"),
        ("stream" = Option<String>, Query, description = "`stdout`, `stderr` or `all`"),
        ("follow" = Option<bool>, Query, description = "Lines to come, as server-sent events"),
        ("since" = Option<String>, Query, description = "A time, or `15m` for so long ago; only lines from then on"),
        ("until" = Option<String>, Query, description = "A time, or `15m` for so long ago; only lines before"),
        ("instance" = Option<u64>, Query, description = "Only what this process wrote"),
        ("after" = Option<String>, Query, description = "The `cursor` of an entry; only what came after"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen"),
    ),
    responses((status = 200, description = "The lines", content(
        (Success<LogsAnswer> = "application/json"), (String = "text/event-stream")))))]
pub(super) fn logs() {}

/// Follow the log of a formation
///
/// It begins with the last 100 lines.
#[utoipa::path(get, path = "/rpc/formations/{id}/logs/stream", tag = "logs", operation_id = "follow_logs",
    params(
        ("id" = String, Path, description = "The formation's id"),
        ("lines" = Option<u32>, Query, description = "How many of the past to begin with"),
        ("stream" = Option<String>, Query, description = "`stdout`, `stderr` or `all`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen"),
    ),
    responses((status = 200, description = "Lines as they come", content((String = "text/event-stream")))))]
pub(super) fn follow() {}

/// The files of a formation as a zip
///
/// Without hidden files, so without the key of its secrets, and without its memory unless asked for.
#[utoipa::path(get, path = "/rpc/formations/{id}/download", tag = "logs", operation_id = "download_formation",
    params(
        ("id" = String, Path, description = "The formation's id"),
        ("db" = Option<String>, Query, description = "`true` adds a consistent copy of its memory"),
        ("generation" = Option<u64>, Query, description = "Another generation than the current one"),
    ),
    responses((status = 200, description = "The archive", body = Vec<u8>, content_type = "application/zip")))]
pub(super) fn download() {}
