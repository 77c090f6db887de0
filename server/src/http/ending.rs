//! How the end of an operation is told to whoever waits for it: one shape for each kind of act.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muxi_contract::answers::{Deleted, Started, Stopped};
use muxi_contract::management::{Completed, Success, Updated};
use serde::Serialize;

use super::error::Failure;
use super::operations::outcome;
use crate::store::operations::OperationKind;
use crate::supervisor::Supervisor;

/// Waits for the end of the operation that the call is about, and tells it.
pub(super) async fn answer(
    supervisor: &Supervisor,
    kind: OperationKind,
    operation: String,
) -> Result<Response, Failure> {
    Ok(told(kind, outcome(supervisor, operation).await?))
}

pub(super) fn told(kind: OperationKind, completed: Completed) -> Response {
    let id = completed.formation_id.clone();
    match kind {
        OperationKind::Deploy => (StatusCode::CREATED, enveloped(completed)).into_response(),
        OperationKind::Update => {
            let way = Some("blue-green".to_owned());
            enveloped(updated(completed, "Formation updated with zero downtime", way))
        }
        OperationKind::Rollback => {
            enveloped(updated(completed, "Rolled back to previous version", None))
        }
        OperationKind::Start => enveloped(started(completed, "Formation started")),
        OperationKind::Restart => enveloped(started(completed, "Formation restarted")),
        OperationKind::Stop => {
            let message = "Formation stopped successfully".to_owned();
            enveloped(Stopped { id, status: "stopped".to_owned(), message })
        }
        OperationKind::Delete => {
            enveloped(Deleted { id, message: "Formation deleted successfully".to_owned() })
        }
    }
}

// === private helpers ===

fn updated(completed: Completed, message: &str, deployment_type: Option<String>) -> Updated {
    let generation =
        |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
    Updated {
        id: completed.formation_id,
        status: completed.status,
        version: generation(completed.new_version),
        previous_version: generation(completed.previous_version),
        port: completed.port,
        pid: completed.pid,
        message: message.to_owned(),
        deployment_type,
    }
}

fn started(completed: Completed, message: &str) -> Started {
    Started {
        id: completed.formation_id,
        status: completed.status,
        message: message.to_owned(),
        restart_count: completed.restart_count,
        port: completed.port,
        pid: completed.pid,
    }
}

fn enveloped<T: Serialize>(data: T) -> Response {
    Json(Success { success: true, data }).into_response()
}
