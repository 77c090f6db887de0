//! What a webhook says of a request that has ended. Pure.

use muxi_contract::formation::artifacts::ArtifactRef;
use muxi_contract::ids::nanoid;
use muxi_contract::{FormationId, RequestId, UserId};
use muxi_memory::{NewDelivery, Outcome};
use serde_json::json;

/// A request that somebody wants to be told of.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    pub formation: &'a FormationId,
    pub user: &'a UserId,
    pub request: &'a RequestId,
    pub url: &'a str,
    pub began_ms: i64,
}

/// The published form of a completion, for one receiver.
pub fn of_end(
    reported: Reported<'_>,
    outcome: &Outcome,
    text: &str,
    artifacts: &[ArtifactRef],
    now_ms: i64,
) -> NewDelivery {
    let Reported { formation, user, request, url, began_ms } = reported;
    let said = (!text.is_empty()).then(|| json!({"type": "text", "text": text, "file": null}));
    let files = artifacts.iter().map(|file| json!({"type": "file", "text": null, "file": file}));
    let error = outcome.error().map(|message| {
        json!({
            "code": "processing_failed",
            // As the API tells it; `code` is the published word for all of them.
            "error_code": outcome.error_code(),
            "message": message,
            "trace": null,
        })
    });
    #[expect(clippy::cast_precision_loss, reason = "a request takes less than 285,000 years")]
    let seconds = (now_ms - began_ms).max(0) as f64 / 1000.0;
    let body = json!({
        "id": request,
        "request_id": request,
        "object": "response",
        "status": outcome.request_status().as_str(),
        "timestamp": now_ms,
        "formation_id": formation,
        "user_id": user,
        "processing_time": seconds,
        "processing_mode": "async",
        "webhook_url": url,
        "error": error,
        "response": said.into_iter().chain(files).collect::<Vec<_>>(),
    });
    NewDelivery { id: format!("dlv_{}", nanoid()), url: url.to_owned(), body: body.to_string() }
}
