//! An event as it leaves the process: texts only, redacted.

use jiff::Timestamp;
use muxi_contract::UserId;
use serde_json::{Map, Value};

use super::{Event, EventKind};
use crate::redact::Scope;

/// A provider may say anything in its errors.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: String,
    pub kind: EventKind,
    pub at: Timestamp,
    pub message: String,
    pub user: Option<String>,
    pub session: Option<String>,
    pub request: Option<String>,
    pub agent: Option<String>,
    pub data: Map<String, Value>,
}

// === impl Record ===

impl Record {
    /// Callers may name users, sessions and requests by what is private, such as an e-mail address.
    pub fn of(event: &Event, user: Option<&UserId>, mut scope: Scope) -> Self {
        let mut text = |text: &str| scope.text(text).into_owned();
        Self {
            id: event.id.clone(),
            kind: event.kind,
            at: event.at,
            message: limited(text(&event.message)),
            user: user.map(|it| text(it.as_str())),
            session: event.session.as_ref().map(|it| text(it.as_str())),
            request: event.request.as_ref().map(|it| text(it.as_str())),
            agent: event.agent.clone(),
            data: event
                .data
                .iter()
                .map(|(name, value)| (name.clone(), scope.value(value)))
                .collect(),
        }
    }
}

// === private helpers ===

/// After redaction: half a secret is none that would be found.
fn limited(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}
