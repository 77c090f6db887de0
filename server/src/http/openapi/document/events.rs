//! What happened, and who is told.

use muxi_contract::events::{
    Delivery, DeliveryPage, DeliveryState, EventKind, EventPage, WebhookList,
};
use muxi_contract::management::Success;

/// What happened to formations
///
/// Pages, newest first. With `Accept: text/event-stream`, what comes from now on, or after
/// `Last-Event-ID` or `since`: each event has its number as id, its type as name, and an `Event`.
#[utoipa::path(get, path = "/rpc/events", tag = "events", operation_id = "list_events",
    params(
        ("formation" = Option<String>, Query, description = "Only of this formation"),
        ("type" = Option<EventKind>, Query, description = "Only of this type"),
        ("since" = Option<String>, Query, description = "RFC 3339, or Unix seconds"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Default 50"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen, of a stream"),
    ),
    responses((status = 200, description = "A page, or the stream", content(
        (Success<EventPage> = "application/json"), (String = "text/event-stream")))))]
pub(super) fn list() {}

/// Webhooks of the configuration, without their secrets
#[utoipa::path(get, path = "/rpc/webhooks", tag = "events", operation_id = "list_webhooks",
    responses((status = 200, description = "All of them", body = Success<WebhookList>)))]
pub(super) fn webhooks() {}

/// Send a ping to a webhook, once
#[utoipa::path(post, path = "/rpc/webhooks/{id}/test", tag = "events", operation_id = "test_webhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, description = "What became of it", body = Success<Delivery>)))]
pub(super) fn test_webhook() {}

/// What was sent, what waits, what failed
#[utoipa::path(get, path = "/rpc/webhooks/deliveries", tag = "events", operation_id = "list_deliveries",
    params(
        ("webhook" = Option<String>, Query, description = "Only to this webhook"),
        ("formation" = Option<String>, Query, description = "Only about this formation"),
        ("state" = Option<DeliveryState>, Query, description = "Only in this state"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Default 50"),
    ),
    responses((status = 200, description = "A page, newest first", body = Success<DeliveryPage>)))]
pub(super) fn deliveries() {}

/// Deliver once more, now
#[utoipa::path(post, path = "/rpc/webhooks/deliveries/{id}/retry", tag = "events", operation_id = "retry_delivery",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "It waits for its turn", body = Success<Delivery>)))]
pub(super) fn retry_delivery() {}
