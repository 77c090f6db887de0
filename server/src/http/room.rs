//! Before the bodies that need the disk: refused while there is too little room.

use axum::extract::{Request, State};
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::Failure;
use crate::supervisor::Supervisor;

/// A layer of the routes that take a bundle or a file.
pub(super) async fn layer(
    State(supervisor): State<Supervisor>,
    request: Request,
    next: Next,
) -> Response {
    match supervisor.context().disk.check() {
        Ok(()) => next.run(request).await,
        Err(low) => {
            tracing::warn!("{low}: an upload was refused");
            if !request.headers().contains_key(EXPECT) {
                muxi_service::discard(request.into_body().into_data_stream()).await;
            }
            Failure::from(low).into_response()
        }
    }
}
