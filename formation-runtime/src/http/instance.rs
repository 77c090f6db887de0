//! The manager's own routes. They exist on the private socket only.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use muxi_contract::launch::{ACCEPT_ROUTE, ACTIVITY_ROUTE, Activity, RETIRE_ROUTE};

use super::error::Problem;
use crate::activity::OpenRequests;
use crate::instance::{AcceptError, SharedPort};

pub(crate) fn routes(port: SharedPort, requests: OpenRequests) -> Router {
    let counted = requests.clone();
    let open = get(move || std::future::ready(Json(Activity { requests: counted.count() })));
    Router::new()
        .route(ACCEPT_ROUTE, post(accept))
        .route(RETIRE_ROUTE, post(retire))
        .route(ACTIVITY_ROUTE, open)
        .with_state((port, requests))
}

type Steered = (SharedPort, OpenRequests);

async fn accept(State((port, requests)): State<Steered>) -> Result<StatusCode, Problem> {
    port.accept()?;
    requests.retire(false);
    Ok(StatusCode::NO_CONTENT)
}

async fn retire(State((port, requests)): State<Steered>) -> StatusCode {
    port.retire();
    requests.retire(true);
    StatusCode::NO_CONTENT
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        tracing::error!(error = ?error, "the formation's port cannot be served");
        Self::new(muxi_contract::ErrorCode::InternalError, error.to_string())
    }
}
