//! The routes, and the performance of a reply's plan.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::asked::{Asked, list};
use super::embedding::embed;
use super::journal::{Journal, Outcome};
use super::objection::{objection, to_embeddings};
use super::recording;
use super::script::{Act, Prompter, Reply, Script, Tokens};
use super::wire::Wire;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) journal: Journal,
    /// Apart, so that a count of the model's answers is not disturbed.
    pub(super) embeddings: Journal,
    prompter: Mutex<Prompter>,
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
}

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(openai))
        .route("/v1/messages", post(anthropic))
        .route("/v1/audio/transcriptions", post(transcribe))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/__script", put(put_script))
        .route("/__gate/{name}", post(open_gate))
        .route("/__journal", get(journal).delete(clear_journal))
        .route("/__journal/wait", get(wait))
        .route("/__embeddings", get(embeddings_journal))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

// === impl State ===

impl State {
    pub(super) fn set_script(&self, script: Script) {
        *lock(&self.prompter) = Prompter::new(script);
        // Whoever waits at a gate of the old script is let through.
        lock(&self.gates).clear();
    }

    pub(super) fn open_gate(&self, name: &str) {
        lock(&self.gates).entry(name.to_owned()).or_default().send_replace(true);
    }

    async fn pass_gate(&self, name: &str) {
        let mut gate = lock(&self.gates).entry(name.to_owned()).or_default().subscribe();
        gate.wait_for(|open| *open).await.ok();
    }
}

// === the providers' routes ===

async fn openai(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Wire::OpenAi, "/v1/chat/completions", headers, &body).await
}

async fn anthropic(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Wire::Anthropic, "/v1/messages", headers, &body).await
}

/// A rule that names no words fits any recording; without one the reply names the file.
async fn transcribe(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let (state, wire) = (state.0, Wire::OpenAi);
    let form = recording::read(&headers, &body);
    let path = "/v1/audio/transcriptions".to_owned();
    let id = state.journal.open(path, presentable(&headers), form.clone().unwrap_or_default());
    let mut record = Record { state: state.clone(), id, ended: false };
    if let Some(message) =
        recording::objection(form.as_ref()).or(form.is_none().then_some("no form"))
    {
        record.end(Outcome::Refused);
        return refusal(400, &wire.error(400, message));
    }
    let form = form.unwrap_or_default();
    let name = form["file"]["filename"].as_str().unwrap_or_default();
    let asked = Asked::words(form["model"].as_str().unwrap_or_default(), name.to_owned());
    let reply = lock(&state.prompter).reply(&asked);
    pause(Duration::from_millis(reply.head_delay_ms)).await;
    if let Some(name) = &reply.gate {
        state.pass_gate(name).await;
    }
    if let Some(status) = reply.status.filter(|status| *status != 200) {
        record.end(Outcome::Refused);
        let error = reply.error_body.clone().unwrap_or_else(|| wire.error(status, "scripted"));
        return with_headers(refusal(status, &error), &reply);
    }
    record.end(Outcome::Finished);
    let mut answer = json!({ "text": reply.chunks().concat() });
    if let Some(tokens) = reply.usage {
        answer["usage"] = json!({
            "type": "tokens",
            "input_tokens": tokens.prompt_tokens,
            "output_tokens": tokens.completion_tokens,
        });
    }
    with_headers(Json(answer).into_response(), &reply)
}

async fn embeddings(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let (state, wire) = (state.0, Wire::OpenAi);
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = "/v1/embeddings".to_owned();
    let id = state.embeddings.open(path, presentable(&headers), body.clone());
    let refuse = |status: u16, error: &Value| {
        state.embeddings.close(id, Outcome::Refused);
        refusal(status, error)
    };
    if let Some(message) = to_embeddings(&body) {
        return refuse(400, &wire.error(400, &message));
    }
    let texts: Vec<_> = list(&body["input"]).iter().filter_map(Value::as_str).collect();
    let asked = Asked::words(body["model"].as_str().unwrap_or_default(), texts.join("\n"));
    let reply = {
        let mut prompter = lock(&state.prompter);
        if !prompter.admits(wire.key(&headers)) {
            return refuse(401, &wire.error(401, WRONG_KEY));
        }
        prompter.embedding_reply(&asked)
    };
    pause(Duration::from_millis(reply.head_delay_ms)).await;
    if let Some(status) = reply.status.filter(|status| *status != 200) {
        let error = reply.error_body.clone().unwrap_or_else(|| wire.error(status, "scripted"));
        return with_headers(refuse(status, &error), &reply);
    }
    state.embeddings.close(id, Outcome::Finished);
    let data = texts.iter().enumerate().map(
        |(index, text)| json!({ "object": "embedding", "index": index, "embedding": embed(text) }),
    );
    let answer = json!({
        "object": "list", "model": asked.model, "data": data.collect::<Value>(),
        "usage": { "prompt_tokens": asked.tokens(), "total_tokens": asked.tokens() },
    });
    with_headers(Json(answer).into_response(), &reply)
}

async fn models(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let prompter = lock(&state.prompter);
    let models = prompter.script.models.iter();
    let data: Vec<_> = models.map(|id| json!({ "id": id, "object": "model" })).collect();
    Json(json!({ "object": "list", "data": data }))
}

async fn answer(
    state: Arc<State>,
    wire: Wire,
    path: &str,
    headers: HeaderMap,
    body: &[u8],
) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = state.journal.open(path.to_owned(), presentable(&headers), body.clone());
    // From here on a dropped future or body is a client that left.
    let mut record = Record { state: state.clone(), id, ended: false };
    if let Some(message) = objection(wire, &headers, &body) {
        record.end(Outcome::Refused);
        return refusal(400, &wire.error(400, &message));
    }
    let asked = Asked::read(&body);
    let reply = {
        let mut prompter = lock(&state.prompter);
        if !prompter.admits(wire.key(&headers)) {
            record.end(Outcome::Refused);
            return refusal(401, &wire.error(401, WRONG_KEY));
        }
        prompter.reply(&asked)
    };

    pause(Duration::from_millis(reply.head_delay_ms)).await;
    if let Some(status) = reply.status.filter(|status| *status != 200) {
        record.end(Outcome::Refused);
        let error = reply.error_body.clone().unwrap_or_else(|| wire.error(status, "scripted"));
        return with_headers(refusal(status, &error), &reply);
    }
    let tokens = reply.usage.unwrap_or_else(|| count(&asked, &reply));
    let counted = wire.counts(&body).then_some(tokens);
    let mut show = Show { acts: reply.plan(wire, &asked.model, counted).into_iter(), record };
    let response = if body["stream"] == true {
        let frames = stream::unfold(show, async |mut show| Some((show.next().await?, show)));
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames)).into_response()
    } else {
        while let Some(frame) = show.next().await {
            if let Err(cut) = frame {
                return Body::from_stream(stream::iter([Err::<Bytes, _>(cut)])).into_response();
            }
        }
        Json(wire.whole(&asked.model, &reply, tokens)).into_response()
    };
    with_headers(response, &reply)
}

// === the control routes ===

async fn put_script(Shared(state): Shared<Arc<State>>, Json(script): Json<Value>) -> Response {
    match Script::from_json(script) {
        Ok(script) => {
            state.set_script(script);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn open_gate(Shared(state): Shared<Arc<State>>, Path(name): Path<String>) -> StatusCode {
    state.open_gate(&name);
    StatusCode::NO_CONTENT
}

async fn journal(Shared(state): Shared<Arc<State>>) -> Response {
    Json(state.journal.entries()).into_response()
}

async fn embeddings_journal(Shared(state): Shared<Arc<State>>) -> Response {
    Json(state.embeddings.entries()).into_response()
}

async fn clear_journal(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.journal.clear();
    state.embeddings.clear();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    count: usize,
    outcome: Option<Outcome>,
    #[serde(default = "ten_seconds")]
    timeout_ms: u64,
}

async fn wait(Shared(state): Shared<Arc<State>>, Query(wanted): Query<Wanted>) -> Response {
    let waiting = state.journal.wait(wanted.count, wanted.outcome);
    match tokio::time::timeout(Duration::from_millis(wanted.timeout_ms), waiting).await {
        Ok(entries) => Json(entries).into_response(),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, Json(state.journal.entries())).into_response(),
    }
}

fn ten_seconds() -> u64 {
    10_000
}

// === the performance ===

/// The line of one answer in the journal; dropped without an end, the client has gone.
struct Record {
    state: Arc<State>,
    id: u64,
    ended: bool,
}

impl Record {
    fn end(&mut self, outcome: Outcome) {
        if !self.ended {
            self.ended = true;
            self.state.journal.close(self.id, outcome);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Outcome::ClientGone);
    }
}

struct Show {
    acts: std::vec::IntoIter<Act>,
    record: Record,
}

impl Show {
    /// The next bytes to send; an error tears the connection down.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            let Some(act) = self.acts.next() else {
                self.record.end(Outcome::Finished);
                return None;
            };
            match act {
                Act::Pause(delay) => pause(delay).await,
                Act::Gate(name) => self.record.state.pass_gate(&name).await,
                Act::Frame(bytes) => return Some(Ok(bytes)),
                Act::Chunk(bytes) => {
                    self.record.state.journal.chunk_sent(self.record.id);
                    return Some(Ok(bytes));
                }
                Act::Stall => pending().await,
                Act::Cut => {
                    // The server writes out what it holds before it sees the error.
                    tokio::task::yield_now().await;
                    self.record.end(Outcome::Cut);
                    return Some(Err(io::Error::other("cut by the script")));
                }
                Act::Stop => {
                    self.record.end(Outcome::Cut);
                    return None;
                }
            }
        }
    }
}

// === private helpers ===

const WRONG_KEY: &str = "the key is not the right one";
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A sleep of zero would last until the timer's next millisecond; a yield only lets the server write out
/// what it holds, so that each chunk leaves on its own.
async fn pause(delay: Duration) {
    if delay.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(delay).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn presentable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = headers.iter().map(|(name, value)| {
        let secret = matches!(name.as_str(), "authorization" | "x-api-key");
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), if secret { "[hidden]".to_owned() } else { value })
    });
    shown.collect()
}

fn refusal(status: u16, error: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error)).into_response()
}

fn with_headers(mut response: Response, reply: &Reply) -> Response {
    match HeaderMap::try_from(&reply.headers) {
        Ok(own) => {
            response.headers_mut().extend(own);
            response
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Words, chunks and calls stand in for tokens.
fn count(asked: &Asked, reply: &Reply) -> Tokens {
    let said = reply.chunks().len() + reply.tool_calls.len();
    Tokens { prompt_tokens: asked.tokens(), completion_tokens: said as u64 }
}
