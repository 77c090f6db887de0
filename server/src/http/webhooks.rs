//! `/rpc/webhooks`: who is told, what became of it, once more, and a test.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use muxi_contract::events::{Delivery, DeliveryPage, DeliveryState, WebhookList, WebhookView};
use muxi_contract::management::{ProblemKind, Success};
use muxi_contract::{FormationId, RequestId};
use serde::Deserialize;

use super::error::Failure;
use super::events::{next_cursor, page_size};
use crate::store::deliveries::{self, Filter};
use crate::supervisor::Supervisor;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryQuery {
    webhook: Option<String>,
    formation: Option<FormationId>,
    state: Option<DeliveryState>,
    cursor: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<WebhookList>>, Failure> {
    let context = supervisor.context();
    let config = context.live();
    let ids: Vec<String> = config.webhooks.iter().map(|it| it.id.clone()).collect();
    let counted = context.store.read(move |db| {
        ids.iter().map(|id| deliveries::counts(db, id)).collect::<Result<Vec<_>, _>>()
    });
    let webhooks =
        config.webhooks.iter().zip(counted.await?).map(|(webhook, deliveries)| WebhookView {
            id: webhook.id.clone(),
            url: webhook.shown_url(),
            events: webhook.events.clone(),
            formations: webhook.formations.clone(),
            timeout_s: webhook.timeout_s,
            max_attempts: webhook.max_attempts,
            deliveries,
        });
    let data = WebhookList { webhooks: webhooks.collect() };
    Ok(Json(Success { success: true, data }))
}

pub(super) async fn list_deliveries(
    State(supervisor): State<Supervisor>,
    query: Result<Query<DeliveryQuery>, QueryRejection>,
) -> Result<Json<Success<DeliveryPage>>, Failure> {
    let Query(query) = query.map_err(|rejected| Failure::query(&rejected))?;
    let limit = page_size(query.limit)?;
    let filter = Filter { webhook: query.webhook, formation: query.formation, state: query.state };
    let store = &supervisor.context().store;
    let found = store.read(move |db| deliveries::list(db, &filter, query.cursor, limit)).await?;
    let next_cursor = next_cursor(&found, limit);
    let deliveries = found.into_iter().map(|(_, delivery)| delivery).collect();
    let data = DeliveryPage { deliveries, next_cursor };
    Ok(Json(Success { success: true, data }))
}

/// Makes a delivery due now, also one that was taken; the answer is the delivery as it waits.
pub(super) async fn retry(
    State(supervisor): State<Supervisor>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Success<Delivery>>, Failure> {
    let Path(id) = id.map_err(|_| unreadable())?;
    let context = supervisor.context();
    let data = context.webhooks.retry(context, &id).await?;
    Ok(Json(Success { success: true, data }))
}

/// Sends a ping, once; the answer is what became of it.
pub(super) async fn test(
    State(supervisor): State<Supervisor>,
    Extension(request_id): Extension<RequestId>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Success<Delivery>>, Failure> {
    let Path(id) = id.map_err(|_| unreadable())?;
    let context = supervisor.context();
    let data = context.webhooks.test(context, &id, Some(request_id.to_string())).await?;
    Ok(Json(Success { success: true, data }))
}

fn unreadable() -> Failure {
    Failure::new(ProblemKind::NotFound, "No such webhook or delivery")
}
