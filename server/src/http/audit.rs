//! The audit log: the layer that writes it, and the routes that read it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use muxi_contract::audit::{AuditEntry, AuditPage, Outcome, ServerLogs};
use muxi_contract::management::{ProblemKind, Success};
use muxi_contract::{FormationId, RequestId};
use serde::Deserialize;

use super::auth::{Asks, Caller, address};
use super::error::Failure;
use crate::audit::{Recorder, action, line};
use crate::auth::role::is_safe;
use crate::auth::when::rfc3339;
use crate::store::audit::{self, Filter};
use crate::supervisor::Supervisor;

/// What `GET /rpc/audit` may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditQuery {
    actor: Option<String>,
    target: Option<String>,
    action: Option<String>,
    outcome: Option<Outcome>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `limit` is what the SDKs call it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogsQuery {
    lines: Option<usize>,
    limit: Option<usize>,
}

/// A call under way; if it is dropped before its answer, its caller left.
struct Call {
    recorder: Recorder,
    caller: Caller,
    entry: Option<AuditEntry>,
}

const PATH_CHARS_MAX: usize = 1_024;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
const LINES_DEFAULT: usize = 100;
const LINES_MAX: usize = 10_000;

/// Outside of authentication, so that it sees what was refused.
pub(super) async fn layer(
    State(supervisor): State<Supervisor>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if path != "/rpc" && !path.starts_with("/rpc/") {
        return next.run(request).await;
    }
    let context = supervisor.context();
    let changes = !is_safe(request.method());
    let (mut parts, body) = request.into_parts();
    let started = context.steady.now();
    let caller = Caller::default();
    let mut call = Call {
        recorder: context.audit.clone(),
        caller: caller.clone(),
        entry: Some(entry(&parts, context.clock.now_ms())),
    };
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, body)).await;
    let Some((mut entry, counted)) = call.end() else { return response };
    entry.status = response.status().as_u16();
    entry.duration_ms = elapsed_ms(started, context.steady.now());
    let extensions = response.extensions();
    let failure = extensions.get::<Failure>().map(|it| it.kind);
    entry.error = failure.or_else(|| extensions.get::<ProblemKind>().copied());
    // A stream tells its failure behind a head that is good.
    let outcome = entry.error.map_or(entry.status, ProblemKind::status);
    entry.outcome = Outcome::of_status(outcome);
    if entry.actor.is_some() {
        context.audit.record(entry, changes).await;
    } else {
        context.audit.record_stranger(entry, counted);
    }
    response
}

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Success<AuditPage>>, Failure> {
    let Query(query) = query.map_err(|error| invalid(error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid(format!("limit must be 1 to {PAGE_MAX}")));
    }
    let before = query.cursor.as_deref().map(decode_cursor).transpose()?;
    let AuditQuery { actor, target, action, outcome, since, until, .. } = query;
    let filter = Filter { actor, target, action, outcome, since, until };
    let store = &supervisor.context().store;
    let page = store.read(move |db| audit::page(db, &filter, before, limit)).await?;
    let next_cursor = page.next_before.map(|seq| URL_SAFE_NO_PAD.encode(seq.to_be_bytes()));
    let data = AuditPage { entries: page.entries, next_cursor };
    Ok(Json(Success { success: true, data }))
}

/// The newest entries as lines, oldest first: as text or, for clients that take JSON only, in it.
pub(super) async fn logs(
    State(supervisor): State<Supervisor>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| invalid(error.body_text()))?;
    let lines = query.lines.or(query.limit).unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let (mut entries, mut before) = (Vec::new(), None);
    while entries.len() < lines {
        let wanted = (lines - entries.len()).min(PAGE_MAX);
        let store = &supervisor.context().store;
        let page = store.read(move |db| audit::page(db, &Filter::default(), before, wanted));
        let page = page.await?;
        entries.extend(page.entries);
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    let lines = entries.iter().rev().map(line::render);
    if takes_json_only(&headers) {
        let data = ServerLogs { lines: lines.collect() };
        return Ok(Json(Success { success: true, data }).into_response());
    }
    let text: String = lines.map(|line| line + "\n").collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

fn takes_json_only(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = values.flat_map(|value| value.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim()).peekable();
    kinds.peek().is_some() && kinds.all(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn entry(parts: &axum::http::request::Parts, now_ms: i64) -> AuditEntry {
    let uri = &parts.uri;
    let path = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
    let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let target = action::target(route, uri.path()).or_else(|| {
        // A deploy's path does not say what it is about.
        let id = parts.headers.get("x-formation-id")?.to_str().ok()?;
        let named = parts.method == Method::POST && uri.path() == "/rpc/formations";
        named.then(|| id.parse::<FormationId>().ok()).flatten().map(String::from)
    });
    AuditEntry {
        seq: 0,
        at: rfc3339(now_ms),
        actor: None,
        claimed_key: None,
        remote: address(parts).map(|it| it.to_string()),
        method: parts.method.to_string(),
        path: shortened(path),
        action: action::name(&parts.method, route),
        target: target.map(|it| shortened(&it)),
        outcome: Outcome::Abandoned,
        status: 0,
        error: None,
        duration_ms: 0,
        request_id: parts
            .extensions
            .get::<RequestId>()
            .map(ToString::to_string)
            .unwrap_or_default(),
        count: 1,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(PATH_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn elapsed_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

fn decode_cursor(cursor: &str) -> Result<u64, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| bytes.try_into().ok());
    let seq = bytes.map(u64::from_be_bytes).filter(|seq| i64::try_from(*seq).is_ok());
    seq.ok_or_else(|| invalid("cursor is not one that this manager gave"))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ProblemKind::ValidationError, message)
}

// === impl Call ===

impl Call {
    /// Its entry with who asked, and whether those of its kind are counted only.
    fn end(&mut self) -> Option<(AuditEntry, bool)> {
        let entry = self.entry.take()?;
        Some(match self.caller.asks() {
            Some(Asks::Known { key_id }) => {
                (AuditEntry { actor: Some(key_id.clone()), ..entry }, false)
            }
            Some(Asks::Stranger { claimed_key, counted }) => {
                (AuditEntry { claimed_key: claimed_key.clone(), ..entry }, *counted)
            }
            None => (entry, false),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        match self.end() {
            Some((entry, _)) if entry.actor.is_some() => self.recorder.record_abandoned(entry),
            // Strangers fill no disk by leaving either.
            Some((entry, counted)) => self.recorder.record_stranger(entry, counted),
            None => {}
        }
    }
}
