//! One call to a receiver, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use muxi_formation::manifest::logging::{LogAuth, LogFormat};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret as _;
use tokio::sync::OnceCell;

use super::otlp;
use crate::limits::Limits;

/// Of an answer; more than a collector has to say.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct HttpSink {
    url: String,
    auth: LogAuth,
    format: LogFormat,
    timeout: Duration,
    /// Made for the first call: it reads the machine's certificates, which takes longer than a start.
    client: OnceCell<Client>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken {
        /// How many of the records it did not want after all, and why.
        rejected: Option<(u64, String)>,
    },
    /// Another time it may.
    Later { why: String, after: Option<Duration> },
    /// It never will.
    Refused { why: String },
}

// === impl HttpSink ===

impl HttpSink {
    pub(super) fn new(url: &str, auth: LogAuth, format: LogFormat, limits: &Limits) -> Self {
        let url = address(url, format);
        Self { url, auth, format, timeout: limits.log_call, client: OnceCell::new() }
    }

    pub(super) async fn send(&self, body: Bytes, now: Timestamp) -> Sent {
        let client = match self.client.get_or_try_init(|| self.connect()).await {
            Ok(client) => client,
            Err(why) => return Sent::Later { why, after: None },
        };
        let content_type = match self.format {
            LogFormat::Jsonl => "application/x-ndjson",
            LogFormat::Text => "text/plain; charset=utf-8",
            LogFormat::OpenTelemetry => "application/json",
        };
        let call = client.post(&self.url).header("content-type", content_type).body(body);
        match self.authorized(call).send().await {
            Ok(answer) if answer.status().is_success() => {
                let rejected = match self.format {
                    LogFormat::OpenTelemetry => otlp::rejected(&read(answer).await),
                    LogFormat::Jsonl | LogFormat::Text => None,
                };
                Sent::Taken { rejected }
            }
            Ok(answer) => refusal(&answer, now),
            // The address may hold a secret of the receiver's.
            Err(error) => Sent::Later { why: chain(&error.without_url()), after: None },
        }
    }

    fn authorized(&self, call: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            LogAuth::None => call,
            LogAuth::Bearer { token } => call.bearer_auth(token.expose_secret()),
            LogAuth::Basic { username, password } => {
                call.basic_auth(username, Some(password.expose_secret()))
            }
            LogAuth::ApiKey { header, key } => call.header(header, key.expose_secret()),
        }
    }

    async fn connect(&self) -> Result<Client, String> {
        let builder = Client::builder()
            .timeout(self.timeout)
            // The header that says who we are is for the one who was named.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("muxi-formation");
        let building = tokio::task::spawn_blocking(|| builder.build());
        let built = building.await.map_err(|_| "the client could not be made".to_owned())?;
        built.map_err(|error| chain(&error))
    }
}

// === private helpers ===

/// A collector that is named by its host alone listens where the specification says.
fn address(url: &str, format: LogFormat) -> String {
    match (Url::parse(url), format) {
        (Ok(mut parsed), LogFormat::OpenTelemetry) if parsed.path() == "/" => {
            parsed.set_path(otlp::PATH);
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

fn refusal(answer: &Response, now: Timestamp) -> Sent {
    let status = answer.status();
    let why = format!("it answered {status}");
    let again = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if !again {
        return Sent::Refused { why };
    }
    let after = answer.headers().get("retry-after").and_then(|it| it.to_str().ok());
    Sent::Later { why, after: after.and_then(|text| retry_after(text, now)) }
}

/// Seconds, or a moment.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

async fn read(mut answer: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_path_is_the_documented_one_unless_it_is_written() {
        for (url, expected) in [
            ("http://c:4318", "http://c:4318/v1/logs"),
            ("http://c:4318/", "http://c:4318/v1/logs"),
            ("https://c/otlp/v1/logs?x=1", "https://c/otlp/v1/logs?x=1"),
        ] {
            assert_eq!(address(url, LogFormat::OpenTelemetry), expected);
        }
        assert_eq!(address("http://c", LogFormat::Jsonl), "http://c");
    }

    #[test]
    fn a_receiver_says_how_long_to_wait() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
