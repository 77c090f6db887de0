//! Calls with an idempotency key, done once and answered as often as asked; `auth::calls` says when.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use muxi_contract::RequestId;
use muxi_contract::management::ProblemKind;
use muxi_service::{TaskKind, request_id, sse};
use tracing::Instrument as _;

use super::error::{self, Failure};
use super::{dev, ending, hashed_body, operations};
use crate::auth::calls::{
    ANSWER_BYTES_MAX, BodyHash, CallRefusal, Head, Joined, Leader, Live, Verdict,
};
use crate::store::calls::{CallRules, NewCall};
use crate::store::operations::{self as stored, Operation, OperationKind};
use crate::supervisor::Supervisor;
use crate::traces;

/// Says that an answer was given before.
const REPLAYED: &str = "x-muxi-idempotent-replay";

/// The answer for the caller who does the call, with all its headers.
type First = Arc<Mutex<Option<Response>>>;

tokio::task_local! {
    /// The call that the current task does.
    static CALL: Arc<Live>;
}

/// Does a call, or waits for who does it already, or gives the answer of who has done it.
pub(super) async fn run<H, F>(
    supervisor: &Supervisor,
    call: NewCall,
    rules: CallRules,
    request: Request,
    handle: H,
) -> Result<Response, Failure>
where
    H: FnOnce(Request) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let context = supervisor.context();
    let id = request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default();
    let streamed =
        sse::is_asked_for(request.headers()) || request.uri().path().ends_with("/stream");
    let (live, first) = match context.auth.calls.join(call, rules) {
        Joined::Refused(refusal) => {
            super::discard(request).await;
            return Err(refusal.into());
        }
        Joined::Follower(live) => {
            let sent = sent_body(request).await;
            live.body_settled().await;
            if live.is_of_another(&sent) {
                return Err(CallRefusal::OtherCall.into());
            }
            (live, First::default())
        }
        Joined::Leader(leader) => {
            let (live, first) = (Arc::clone(leader.live()), First::default());
            let lead = lead(supervisor.clone(), leader, Arc::clone(&first), id, request, handle);
            // In a task of its own: the answer is wanted even if this caller leaves.
            let lead = request_id::carry(traces::carry(CALL.scope(Arc::clone(&live), lead)));
            let lead = lead.in_current_span();
            context.tasks.spawn(TaskKind::Connection, "management call", lead);
            (live, first)
        }
    };
    let verdict = live.verdict().await;
    let own = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(response) = own {
        return Ok(response);
    }
    match verdict {
        Verdict::Answer(head) => Ok(replayed(&head, &live).await),
        Verdict::Refused(refusal) => Err(refusal.into()),
        Verdict::Resume(operation) => resumed(supervisor, operation, streamed).await,
    }
}

/// The call that is being done began an operation; a repeat after a restart follows that one.
pub(super) fn note_operation(supervisor: &Supervisor, operation: &str) {
    let Ok(live) = CALL.try_with(Arc::clone) else { return };
    let (context, operation) = (supervisor.context(), operation.to_owned());
    let store = context.store.clone();
    context.tasks.spawn(TaskKind::Connection, "note an operation", async move {
        live.note_operation(&store, operation).await;
    });
}

async fn lead<H, F>(
    supervisor: Supervisor,
    leader: Leader,
    first: First,
    request_id: String,
    request: Request,
    handle: H,
) where
    H: FnOnce(Request) -> F + Send,
    F: Future<Output = Response> + Send,
{
    let give = |response: Response| {
        *first.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    };
    if let Some(verdict) = leader.begin().await {
        let sent = sent_body(request).await;
        if leader.live().is_of_another(&sent) {
            // Of this caller alone: who waits with it may have sent the right one.
            give(Failure::from(CallRefusal::OtherCall).into_response());
        }
        leader.tell(verdict);
        leader.end();
        return;
    }
    let found = Arc::clone(leader.live().body_sha256());
    let request = hashed_body::hashed(request, None, found);
    let response = error::rendered(handle(request).await, &request_id);
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let head = Head {
        status: response.status().as_u16(),
        error: response.extensions().get::<ProblemKind>().copied(),
        content_type: content_type.and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned(),
    };
    let (parts, body) = response.into_parts();
    let mut chunks = body.into_data_stream();
    if head.is_stream() {
        give(Response::from_parts(parts, stream_body(leader.live().body())));
        leader.tell(Verdict::Answer(head.clone()));
        let mut whole = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            // Comments are for those who listen now.
            if chunk.as_ref() == sse::KEEPALIVE {
                continue;
            }
            whole.extend_from_slice(&chunk);
            if !leader.push(chunk) {
                break;
            }
        }
        settle(&supervisor, &leader, &head, Some(&whole)).await;
        leader.end();
        return;
    }
    let mut whole = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        whole.extend_from_slice(&chunk);
        if whole.len() > ANSWER_BYTES_MAX {
            settle(&supervisor, &leader, &head, None).await;
            let start = futures_util::stream::once(std::future::ready(Ok(Bytes::from(whole))));
            give(Response::from_parts(parts, Body::from_stream(start.chain(chunks))));
            leader.tell(Verdict::Refused(CallRefusal::NotKept(head.status)));
            return;
        }
    }
    settle(&supervisor, &leader, &head, Some(&whole)).await;
    let whole = Bytes::from(whole);
    leader.push(whole.clone());
    leader.end();
    give(Response::from_parts(parts, whole.into()));
    leader.tell(Verdict::Answer(head));
}

/// Reads a repeat's body for nothing but its hash.
async fn sent_body(request: Request) -> BodyHash {
    let sent = BodyHash::default();
    super::discard(hashed_body::hashed(request, None, Arc::clone(&sent))).await;
    sent
}

/// Stores what a repeat gets.
async fn settle(supervisor: &Supervisor, leader: &Leader, head: &Head, body: Option<&[u8]>) {
    let stopping = supervisor.context().shutdown.stopping.is_cancelled();
    if stopping && leader.has_operation() {
        // The answer was cut short by our own end; the next manager follows the operation.
    } else if head.is_final() {
        leader.keep(head, body).await;
    } else {
        leader.release().await;
    }
}

/// What the first call would have been answered, had its manager lived.
async fn resumed(
    supervisor: &Supervisor,
    operation: String,
    streamed: bool,
) -> Result<Response, Failure> {
    let asked = operation.clone();
    let found = supervisor.context().store.read(move |db| stored::get(db, &asked)).await?;
    let Operation { kind, formation, .. } = found.ok_or(CallRefusal::Unknown)?;
    let of_draft = formation.is_draft();
    let is_told_in_steps =
        !of_draft && !matches!(kind, OperationKind::Stop | OperationKind::Delete);
    if streamed && is_told_in_steps {
        return Ok(operations::stream(operations::frames(supervisor, operation, 0)));
    }
    if !of_draft {
        return ending::answer(supervisor, kind, operation).await;
    }
    let outcome = operations::outcome(supervisor, operation).await;
    let stopped = kind == OperationKind::Delete;
    Ok(if stopped { dev::told_stopped(outcome) } else { dev::told_running(outcome) })
}

async fn replayed(head: &Head, live: &Arc<Live>) -> Response {
    let mut response = if head.is_stream() {
        operations::stream(live.body())
    } else {
        let whole: Vec<Bytes> = live.body().collect().await;
        let mut response = Body::from(whole.concat()).into_response();
        if let Ok(value) = HeaderValue::from_str(&head.content_type) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        response
    };
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(kind) = head.error {
        response.extensions_mut().insert(kind);
    }
    response
}

fn stream_body(frames: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    operations::stream(frames).into_body()
}

// === impl Head ===

impl Head {
    fn is_stream(&self) -> bool {
        self.content_type.starts_with("text/event-stream")
    }

    /// Whether a repeat would end the same way; the others are what clients retry.
    fn is_final(&self) -> bool {
        // A stream tells its failure behind a head that is good.
        let status = self.error.map_or(self.status, ProblemKind::status);
        status < 500 && !matches!(status, 401 | 403 | 408 | 429)
    }
}
