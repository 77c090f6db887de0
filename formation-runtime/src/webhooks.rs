//! Tells others of requests that have ended: signed, again until it is taken, over restarts.

mod address;

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use muxi_memory::{Attempted, DueDelivery, StoreError};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

pub use self::address::{PrivateAddress, check_public, check_url};
use self::address::{PublicOnly, failure};
use crate::app::{App, Parts};
use crate::events::{Event, EventKind};
use crate::keys::KeyClass;

/// Waits between attempts double from the first one to the longest.
const FIRST_WAIT_MS: i64 = 1_000;
const LONGEST_WAIT_MS: i64 = 60_000;
const AT_ONCE: u32 = 8;
/// A delivery that a living process took and never ended is tried by another after this; those of a dead
/// one are free at once.
const CLAIM_MS: i64 = 330_000;
/// How soon a delivery of another process is seen; this one's own are seen at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a failure of the store, or what it did not come to in one go.
const PAUSE: Duration = Duration::from_millis(200);

/// Delivers until the process stops.
pub async fn run(app: App, stop: CancellationToken) {
    // Made for the first delivery: that reads the machine's certificates, which takes longer than a start.
    let client = OnceLock::new();
    let delivering = async {
        loop {
            let wait = match deliver_due(&app, &client).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "webhooks");
                    PAUSE
                }
            };
            // Either way it is time to look again.
            let _woken = tokio::time::timeout(wait, app.store.delivery_made()).await;
        }
    };
    // Attempts that are cut off are made again by the next process.
    let _stopped = stop.run_until_cancelled(delivering).await;
}

/// How receivers are reached.
#[derive(Debug)]
struct Clients {
    /// Those that the operator named.
    trusted: reqwest::Client,
    /// Those that clients named. Without the machine's proxy: it would resolve names by itself.
    guarded: reqwest::Client,
}

impl Clients {
    fn new(app: &Parts) -> reqwest::Result<Self> {
        let timeout = Duration::from_secs(app.manifest.asynchronous.webhook_timeout.into());
        let builder = || {
            reqwest::Client::builder()
                .timeout(timeout)
                // A receiver that moves is told to whoever named it, not followed to where it points.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent("muxi-formation")
        };
        let guarded = builder().no_proxy().dns_resolver(PublicOnly).build()?;
        Ok(Self { trusted: builder().build()?, guarded })
    }

    fn choose(&self, app: &Parts, url: &str) -> Result<&reqwest::Client, PrivateAddress> {
        if is_trusted(app, url) {
            return Ok(&self.trusted);
        }
        // Addresses without a name are never resolved.
        check_public(url)?;
        Ok(&self.guarded)
    }
}

/// Whether the operator named the address, or wants all to be reached.
fn is_trusted(app: &Parts, url: &str) -> bool {
    let settings = &app.manifest.asynchronous;
    let mut triggers = app.triggers.iter().filter_map(|trigger| trigger.webhook.as_ref());
    settings.webhook_allow_private
        || settings.webhook_url.as_deref() == Some(url)
        || triggers.any(|named| named.expose_secret() == url)
}

/// Tries what is due, and says how long there is nothing to do.
async fn deliver_due(app: &Parts, made: &OnceLock<Clients>) -> Result<Duration, StoreError> {
    let now_ms = app.clock.now_ms();
    let Some(next_ms) = app.store.next_delivery_ms().await? else { return Ok(LOOK_EVERY) };
    if let Ok(left_ms @ 1..) = u64::try_from(next_ms - now_ms) {
        return Ok(Duration::from_millis(left_ms).min(LOOK_EVERY));
    }
    if made.get().is_none() {
        match Clients::new(app) {
            Ok(clients) => drop(made.set(clients)),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "webhooks cannot be sent"
                );
                return Ok(LOOK_EVERY);
            }
        }
    }
    let Some(clients) = made.get() else { return Ok(LOOK_EVERY) };
    let due = app.store.claim_deliveries(now_ms, now_ms + CLAIM_MS, AT_ONCE).await?;
    let attempts = stream::iter(due)
        .map(|delivery| async move {
            let came_of_it = attempt(app, clients, &delivery).await;
            let event = event(app, &delivery, &came_of_it);
            let now_ms = app.clock.now_ms();
            app.store.note_attempt(delivery.seq, came_of_it, now_ms).await?;
            app.events.tell(event);
            Ok(())
        })
        .buffer_unordered(AT_ONCE as usize);
    let noted: Vec<Result<(), StoreError>> = attempts.collect().await;
    noted.into_iter().collect::<Result<(), StoreError>>()?;
    Ok(PAUSE)
}

async fn attempt(app: &Parts, clients: &Clients, delivery: &DueDelivery) -> Attempted {
    let client = match clients.choose(app, &delivery.url) {
        Ok(client) => client,
        Err(private) => return Attempted::GivenUp { error: private.to_string() },
    };
    let seconds = app.clock.now().as_second();
    let key = app.keys.get(KeyClass::Admin).expose_secret();
    let request = client
        .post(&delivery.url)
        .header("content-type", "application/json")
        .header("x-muxi-timestamp", seconds.to_string())
        .header("x-muxi-signature", signature(key.as_bytes(), seconds, &delivery.body))
        .header("x-muxi-delivery", &delivery.id)
        .body(delivery.body.clone());
    let error = match request.send().await {
        Ok(answer) if answer.status().is_success() => return Attempted::Delivered,
        Ok(answer) => format!("it answered {}", answer.status()),
        Err(error) => failure(error),
    };
    tracing::warn!(delivery = delivery.id, attempts = delivery.attempts + 1, error, "webhook");
    let retries_max = app.manifest.asynchronous.webhook_retries;
    after_failure(delivery.attempts, retries_max, error, app.clock.now_ms())
}

fn event(app: &Parts, delivery: &DueDelivery, came_of_it: &Attempted) -> Event {
    let (kind, message) = match came_of_it {
        Attempted::Delivered => (EventKind::WebhookDelivered, "a webhook was delivered"),
        Attempted::Again { error, .. } => (EventKind::WebhookFailed, error.as_str()),
        Attempted::GivenUp { error } => (EventKind::WebhookGivenUp, error.as_str()),
    };
    app.event(kind, message)
        .with("delivery_id", delivery.id.clone())
        .with("attempts", delivery.attempts + 1)
}

fn after_failure(failed_before: u32, retries_max: u32, error: String, now_ms: i64) -> Attempted {
    if failed_before >= retries_max {
        return Attempted::GivenUp { error };
    }
    let wait_ms = FIRST_WAIT_MS.saturating_mul(1 << failed_before.min(30)).min(LONGEST_WAIT_MS);
    Attempted::Again { at_ms: now_ms + wait_ms, error }
}

/// `t=…,v1=…` over the time and the very bytes that are sent.
fn signature(key: &[u8], seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_end() {
        let waits: Vec<i64> = (0..10)
            .map_while(|failed| match after_failure(failed, 7, String::new(), 0) {
                Attempted::Again { at_ms, .. } => Some(at_ms),
                Attempted::Delivered | Attempted::GivenUp { .. } => None,
            })
            .collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    }

    #[test]
    fn the_signature_is_the_published_one() {
        // Computed with the standard library of another language.
        let expected = "t=1700000000,v1=\
                        45149678a3363b2d22d9dc99074bb135cf832c10849b9dabcd4b79715e362e54";
        assert_eq!(signature(b"fma_key", 1_700_000_000, "{}"), expected);
    }
}
