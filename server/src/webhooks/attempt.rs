//! One attempt: a signed POST under a deadline, of whose answer little is read.

use std::time::Duration;

use futures_util::StreamExt as _;
use muxi_contract::events::{
    DELIVERY_HEADER, EVENT_HEADER, EVENT_ID_HEADER, SIGNATURE_HEADER, sign,
};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};

use super::Webhooks;
use crate::config::WebhookConfig;
use crate::store::deliveries::Due;
use crate::supervisor::Context;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    /// Absent when the receiver took it.
    pub(super) error: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Of an answer, which nobody needs beyond a word on why it is a refusal.
const ANSWER_BYTES_MAX: usize = 4 << 10;
const QUOTED_CHARS_MAX: usize = 200;

/// Sends the event and judges the answer: 2xx is taken, anything else is not.
pub(super) async fn send(context: &Context, webhook: &WebhookConfig, due: &Due) -> Answer {
    let failed = |error: String| Answer { status: None, error: Some(error), retry_after: None };
    let secret = match webhook.read_secret() {
        Ok(secret) => secret,
        Err(fault) => return failed(fault),
    };
    let client = match client(&context.webhooks) {
        Ok(client) => client,
        Err(error) => return failed(format!("failed to prepare for HTTPS: {}", told(error))),
    };
    let signature = sign(&secret, context.clock.now().as_second(), due.body.as_bytes());
    let request = client
        .post(&webhook.url)
        .timeout(Duration::from_secs(webhook.timeout_s.into()))
        .header(CONTENT_TYPE, "application/json")
        .header(EVENT_ID_HEADER, &due.event_id)
        .header(EVENT_HEADER, &due.kind)
        .header(DELIVERY_HEADER, &due.id)
        .header(SIGNATURE_HEADER, signature)
        .body(due.body.clone());
    match request.send().await {
        Ok(response) => judge(response).await,
        Err(error) => failed(told(error)),
    }
}

async fn judge(response: Response) -> Answer {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
    let text = beginning(response).await;
    let error = if status.is_success() {
        None
    } else if status.is_redirection() {
        Some(format!("answered {status}; redirects are not followed, give the final address"))
    } else if text.is_empty() {
        Some(format!("answered {status}"))
    } else {
        Some(format!("answered {status}: {text}"))
    };
    Answer { status: Some(status.as_u16()), error, retry_after: seconds.map(Duration::from_secs) }
}

/// The first words of an answer, in one line. What does not come is not missed.
async fn beginning(response: Response) -> String {
    let (mut bytes, mut chunks) = (Vec::new(), response.bytes_stream());
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|it| !it.is_control()).take(QUOTED_CHARS_MAX).collect()
}

fn client(webhooks: &Webhooks) -> Result<&Client, reqwest::Error> {
    if let Some(client) = webhooks.client.get() {
        return Ok(client);
    }
    let client = Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("muxi-server/", env!("CARGO_PKG_VERSION")))
        // A redirected POST would lose its body, and a signature is for one receiver.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(webhooks.client.get_or_init(|| client))
}

/// The error with its causes, without the address, which may hold a secret.
fn told(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::new(error.without_url()))
}
