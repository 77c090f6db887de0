//! `/rpc/events`: what happened, as pages of the past or as a stream that goes on.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::events::{EventKind, EventPage};
use muxi_contract::management::{ProblemKind, Success};
use muxi_service::sse;
use serde::Deserialize;

use super::error::Failure;
use crate::store::events::{self, Filter, Numbered};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    formation: Option<FormationId>,
    #[serde(rename = "type")]
    kind: Option<EventKind>,
    /// RFC 3339 or Unix seconds.
    since: Option<String>,
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// Idle proxies cut silent streams.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LAST_EVENT_ID: &str = "last-event-id";
/// Events that a stream reads at once.
const BATCH_MAX: usize = 100;
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 500;

/// Pages, newest first; with `Accept: text/event-stream` what comes from now on, or what came after
/// `Last-Event-ID` or `since`.
pub(super) async fn list(
    State(supervisor): State<Supervisor>,
    query: Result<Query<EventQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|rejected| Failure::query(&rejected))?;
    let since_ms = query.since.as_deref().map(milliseconds).transpose()?;
    let filter = Filter { formation: query.formation, kind: query.kind, since_ms };
    let context = supervisor.context();
    if sse::is_asked_for(&headers) {
        let last = headers.get(LAST_EVENT_ID).map(|it| it.to_str().ok()?.trim().parse().ok());
        let last = last.map(|it: Option<u64>| it.ok_or_else(wrong_last_id)).transpose()?;
        let begin = match (last, since_ms) {
            (Some(last), _) => last,
            (None, Some(_)) => 0,
            (None, None) => context.store.read(events::newest).await?,
        };
        let stopping = context.shutdown.stopping.clone();
        let frames = follow(context.store.clone(), filter, begin);
        return Ok(sse::response(frames.take_until(stopping.cancelled_owned()), HEARTBEAT));
    }
    let limit = page_size(query.limit)?;
    let found =
        context.store.read(move |db| events::list(db, &filter, query.cursor, limit)).await?;
    let next_cursor = next_cursor(&found, limit);
    let events = found.into_iter().map(|(_, event)| event).collect();
    let data = EventPage { events, next_cursor };
    Ok(Json(Success { success: true, data }).into_response())
}

/// A page of the default size unless another is asked for.
pub(super) fn page_size(asked: Option<usize>) -> Result<usize, Failure> {
    let limit = asked.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        let message = format!("limit must be 1 to {PAGE_MAX}");
        Err(Failure::new(ProblemKind::ValidationError, message))
    }
}

/// Where the next page begins; nowhere after one that is not full.
pub(super) fn next_cursor<T>(found: &[(u64, T)], limit: usize) -> Option<String> {
    found.last().filter(|_| found.len() == limit).map(|(number, _)| number.to_string())
}

/// Every event that fits after a number, as it comes. Ends when the store fails: the client comes
/// back with the last number that it saw.
fn follow(store: Store, filter: Filter, seen: u64) -> impl Stream<Item = Bytes> + Send + use<> {
    let newest = store.newest_event();
    let start = (store, newest, filter, seen, VecDeque::<Numbered>::new());
    futures_util::stream::unfold(start, async |(store, mut newest, filter, mut seen, mut queue)| {
        while queue.is_empty() {
            newest.mark_unchanged();
            match next(&store, &filter, seen).await {
                Ok(found) => queue.extend(found),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a stream of events ends"
                    );
                    return None;
                }
            }
            if queue.is_empty() {
                newest.changed().await.ok()?;
            }
        }
        let (number, event) = queue.pop_front()?;
        seen = number;
        let frame = sse::numbered_frame(number, event.kind.as_str(), &event);
        Some((frame, (store, newest, filter, seen, queue)))
    })
}

async fn next(store: &Store, filter: &Filter, seen: u64) -> Result<Vec<Numbered>, StoreError> {
    let filter = filter.clone();
    store.read(move |db| events::after(db, &filter, seen, BATCH_MAX)).await
}

fn milliseconds(text: &str) -> Result<i64, Failure> {
    let seconds = text.parse().ok().and_then(|it| Timestamp::from_second(it).ok());
    let at = seconds.or_else(|| text.parse().ok());
    at.map(Timestamp::as_millisecond).ok_or_else(|| {
        let message = format!(
            "since `{text}` is no time; give one such as 2026-01-31T12:00:00Z or Unix seconds"
        );
        Failure::new(ProblemKind::ValidationError, message)
    })
}

fn wrong_last_id() -> Failure {
    let message = "Last-Event-ID must be an id of this stream, which is a number";
    Failure::new(ProblemKind::ValidationError, message)
}
