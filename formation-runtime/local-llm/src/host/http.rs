//! Routes and handlers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::models::Listed;
use super::wire::{Call, Head, WireError};
use super::{Host, answer};
use crate::files::{ModelName, ModelState, SMOLLM2};

/// Far more text than any window can hold.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Clients are processes of this machine.
const BODY_READ_MAX: Duration = Duration::from_secs(10);

pub(super) fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .fallback(async || WireError::not_found("such path"))
        .method_not_allowed_fallback(async || {
            WireError::not_found("such method on this path")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(host)
}

// === private helpers ===

/// Always 200: a host without a model is healthy, and says what would mend that.
async fn health(State(host): State<Arc<Host>>) -> Json<Value> {
    let default = host.models.look(ModelName::Catalogued(SMOLLM2.name));
    let mut body = describe(&default);
    body["active_requests"] = json!(host.activity.count());
    body["models"] = host.models.list().iter().map(describe).collect();
    Json(body)
}

async fn models(State(host): State<Arc<Host>>) -> Json<Value> {
    let ready = |listed: &Listed| matches!(listed.state, ModelState::Ready { .. });
    let data: Vec<_> = host
        .models
        .list()
        .iter()
        .filter(|listed| ready(listed))
        .map(|listed| {
            json!({
                "id": listed.name.to_string(), "object": "model", "created": 0, "owned_by": "local",
            })
        })
        .collect();
    Json(json!({ "object": "list", "data": data }))
}

async fn chat(State(host): State<Arc<Host>>, request: Request) -> Result<Response, WireError> {
    let body = read(request).await?;
    let call = Call::parse(&body, Uuid::new_v4().as_u64_pair().0)?;
    let active = host.activity.begin();
    let engine = host.models.engine(&call.model).await?;
    let head = Head {
        id: format!("chatcmpl-{}", Uuid::new_v4().simple()),
        created: jiff::Timestamp::now().as_second(),
        model: call.model.to_string(),
    };
    let with_tools = !call.request.tools.is_empty();
    let prepared = {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || engine.prepare(call.request)).await
    };
    let prompt = prepared.map_err(|error| WireError::internal(error.to_string()))??;
    let pieces = engine.start(prompt, host.cancel.child_token())?;
    let answer = answer::Answer::new(head, pieces, with_tools, active);
    if call.stream {
        let body = Body::from_stream(answer.into_events(call.include_usage));
        let headers =
            [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        Ok((headers, body).into_response())
    } else {
        Ok(Json(answer.collect().await?).into_response())
    }
}

async fn read(request: Request) -> Result<Bytes, WireError> {
    match timeout(BODY_READ_MAX, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) => {
            Err(WireError::invalid(None, rejection.body_text()).with_status(rejection.status()))
        }
        Err(_) => Err(WireError::invalid(None, "the body did not arrive in time".to_owned())
            .with_status(StatusCode::REQUEST_TIMEOUT)),
    }
}

fn describe(listed: &Listed) -> Value {
    let (state, reason) = match &listed.state {
        ModelState::Ready { .. } => ("ready", None),
        ModelState::Missing { reason } => ("missing", Some(reason)),
        ModelState::Failed { reason } => ("failed", Some(reason)),
    };
    json!({
        "model": listed.name.to_string(),
        "state": state,
        "reason": reason,
        "loaded": listed.loaded,
    })
}
