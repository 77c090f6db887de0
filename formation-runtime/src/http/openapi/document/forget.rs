//! Forgetting for the operator.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::forget::{Forget, ForgetJob};

/// Forget what is remembered, for good
///
/// Of a user, of a source, or what a source brought of a user. It is done before the answer, whatever is asked for.
#[utoipa::path(post, path = "/v1/memory/forget", tag = "memories", operation_id = "forget_memories",
    security(("admin" = [])),
    params(("sync" = Option<bool>, Query, description = "Answer with 200 instead of 202")),
    request_body(content = Forget, content_type = "application/json"),
    extensions(("x-answer" = json!("memory memory.deleted"))),
    responses(
        (status = 200, description = "It is forgotten, with `sync`", body = Envelope<ForgetJob>),
        (status = 202, description = "It is forgotten", body = Envelope<ForgetJob>),
        (status = 501, description = "`NOT_IMPLEMENTED`: `rebuild` is not built", body = Failure),
    ))]
pub(super) fn forget() {}

/// What was forgotten
#[utoipa::path(get, path = "/v1/memory/forget/{job}", tag = "memories", operation_id = "get_forget_job",
    security(("admin" = [])),
    params(("job" = String, Path, description = "The job's id")),
    extensions(("x-answer" = json!("memory memory.deleted"))),
    responses((status = 200, description = "It is known", body = Envelope<ForgetJob>)))]
pub(super) fn job() {}
