//! What happened to formations, and how webhooks tell it: the body that is sent, its headers and
//! its signature, and what the manager shows of deliveries.
//!
//! The signature is the one that published clients verify: `t=UNIX_SECONDS,v1=HEX`, the hex of
//! HMAC-SHA256 over `UNIX_SECONDS.BODY` under the secret's UTF-8 bytes.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use crate::ids::FormationId;

pub const SIGNATURE_HEADER: &str = "x-muxi-signature";
/// The event's id, by which a receiver knows what it has had before.
pub const EVENT_ID_HEADER: &str = "x-muxi-event-id";
/// The event's type.
pub const EVENT_HEADER: &str = "x-muxi-event";
/// The id of this delivery, the same for every attempt at it.
pub const DELIVERY_HEADER: &str = "x-muxi-delivery";

/// One event: the body of a webhook, and what `GET /rpc/events` lists. Every key is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// `evt_…`; the same however often the event is delivered.
    pub id: String,
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// RFC 3339, UTC.
    pub at: String,
    /// `server_id` of the manager's configuration.
    pub server_id: String,
    /// Null for a ping.
    pub formation: Option<EventFormation>,
    /// Why, in one line, where there is a reason.
    pub reason: Option<String>,
    /// The last lines of the formation's log, where something failed.
    pub log: Vec<String>,
    /// The operation that it belongs to.
    pub operation_id: Option<String>,
    /// The request that asked for it.
    pub request_id: Option<String>,
}

/// The formation as it was after the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventFormation {
    pub id: FormationId,
    pub generation: u64,
    /// The manifest's version.
    pub version: String,
    pub port: u16,
}

/// What can happen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub enum EventKind {
    /// A first deploy serves.
    #[serde(rename = "formation.deployed")]
    Deployed,
    /// A new generation serves.
    #[serde(rename = "formation.updated")]
    Updated,
    /// An earlier generation serves again, because an operator asked or a new one failed.
    #[serde(rename = "formation.rolled_back")]
    RolledBack,
    #[serde(rename = "formation.update_failed")]
    UpdateFailed,
    #[serde(rename = "formation.deploy_failed")]
    DeployFailed,
    /// Its process ended unasked, or was killed because it no longer answered.
    #[serde(rename = "formation.crashed")]
    Crashed,
    /// Healthy again after a crash.
    #[serde(rename = "formation.recovered")]
    Recovered,
    /// Given up after too many crashes in a row.
    #[serde(rename = "formation.crash_loop")]
    CrashLoop,
    #[serde(rename = "formation.deleted")]
    Deleted,
    /// Started or restarted by an operator.
    #[serde(rename = "formation.started")]
    Started,
    /// Stopped by an operator.
    #[serde(rename = "formation.stopped")]
    Stopped,
    /// Sent by the test of a webhook.
    #[serde(rename = "ping")]
    Ping,
}

/// `GET /rpc/events`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// Asks for older ones; null at the end.
    pub next_cursor: Option<String>,
}

/// `GET /rpc/webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    pub webhooks: Vec<WebhookView>,
}

/// One webhook as it is configured, without its secret, and what became of its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    pub id: String,
    /// Scheme and host; paths of webhooks are often secrets.
    pub url: String,
    /// Empty means all.
    pub events: Vec<EventKind>,
    /// Empty means all.
    pub formations: Vec<FormationId>,
    pub timeout_s: u32,
    pub max_attempts: u32,
    pub deliveries: DeliveryCounts,
}

/// Deliveries that the log still has, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryCounts {
    pub pending: u64,
    pub delivered: u64,
    pub failed: u64,
}

/// `GET /rpc/webhooks/deliveries`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryPage {
    pub deliveries: Vec<Delivery>,
    /// Asks for older ones; null at the end.
    pub next_cursor: Option<String>,
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// `dlv_…`.
    pub id: String,
    pub webhook: String,
    pub event_id: String,
    pub event: EventKind,
    pub formation: Option<FormationId>,
    pub state: DeliveryState,
    pub attempts: u32,
    pub created_at: String,
    /// Null unless pending.
    pub next_attempt_at: Option<String>,
    pub last_attempt_at: Option<String>,
    pub last_duration_ms: Option<u64>,
    /// The HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    pub delivered_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its first or next attempt.
    Pending,
    Delivered,
    /// Given up; an operator can retry it.
    Failed,
}

/// A word that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is none of {known}")]
pub struct UnknownWord {
    word: String,
    known: String,
}

/// The value of [`SIGNATURE_HEADER`] for exactly these bytes.
pub fn sign(secret: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={timestamp_s},v1={}", hex::encode(mac.finalize().into_bytes()))
}

// === impl EventKind ===

impl EventKind {
    pub const ALL: [Self; 12] = [
        Self::Deployed,
        Self::Updated,
        Self::RolledBack,
        Self::UpdateFailed,
        Self::DeployFailed,
        Self::Crashed,
        Self::Recovered,
        Self::CrashLoop,
        Self::Deleted,
        Self::Started,
        Self::Stopped,
        Self::Ping,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "formation.deployed",
            Self::Updated => "formation.updated",
            Self::RolledBack => "formation.rolled_back",
            Self::UpdateFailed => "formation.update_failed",
            Self::DeployFailed => "formation.deploy_failed",
            Self::Crashed => "formation.crashed",
            Self::Recovered => "formation.recovered",
            Self::CrashLoop => "formation.crash_loop",
            Self::Deleted => "formation.deleted",
            Self::Started => "formation.started",
            Self::Stopped => "formation.stopped",
            Self::Ping => "ping",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        find(word, &Self::ALL, Self::as_str)
    }
}

// === impl DeliveryState ===

impl DeliveryState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        find(word, &Self::ALL, Self::as_str)
    }
}

fn find<T: Copy>(
    word: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, UnknownWord> {
    let known = || all.iter().map(|it| name(*it)).collect::<Vec<_>>().join(", ");
    let found = all.iter().copied().find(|it| name(*it) == word);
    found.ok_or_else(|| UnknownWord { word: word.to_owned(), known: known() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_published_clients() {
        // From the Python SDK's own arithmetic.
        assert_eq!(
            sign("whsec_1", 1_790_000_000, br#"{"id":"evt_1"}"#),
            "t=1790000000,v1=ace72f9d559fb7bff58a31b5b3ac2ba03497737581c689dfe693de3df9ac4a1d"
        );
    }

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in DeliveryState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        let fault = "formation.deplyed".parse::<EventKind>().unwrap_err().to_string();
        assert!(fault.contains("deplyed") && fault.contains("formation.deployed"), "{fault}");
    }
}
