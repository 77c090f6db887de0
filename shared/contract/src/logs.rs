//! Logs of a formation: what is asked, what is answered, and the events of a follower.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::FormationId;

/// Where a process wrote a line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// A place between two lines of a formation's log; following it begins there.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct LogCursor {
    /// The number of the file, counted from 1 and never used twice.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// The text is no cursor that this server gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no cursor; take the `id` of an event or the `cursor` of an entry")]
pub struct InvalidLogCursor(String);

/// One line of a formation's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// RFC 3339 with microseconds.
    pub at: String,
    pub stream: LogStream,
    /// The number of the process that wrote it.
    pub instance: u64,
    pub line: String,
    /// The place right after it.
    #[schema(value_type = String)]
    pub cursor: LogCursor,
}

/// `data` of `GET …/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogsAnswer {
    pub formation_id: FormationId,
    /// The last lines of each stream that was asked for; null when nothing was ever logged.
    pub logs: BTreeMap<LogStream, Option<Vec<String>>>,
    /// Lines that are kept, whatever was selected.
    pub total_lines: BTreeMap<LogStream, u64>,
    /// The same lines as in `logs`, in the order they were written.
    pub entries: Vec<LogEntry>,
    /// Older lines were left out because the answer would have become too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Parameters that were not understood and had no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `data` of the first event of a follower, `connected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogConnected {
    pub formation_id: FormationId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `data` of a `log` event; the event's id is the cursor after the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    pub formation_id: FormationId,
    pub line: String,
    pub stream: LogStream,
    pub at: String,
    pub instance: u64,
}

/// `data` of a `gap` event: lines were deleted by rotation before they could be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogGap {
    pub formation_id: FormationId,
    pub message: String,
}

/// `data` of the last event, `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEnd {
    pub formation_id: FormationId,
    pub reason: LogEndReason,
}

/// Why a follower gets no more lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogEndReason {
    /// The formation was deleted.
    Deleted,
    /// The manager stops; following goes on from the last id when it is back.
    ManagerStopped,
    /// The log could not be read; the manager's own log says why.
    Unreadable,
}

// === impl LogStream ===

impl LogStream {
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];
}

// === impl LogCursor ===

impl LogCursor {
    /// Before everything.
    pub const START: Self = Self { segment: 0, offset: 0 };
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.segment, self.offset)
    }
}

impl FromStr for LogCursor {
    type Err = InvalidLogCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (segment, offset) = text.split_once('-')?;
            Some(Self { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
        };
        parsed().ok_or_else(|| InvalidLogCursor(text.to_owned()))
    }
}

impl TryFrom<String> for LogCursor {
    type Error = InvalidLogCursor;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LogCursor> for String {
    fn from(cursor: LogCursor) -> Self {
        cursor.to_string()
    }
}
