//! Tells the operator's receivers what happened: every event at least once, in order for each
//! formation, signed, and again until it is taken or given up.
//!
//! The events are in the store before this looks at them, and a delivery is noted there only after
//! its attempt, so a manager that dies in between delivers it once more; receivers tell by the
//! event's id.

mod attempt;
mod schedule;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_contract::events::{Delivery, DeliveryState, EventKind};
use tokio::sync::{Notify, watch};

use crate::config::{Config, WebhookConfig};
use crate::store::deliveries::{self, Attempt, Due, Subscriber};
use crate::store::events::{self, NewEvent};
use crate::store::{Store, StoreError};
use crate::supervisor::Context;

/// What handlers and the delivering task share.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// Made for the first delivery: it reads the machine's certificates.
    client: OnceLock<reqwest::Client>,
    /// Something is due that was not before.
    due: Notify,
    /// Counts the attempts that were noted.
    noted: watch::Sender<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("webhook `{0}` is not configured")]
    Unknown(String),
    #[error("delivery `{0}` is not known")]
    UnknownDelivery(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Attempts that are under way at once.
const AT_ONCE: usize = 8;
/// A store that fails is asked again after this.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// How often old events and deliveries are removed.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// The longest sleep, so that a clock that is set does not delay deliveries for long.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Every webhook whose secret cannot be read now, with the reason.
pub fn faults(config: &Config) -> Vec<String> {
    let fault = |(at, webhook): (usize, &WebhookConfig)| {
        webhook.read_secret().err().map(|fault| format!("- webhooks[{at}].{fault}"))
    };
    config.webhooks.iter().enumerate().filter_map(fault).collect()
}

/// Lets newly configured webhooks begin with what happens from now on, and ends those that are gone.
pub async fn subscribe(context: &Context) -> Result<(), StoreError> {
    let subscribers = subscribers(&context.live());
    let server_id = context.config.server_id.clone();
    let subscribe = context.store.write(move |tx| {
        events::name_server(tx, &server_id)?;
        deliveries::subscribe(tx, &subscribers)
    });
    subscribe.await
}

/// Delivers until the manager stops.
pub async fn deliver(context: Arc<Context>) {
    let stopping = context.shutdown.stopping.clone();
    let mut newest = context.store.newest_event();
    let mut under_way = FuturesUnordered::new();
    let mut busy = BTreeSet::<String>::new();
    let mut prune_at = tokio::time::Instant::now();
    let mut subscribed = subscribers(&context.live());
    loop {
        newest.mark_unchanged();
        let now = tokio::time::Instant::now();
        let looked = async {
            let configured = subscribers(&context.live());
            if configured != subscribed {
                subscribe(&context).await?;
                subscribed = configured;
            }
            if now >= prune_at {
                prune(&context).await?;
                prune_at = now + PRUNE_EVERY;
            }
            look(&context, &subscribed, busy.len()).await
        };
        let (due, sleep) = looked.await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "webhooks wait for the store");
            (Vec::new(), STORE_RETRY)
        });
        for due in due {
            if busy.len() < AT_ONCE && busy.insert(due.id.clone()) {
                let id = due.id.clone();
                under_way.push(attempt_and_note(Arc::clone(&context), due).map(|()| id).boxed());
            }
        }
        tokio::select! {
            biased;
            // What is under way is cut off: it is delivered again by the next manager.
            () = stopping.cancelled() => return,
            // Cancel-safe, like all that follow: each only waits.
            Some(id) = under_way.next() => { busy.remove(&id); }
            () = context.webhooks.due.notified() => {}
            // The store's thread may be gone at the end; then there is nothing to wait for.
            Ok(()) = newest.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Hands out new events; answers what is due and how long to sleep if nothing happens.
async fn look(
    context: &Context,
    subscribers: &[Subscriber],
    busy: usize,
) -> Result<(Vec<Due>, Duration), StoreError> {
    if subscribers.is_empty() {
        return Ok((Vec::new(), LOOK_EVERY));
    }
    let now_ms = context.clock.now_ms();
    while context.store.read(deliveries::is_behind).await? {
        let subscribers = subscribers.to_vec();
        let handed = context.store.write(move |tx| deliveries::hand_out(tx, &subscribers, now_ms));
        handed.await?;
    }
    context
        .store
        .read(move |db| {
            let due = deliveries::due(db, now_ms, AT_ONCE + busy)?;
            let next_ms =
                deliveries::next_at(db, now_ms)?.map(|at_ms| at_ms.saturating_sub(now_ms));
            let next = next_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
            Ok((due, next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)))
        })
        .await
}

async fn prune(context: &Context) -> Result<(), StoreError> {
    let now_ms = context.clock.now_ms();
    let pruned = context.store.write(move |tx| {
        events::prune(tx, now_ms)?;
        deliveries::prune(tx)
    });
    pruned.await
}

/// One attempt. Its lane is held until the outcome is stored: a store that is full must not become
/// a delivery a second.
async fn attempt_and_note(context: Arc<Context>, due: Due) {
    let config = context.live();
    // Gone since it was found due; the next look ends what is left of it.
    let Ok(webhook) = find(&config, &due.webhook) else { return };
    let (at_ms, started) = (context.clock.now_ms(), tokio::time::Instant::now());
    let answer = attempt::send(&context, webhook, &due).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let attempts = due.attempts + 1;
    let is_over = answer.error.is_none() || attempts >= due.attempts_max;
    let wait = schedule::delay(attempts, answer.retry_after, fastrand::f64());
    let next_at_ms = (!is_over).then(|| context.clock.now_ms() + schedule::ms(wait));
    match (&answer.error, next_at_ms) {
        (None, _) => {
            tracing::info!(webhook = due.webhook, event = due.event_id, attempts, "delivered");
        }
        (Some(error), Some(_)) => tracing::warn!(
            webhook = due.webhook,
            event = due.event_id,
            attempts,
            error,
            "not delivered yet"
        ),
        (Some(error), None) => tracing::error!(
            webhook = due.webhook,
            event = due.event_id,
            attempts,
            error,
            "given up"
        ),
    }
    let outcome =
        Attempt { at_ms, duration_ms, status: answer.status, error: answer.error, next_at_ms };
    loop {
        let (id, outcome) = (due.id.clone(), outcome.clone());
        match context.store.write(move |tx| deliveries::note(tx, &id, &outcome)).await {
            Ok(()) => break,
            Err(error) => {
                tracing::debug!(%error, "an attempt is noted later");
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }
    context.webhooks.noted.send_modify(|count| *count += 1);
}

fn subscribers(config: &Config) -> Vec<Subscriber> {
    config.webhooks.iter().map(subscriber).collect()
}

fn subscriber(webhook: &WebhookConfig) -> Subscriber {
    Subscriber {
        webhook: webhook.id.clone(),
        kinds: webhook.events.clone(),
        formations: webhook.formations.clone(),
        attempts_max: webhook.max_attempts,
    }
}

// === impl Webhooks ===

impl Webhooks {
    /// The configuration was read again.
    pub fn reconfigured(&self) {
        self.due.notify_one();
    }

    /// Makes a delivery due now, whatever became of it before.
    pub async fn retry(&self, context: &Context, id: &str) -> Result<Delivery, WebhookError> {
        let asked = id.to_owned();
        let found = context.store.read(move |db| deliveries::get(db, &asked)).await?;
        let found = found.ok_or_else(|| WebhookError::UnknownDelivery(id.to_owned()))?;
        let attempts_max = find(&context.live(), &found.webhook)?.max_attempts;
        let (asked, now_ms) = (id.to_owned(), context.clock.now_ms());
        let retried = context
            .store
            .write(move |tx| {
                deliveries::retry(tx, &asked, attempts_max, now_ms)?;
                deliveries::get(tx, &asked)
            })
            .await?;
        self.due.notify_one();
        retried.ok_or_else(|| WebhookError::UnknownDelivery(id.to_owned()))
    }

    /// Sends a ping, once, and answers what became of it.
    pub async fn test(
        &self,
        context: &Context,
        id: &str,
        request_id: Option<String>,
    ) -> Result<Delivery, WebhookError> {
        let config = context.live();
        let webhook = find(&config, id)?;
        let once = Subscriber { attempts_max: 1, ..subscriber(webhook) };
        let ping = NewEvent {
            kind: EventKind::Ping,
            formation: None,
            reason: Some("An operator tests this webhook".to_owned()),
            log: Vec::new(),
            operation_id: None,
            request_id,
        };
        let now_ms = context.clock.now_ms();
        let mut noted = self.noted.subscribe();
        let delivery = context
            .store
            .write(move |tx| {
                let event = events::record(tx, ping, now_ms)?;
                deliveries::insert(tx, &once, event, "", now_ms)
            })
            .await?;
        self.due.notify_one();
        let ended = async {
            loop {
                let now = stored(&context.store, &delivery).await?;
                if now.state != DeliveryState::Pending || noted.changed().await.is_err() {
                    return Ok(now);
                }
            }
        };
        // Others may be before it in the queue: then the answer is that it is pending.
        let patience = Duration::from_secs(u64::from(webhook.timeout_s) + 1);
        match tokio::time::timeout(patience, ended).await {
            Ok(ended) => ended,
            Err(_elapsed) => stored(&context.store, &delivery).await,
        }
    }
}

async fn stored(store: &Store, id: &str) -> Result<Delivery, WebhookError> {
    let asked = id.to_owned();
    let found = store.read(move |db| deliveries::get(db, &asked)).await?;
    found.ok_or_else(|| WebhookError::UnknownDelivery(id.to_owned()))
}

fn find<'a>(config: &'a Config, id: &str) -> Result<&'a WebhookConfig, WebhookError> {
    let found = config.webhooks.iter().find(|it| it.id == id);
    found.ok_or_else(|| WebhookError::Unknown(id.to_owned()))
}
