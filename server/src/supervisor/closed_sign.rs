//! Answers on the port of a formation that is stopped or given up, so that its clients read why
//! instead of waiting in a backlog that nobody empties.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use muxi_contract::envelope::RequestRef;
use muxi_contract::{Envelope, ErrorBody, ErrorCode, FormationId, RequestId};
use muxi_service::accept::{self, AcceptLimits};
use muxi_service::{Clock, Shutdown, TaskKind, cors};

use super::Context;
use crate::ports::Lease;

/// Hangs until dropped.
#[derive(Debug)]
pub(super) struct ClosedSign {
    shutdown: Shutdown,
}

const LIMITS: AcceptLimits = AcceptLimits {
    connections: 64,
    header_read: Duration::from_secs(10),
    write_stall: Duration::from_secs(10),
};

// === impl ClosedSign ===

impl ClosedSign {
    /// Begins to answer; `None` when the socket cannot be shared, which only costs the courtesy.
    pub(super) fn hang(
        context: &Context,
        id: &FormationId,
        lease: &Lease,
        reason: &str,
    ) -> Option<Self> {
        let listener = lease.answering().ok()?;
        let shutdown = Shutdown::new();
        let (clock, message) = (context.clock.clone(), format!("Formation '{id}' {reason}"));
        let app =
            Router::new().fallback(move || std::future::ready(sorry(&clock, message.clone())));
        // A page of another origin reads why, too.
        let policy = context.live.cors();
        let app = app.layer(from_fn_with_state(policy, cors::layer));
        let serving = accept::serve(listener, app, LIMITS, context.tasks.clone(), shutdown.clone());
        context.tasks.spawn(TaskKind::PerFormation, format!("closed sign {id}"), serving);
        Some(Self { shutdown })
    }
}

impl Drop for ClosedSign {
    fn drop(&mut self) {
        self.shutdown.stopping.cancel();
        self.shutdown.closing.cancel();
    }
}

fn sorry(clock: &Clock, message: String) -> Response {
    let error = ErrorBody { code: ErrorCode::ServiceUnavailable, message, data: None };
    let request = RequestRef { id: RequestId::generate(), idempotency_key: None };
    let envelope = Envelope::failure(error, request, clock.now_ms());
    // Closing keeps a client from waiting on this connection for the formation's return.
    (StatusCode::SERVICE_UNAVAILABLE, [("connection", "close")], axum::Json(envelope))
        .into_response()
}
