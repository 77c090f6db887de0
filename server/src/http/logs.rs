//! `/rpc/formations/{id}/logs`: the last lines, and following.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use muxi_contract::FormationId;
use muxi_contract::logs::{
    LogConnected, LogEnd, LogEndReason, LogEvent, LogGap, LogStream, LogsAnswer,
};
use muxi_contract::management::{ProblemKind, Success};
use muxi_service::sse;

use self::query::{Asked, Streams};
use super::error::Failure;
use super::operations;
use crate::logs::{Follow, Followed, ReadError, Selection, start_of_last, start_since, tail};
use crate::store::formations;
use crate::supervisor::Supervisor;

mod query;

type Id = Result<Path<FormationId>, PathRejection>;
type Parameters = Query<Vec<(String, String)>>;

/// Text of the lines of one answer; more would not help anybody and take memory.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Between two looks at a log that has nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Looks between two questions whether the formation still exists.
const LOOKS_PER_CHECK: u32 = 5;
/// Lines before the first new one on the route that the SDKs follow; `?follow` begins with none.
const STREAM_BACKLOG_LINES: usize = 100;

/// The last lines of each stream or, with `follow`, those to come.
pub(super) async fn logs(
    State(supervisor): State<Supervisor>,
    id: Id,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let id = existing(&supervisor, id).await?;
    let now = supervisor.context().clock.now();
    let asked = query::parse(&parameters, &headers, now)?;
    if asked.follow {
        return follow(&supervisor, id, asked, 0).await;
    }
    let answer = answer(&supervisor, id, asked).await?;
    Ok(Json(Success { success: true, data: answer }).into_response())
}

/// What the SDKs follow.
pub(super) async fn stream(
    State(supervisor): State<Supervisor>,
    id: Id,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let id = existing(&supervisor, id).await?;
    let now = supervisor.context().clock.now();
    let asked = query::parse(&parameters, &headers, now)?;
    follow(&supervisor, id, asked, STREAM_BACKLOG_LINES).await
}

/// An id that cannot be one is simply not found.
async fn existing(supervisor: &Supervisor, id: Id) -> Result<FormationId, Failure> {
    let Ok(Path(id)) = id else { return Err(Failure::unknown_formation()) };
    let asked = id.clone();
    let exists = supervisor.context().store.read(move |db| formations::exists(db, &asked)).await?;
    if exists { Ok(id) } else { Err(Failure::unknown_formation()) }
}

async fn answer(
    supervisor: &Supervisor,
    id: FormationId,
    asked: Asked,
) -> Result<LogsAnswer, Failure> {
    let Asked { lines, streams, follow: _, selection, after, warnings } = asked;
    let streams = match streams {
        Streams::All => LogStream::ALL.to_vec(),
        Streams::One(only) => vec![only],
        Streams::Unknown => Vec::new(),
    };
    let stream = if let [only] = streams[..] { Some(only) } else { None };
    let selection = Selection { stream, after: after.unwrap_or_default(), ..selection };
    let lines = match lines {
        _ if streams.is_empty() => 0,
        None | Some(0) => query::LINES_DEFAULT,
        Some(lines) => lines,
    };
    let (supervisor, folder) = (supervisor.clone(), supervisor.context().layout.log(id.as_str()));
    let (tail, counts) = blocking(move || {
        let tail = tail(&folder, &selection, lines, ANSWER_BYTES_MAX)?;
        Ok((tail, supervisor.context().log_counts.count(&folder)?))
    })
    .await?;
    let texts = |stream| {
        let own = tail.entries.iter().filter(|entry| entry.stream == stream);
        tail.exists.then(|| own.map(|entry| entry.line.clone()).collect())
    };
    let logs: BTreeMap<_, _> = streams.iter().map(|it| (*it, texts(*it))).collect();
    let total_lines = streams.iter().map(|it| (*it, counts[*it as usize])).collect();
    let (entries, truncated) = (tail.entries, tail.truncated);
    Ok(LogsAnswer { formation_id: id, logs, total_lines, entries, truncated, warnings })
}

async fn follow(
    supervisor: &Supervisor,
    id: FormationId,
    asked: Asked,
    backlog_lines: usize,
) -> Result<Response, Failure> {
    let Asked { lines, streams, follow: _, selection, after, warnings } = asked;
    if selection.until.is_some() {
        let message = "`until` has no meaning while following; leave out one of them";
        return Err(Failure::new(ProblemKind::ValidationError, message));
    }
    let stream = match streams {
        Streams::One(only) => Some(only),
        // Nothing at all would never be meant.
        Streams::All | Streams::Unknown => None,
    };
    let selection = Selection { stream, ..selection };
    let folder = supervisor.context().layout.log(id.as_str());
    let from = if let Some(after) = after {
        after
    } else {
        let (folder, selection) = (folder.clone(), selection.clone());
        blocking(move || match lines {
            // Who names a time wants all that came since, however much that is.
            None if selection.since.is_some() => start_since(&folder, &selection),
            lines => start_of_last(&folder, &selection, lines.unwrap_or(backlog_lines)),
        })
        .await?
    };
    let connected = LogConnected { formation_id: id.clone(), warnings };
    let connected = sse::frame(Some("connected"), &connected);
    let follow = Follow::new(folder, selection, from);
    let follower =
        Follower { supervisor: supervisor.clone(), id, follow, looks: 0, deleted: false };
    let events = stream::unfold(Some(follower), async |follower| Some(follower?.next().await));
    Ok(operations::stream(stream::once(std::future::ready(connected)).chain(events)))
}

/// One client that follows. It is asked for more only when the client has taken what there was.
struct Follower {
    supervisor: Supervisor,
    id: FormationId,
    follow: Follow,
    looks: u32,
    deleted: bool,
}

// === impl Follower ===

impl Follower {
    /// The next frames; without a follower they are the last.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let stopping = self.supervisor.context().shutdown.stopping.clone();
        loop {
            if stopping.is_cancelled() {
                return (end_frame(self.id, LogEndReason::ManagerStopped), None);
            }
            let mut follow = self.follow;
            let looked = blocking(move || follow.look().map(|seen| (seen, follow))).await;
            let Ok((seen, follow)) = looked else {
                return (end_frame(self.id, LogEndReason::Unreadable), None);
            };
            self.follow = follow;
            let frames = frames(&self.id, &seen);
            if !frames.is_empty() {
                return (frames, Some(self));
            }
            if seen.at_end {
                if self.deleted {
                    return (end_frame(self.id, LogEndReason::Deleted), None);
                }
                stopping.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await;
                self.looks += 1;
                self.deleted = self.looks.is_multiple_of(LOOKS_PER_CHECK) && !self.exists().await;
            }
        }
    }

    async fn exists(&self) -> bool {
        let id = self.id.clone();
        let context = self.supervisor.context();
        // A store that does not answer is no reason to say that it was deleted.
        context.store.read(move |db| formations::exists(db, &id)).await.unwrap_or(true)
    }
}

fn frames(id: &FormationId, seen: &Followed) -> Bytes {
    let mut frames = BytesMut::new();
    if seen.gap {
        let message = "Older lines were deleted by rotation before they could be sent";
        let gap = LogGap { formation_id: id.clone(), message: message.to_owned() };
        frames.extend_from_slice(&sse::frame(Some("gap"), &gap));
    }
    for entry in &seen.entries {
        let event = LogEvent {
            formation_id: id.clone(),
            line: entry.line.clone(),
            stream: entry.stream,
            at: entry.at.clone(),
            instance: entry.instance,
        };
        frames.extend_from_slice(&sse::numbered_frame(entry.cursor, "log", &event));
    }
    frames.freeze()
}

fn end_frame(formation_id: FormationId, reason: LogEndReason) -> Bytes {
    sse::frame(Some("end"), &LogEnd { formation_id, reason })
}

/// Runs on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(io::Error::other).flatten().map_err(ReadError)
}
