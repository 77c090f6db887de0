//! One call over HTTP, under bounds: of time, of bytes, and of where it may lead.

use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::DEPTH_HEADER;
use super::card::Card;
use super::credentials::{Credentials, Tokens};
use super::error::RemoteError;
use super::wire::{Method, Version};

/// Calls one agent.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    credentials: Credentials,
    tokens: Tokens,
    /// How long the agent may say nothing.
    silence_max: Duration,
}

/// A call to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) card: &'a Card,
    pub(super) method: Method,
    pub(super) params: &'a Value,
    pub(super) depth: u8,
}

/// What came back.
pub(super) enum Answered<S> {
    Whole(Value),
    Pieces(S),
}

const CONNECT: Duration = Duration::from_secs(10);
const CARD_BYTES_MAX: usize = 256 * 1024;
/// Of one answer, files in it included.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
const VERSION_HEADER: &str = "a2a-version";

/// The whole body, if it is not longer than it may be.
pub(super) async fn read(response: Response, bytes_max: usize) -> Result<Vec<u8>, RemoteError> {
    let mut chunks = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failed)?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(RemoteError::TooLarge(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

// === impl Client ===

impl Client {
    pub(super) fn new(
        credentials: Credentials,
        silence_max: Duration,
    ) -> Result<Self, RemoteError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(silence_max)
            .user_agent(concat!("muxi-runtime/", env!("CARGO_PKG_VERSION")))
            // Credentials must not follow to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(RemoteError::Client)?;
        Ok(Self { http, credentials, tokens: Tokens::default(), silence_max })
    }

    /// The card, from where agents of either version have it.
    pub(super) async fn card(&self, home: &Url) -> Result<Card, RemoteError> {
        let mut missing = RemoteError::NoInterface;
        for name in [".well-known/agent-card.json", ".well-known/agent.json"] {
            let address = below(home, name)?;
            let headers =
                self.credentials.headers(b"", &self.tokens, &self.http, self.silence_max).await?;
            let request = self.http.get(address).headers(headers).timeout(self.silence_max);
            match accepted(request.send().await.map_err(failed)?) {
                Ok(response) => return Card::parse(&read(response, CARD_BYTES_MAX).await?, home),
                Err(error @ RemoteError::Status { status: 404, .. }) => missing = error,
                Err(error) => return Err(error),
            }
        }
        Err(missing)
    }

    /// An answer that is whole.
    pub(super) async fn call(&self, sent: Sent<'_>) -> Result<Value, RemoteError> {
        match self.open(sent).await? {
            Answered::Whole(result) => Ok(result),
            Answered::Pieces(_) => Err(RemoteError::Malformed("a stream that nobody asked for")),
        }
    }

    /// The beginning of an answer, whole or in pieces.
    pub(super) async fn open(
        &self,
        sent: Sent<'_>,
    ) -> Result<Answered<impl Stream<Item = Result<Value, RemoteError>> + Unpin + use<>>, RemoteError>
    {
        let response = self.post(sent).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        if !media_type.unwrap_or_default().starts_with("text/event-stream") {
            let bytes = timeout(self.silence_max, read(response, ANSWER_BYTES_MAX)).await;
            let bytes = bytes.map_err(|_| RemoteError::Late)??;
            let answer = serde_json::from_slice(&bytes)
                .map_err(|_| RemoteError::Malformed("it is not JSON"))?;
            return result(answer).map(Answered::Whole);
        }
        let mut left = ANSWER_BYTES_MAX;
        let bounded = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(failed)?;
            left = left.checked_sub(chunk.len()).ok_or(RemoteError::TooLarge(ANSWER_BYTES_MAX))?;
            Ok(chunk)
        });
        let pieces = bounded.eventsource().map(|event| match event {
            Ok(event) => {
                let piece = serde_json::from_str(&event.data)
                    .map_err(|_| RemoteError::Malformed("a piece of it is not JSON"))?;
                result(piece)
            }
            Err(eventsource_stream::EventStreamError::Transport(error)) => Err(error),
            Err(_) => Err(RemoteError::Malformed("it is no stream of events")),
        });
        Ok(Answered::Pieces(Box::pin(pieces)))
    }

    async fn post(&self, sent: Sent<'_>) -> Result<Response, RemoteError> {
        let Sent { card, method, params, depth } = sent;
        let body = card.version.call(method, params).to_string();
        let proof = self
            .credentials
            .headers(body.as_bytes(), &self.tokens, &self.http, self.silence_max)
            .await?;
        let streams = method == Method::Stream;
        let accept =
            if streams { "text/event-stream, application/json" } else { "application/json" };
        let mut request = self
            .http
            .post(card.endpoint.clone())
            .headers(proof)
            .header(CONTENT_TYPE, "application/json")
            .header("accept", accept)
            .header(DEPTH_HEADER, u16::from(depth))
            .body(body);
        if card.version >= Version::V1 {
            request = request.header(VERSION_HEADER, card.version.name());
        }
        let sending = timeout(self.silence_max, request.send());
        let response = sending.await.map_err(|_| RemoteError::Late)?.map_err(failed)?;
        let accepted = accepted(response);
        if let Err(RemoteError::Status { status: 401, .. }) = accepted {
            self.tokens.forget().await;
        }
        accepted
    }
}

// === private helpers ===

/// An address below the agent's own, also where that has no slash at its end.
fn below(home: &Url, name: &str) -> Result<Url, RemoteError> {
    let mut home = home.clone();
    if !home.path().ends_with('/') {
        home.set_path(&format!("{}/", home.path()));
    }
    home.join(name).map_err(|_| RemoteError::Malformed("its address is none"))
}

fn accepted(response: Response) -> Result<Response, RemoteError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        return Err(RemoteError::Redirect);
    }
    // Those before the program that would do the work, or it itself before it begins.
    let may_have_run = !matches!(status.as_u16(), 429 | 502 | 503);
    Err(RemoteError::Status { status: status.as_u16(), may_have_run })
}

/// What is in the envelope of JSON-RPC.
fn result(mut answer: Value) -> Result<Value, RemoteError> {
    if let Some(error) = answer.get("error").filter(|it| it.is_object()) {
        let message: String =
            error["message"].as_str().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect();
        return Err(RemoteError::Refused { code: error["code"].as_i64().unwrap_or(0), message });
    }
    match answer.get_mut("result").map(Value::take) {
        Some(result @ Value::Object(_)) => Ok(result),
        _ => Err(RemoteError::Malformed("an answer of JSON-RPC without a result")),
    }
}

const MESSAGE_CHARS_MAX: usize = 500;

/// The address is left out: it may hold what nobody should read.
fn failed(error: reqwest::Error) -> RemoteError {
    let is_late = error.is_timeout();
    let is_connect = error.is_connect();
    let error = error.without_url();
    match (is_connect, is_late) {
        (true, _) => RemoteError::Unreachable(error),
        (false, true) => RemoteError::Late,
        (false, false) => RemoteError::Broken(error),
    }
}
