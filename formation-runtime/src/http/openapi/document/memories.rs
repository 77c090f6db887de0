//! What is remembered of a user.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::history::History;
use muxi_contract::formation::memories::{
    BatchIngested, IngestionReport, MemoryAnswer, MemoryBatch, MemoryDeleted, MemoryIngested,
    MemoryList, MemoryScope, NewMemory, Provenance,
};

use super::parameters::{AnyUser, User};

/// What is remembered of a user
///
/// With what is remembered for everybody, newest first.
#[utoipa::path(get, path = "/v1/memories", tag = "memories", operation_id = "list_memories",
    security(("client" = []), ("admin" = [])),
    params(User,
        ("limit" = Option<u32>, Query, description = "At most so many; 10 if absent", minimum = 1, maximum = 100),
        ("offset" = Option<u32>, Query, description = "Leave out so many of the newest", minimum = 0, maximum = 1_000_000),
        ("query" = Option<String>, Query, description = "A text that they contain, in upper or lower case",
            max_length = 1000),
        ("scopes" = Option<Vec<MemoryScope>>, Query, description = "Only those with one of these scopes",
            style = Form, explode = false, example = json!(["user", "formation"]))),
    extensions(("x-answer" = json!("memory_list memory.list"))),
    responses((status = 200, description = "Newest first", body = Envelope<MemoryList>)))]
pub(super) fn list() {}

/// Remember something
///
/// What names its `source` is reported as an ingestion; an entry that the source has sent before is not remembered
/// again, and its first `event_id` is answered.
#[utoipa::path(post, path = "/v1/memories", tag = "memories", operation_id = "create_memory",
    security(("client" = []), ("admin" = [])), params(User),
    request_body(content = NewMemory, content_type = "application/json"),
    extensions(("x-answer" = json!({
        "200": ["memory memory.created", "memory_ingestion memory.ingestion.accepted"],
        "202": ["memory_ingestion memory.ingestion.accepted"],
    }))),
    responses(
        (status = 200, description = "It is remembered, or was before", body = Envelope<MemoryAnswer>),
        (status = 202, description = "It is remembered, and came from a source", body = Envelope<MemoryIngested>),
        (status = 403, description = "`FORBIDDEN`: what everybody may read takes the admin key, and there are no groups",
            body = Failure),
    ))]
pub(super) fn create() {}

/// Remember what a source brings
///
/// Items are taken or refused one by one: the report says what became of each.
#[utoipa::path(post, path = "/v1/memories/batch", tag = "memories", operation_id = "create_memories",
    security(("client" = []), ("admin" = [])), params(User),
    request_body(content = MemoryBatch, content_type = "application/json"),
    extensions(("x-answer" = json!("memory_ingestion memory.ingestion.accepted"))),
    responses((status = 200, description = "What became of each", body = Envelope<BatchIngested>)))]
pub(super) fn batch() {}

/// A report on what a source brought
#[utoipa::path(get, path = "/v1/memories/ingestion/{id}", tag = "memories", operation_id = "get_ingestion",
    security(("client" = []), ("admin" = [])),
    params(AnyUser, ("id" = String, Path, description = "The ingestion's `processing_id`")),
    extensions(("x-answer" = json!("memory_ingestion memory.ingestion.status"))),
    responses(
        (status = 200, description = "It is known", body = Envelope<IngestionReport>),
        (status = 403, description = "`FORBIDDEN`: it is another user's", body = Failure),
    ))]
pub(super) fn ingestion() {}

/// Where memories come from
///
/// Of one event, or about one entity: exactly one of them has to be given.
#[utoipa::path(get, path = "/v1/memories/provenance", tag = "memories", operation_id = "get_provenance",
    security(("client" = []), ("admin" = [])),
    params(User,
        ("event_id" = Option<String>, Query, description = "The act of remembering", example = "evt_V1StGXR8Z5jdHi6BmyTab"),
        ("entity" = Option<String>, Query, description = "A `subject`, in upper or lower case")),
    extensions(("x-answer" = json!("memory memory.retrieved"))),
    responses(
        (status = 200, description = "It is known", body = Envelope<Provenance>),
        (status = 404, description = "`NOT_FOUND`: nothing is remembered of it", body = Failure),
    ))]
pub(super) fn provenance() {}

/// Delete a memory
///
/// What everybody may read is deleted with the admin key.
#[utoipa::path(delete, path = "/v1/memories/{id}", tag = "memories", operation_id = "delete_memory",
    security(("client" = []), ("admin" = [])),
    params(User, ("id" = String, Path, description = "The memory's id")),
    extensions(("x-answer" = json!("memory memory.deleted"))),
    responses((status = 200, description = "It is gone", body = Envelope<MemoryDeleted>)))]
pub(super) fn delete() {}

/// What was said and remembered, by time
///
/// Days are those of UTC. A day that is named is in it whole.
#[utoipa::path(get, path = "/v1/history", tag = "memories", operation_id = "get_history",
    security(("client" = []), ("admin" = [])),
    params(User,
        ("limit" = Option<u32>, Query, description = "At most so many; 20 if absent", minimum = 1, maximum = 100),
        ("date_from" = Option<String>, Query, description = "A day or an ISO 8601 time: nothing before", example = "2026-01-31"),
        ("date_to" = Option<String>, Query, description = "A day or an ISO 8601 time: nothing after", example = "2026-01-31"),
        ("include_sources" = Option<bool>, Query, description = "With `sources` of what is remembered")),
    extensions(("x-answer" = json!("memory memory.retrieved"))),
    responses((status = 200, description = "Newest first", body = Envelope<History>)))]
pub(super) fn history() {}
