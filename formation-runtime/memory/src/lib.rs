//! Durable state of a formation, in an `SQLite` file or on a PostgreSQL server.
//!
//! Invariants:
//! - Only threads named `memory` touch the database. Each call is one short transaction on one.
//! - Writers go one after another, in the file as on the server.
//! - There is no query without a user: [`Store::for_user`] gives the only handle that has queries.
//! - When a call returns, its change is on the disk.
//! - A file that is not ours is never opened for writing.

mod answers;
mod artifacts;
mod audit;
mod calls;
mod credentials;
mod decisions;
mod deliveries;
mod jobs;
mod memories;
mod migrate;
mod owner;
mod pending;
mod people;
mod progress;
mod requests;
mod sessions;
mod skills;
mod sql;
mod store;
mod tasks;
mod tool_tokens;
mod transcript;
mod usage;
mod widgets;

use std::path::PathBuf;

use muxi_contract::{ErrorCode, RequestId, SessionId};

pub use crate::answers::{AnswerKey, Claim};
pub use crate::artifacts::{Artifact, ArtifactAge, ArtifactRefusal, NewArtifact};
pub use crate::audit::{AuditEntry, AuditFilter, AuditPage, AuditSeq, NewAuditEntry};
pub use crate::credentials::{NotKept, SealedCredential};
pub use crate::decisions::Decision;
pub use crate::deliveries::{Attempted, DueDelivery};
pub use crate::jobs::{Job, JobChange, JobRun, JobStatus, JobTimes, NewJob, NewRun, SettledRun};
pub use crate::memories::{
    Forget, Ingestion, Memory, MemoryFilter, NewMemory, Past, PastTurn, Remembered, Scope,
    TooManyMemories,
};
pub use crate::migrate::MigrationError;
pub use crate::pending::{
    NewPending, NewResolution, Pending, PendingFilter, PendingGroup, PendingKind, PendingStatus,
    Resolution, Resolved, Then,
};
pub use crate::people::{Identifier, LinkRefusal, NewIdentifier};
pub use crate::progress::{TaskResult, TaskResultStatus};
pub use crate::requests::{
    Abandoned, NewDelivery, NewRequest, Request, RequestKind, RequestMode, RequestSeq,
    RequestStatus, Tokens,
};
pub use crate::sessions::{Busy, Cleared, Kept, RestoredMessage};
pub use crate::sql::DatabaseError;
pub use crate::store::{Counts, Location, OpenError, Retention, Store, StoreError};
pub use crate::tasks::{NewTask, OpenMax, Task, TaskEnd, TaskKind, TaskLine, TaskState};
pub use crate::tool_tokens::SealedToken;
pub use crate::transcript::UserStore;
pub use crate::usage::{ModelCall, Spent, UsageFilter};
pub use crate::widgets::{NewWidget, Widget};

/// The file of a formation's memory within its data folder.
pub const DATABASE_FILE: &str = "memory.db";
/// Taken instead when [`DATABASE_FILE`] belongs to another program.
pub const DATABASE_FILE_BESIDE_FOREIGN: &str = "memory.muxi.db";

/// A question that is about to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTurn {
    pub session: SessionId,
    pub request_id: RequestId,
    pub agent: String,
    pub text: String,
    /// What is to be remembered of its files, as JSON that its maker reads again.
    pub files: Option<String>,
    /// It brings words of others along.
    pub is_tainted: bool,
    pub kind: RequestKind,
    pub mode: RequestMode,
    /// The request, if it was written down when it was accepted.
    pub accepted: Option<RequestSeq>,
    pub at_ms: i64,
}

/// What [`UserStore::begin_turn`] wrote, and what was said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunTurn {
    pub id: TurnId,
    pub request: RequestSeq,
    /// Oldest first, without the question of this turn.
    pub history: Vec<HistoryMessage>,
    /// Words of others are in the question, or in what it goes on from.
    pub is_tainted: bool,
    /// Who answered last in the session.
    pub last_agent: Option<String>,
    /// What the session waits for.
    pub pending: Option<Pending>,
}

/// A turn's place in the order of all turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryMessage {
    pub role: Role,
    pub text: String,
    /// As its maker wrote it.
    pub files: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

/// How a turn ended, with as much of the answer as there was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnEnd {
    pub outcome: Outcome,
    pub text: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// What each of its model calls used, of those that were answered.
    pub usage: Vec<ModelCall>,
    /// What the caller should know besides, as a JSON list that its maker reads again.
    pub warnings: Option<String>,
    /// Who is to be told of it.
    pub delivery: Option<NewDelivery>,
    /// Who is to be told of the end of the request that asked first, if this turn goes on from its
    /// question.
    pub original_delivery: Option<NewDelivery>,
    /// Who answered, if it is not who was expected to.
    pub agent: Option<String>,
    /// Words of others were read on the way.
    pub is_tainted: bool,
    /// Why it did what it did, as far as that is not written down yet.
    pub decisions: Vec<Decision>,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed {
        error: String,
        code: ErrorCode,
    },
    /// The caller left; the text is what had been generated by then.
    Cancelled,
    /// The process was told to stop, or died.
    Interrupted,
    /// It asked its user something; the text is the question. See [`UserStore::end_turn_waiting`].
    Waiting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub created_ms: i64,
    pub last_activity_ms: i64,
    pub message_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub seq: i64,
    pub role: Role,
    pub text: String,
    pub agent: String,
    pub request_id: RequestId,
    pub at_ms: i64,
    /// What came with it, as its maker wrote it.
    pub files: Option<String>,
    /// The turn's status: `running`, `completed`, `failed`, `cancelled` or `interrupted`.
    pub status: String,
}

/// Messages oldest first, and whether older ones exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub messages: Vec<Message>,
    pub has_more: bool,
}

/// Up to where [`UserStore::messages`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Seq(i64),
    TimeMs(i64),
}

/// Where the memory went: the file, and the foreign one that was left alone, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub file: PathBuf,
    pub foreign: Option<PathBuf>,
}

// === impl TurnId ===

impl TurnId {
    pub(crate) const fn new(seq: i64) -> Self {
        Self(seq)
    }

    pub(crate) const fn seq(self) -> i64 {
        self.0
    }
}

// === impl Role ===

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            _ => Err(()),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(crate) const fn status(&self) -> &'static str {
        match self {
            // A question is all that the turn had to say.
            Self::Completed | Self::Waiting => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Why there is no whole answer, unless somebody wanted none.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Interrupted => Some("the process stopped while it was answering"),
            Self::Completed | Self::Cancelled | Self::Waiting => None,
        }
    }

    pub const fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed { code, .. } => Some(*code),
            Self::Interrupted => Some(ErrorCode::ServiceUnavailable),
            Self::Completed | Self::Cancelled | Self::Waiting => None,
        }
    }

    /// What becomes of a request whose turn ends so.
    pub const fn request_status(&self) -> RequestStatus {
        match self {
            Self::Completed => RequestStatus::Completed,
            Self::Failed { .. } | Self::Interrupted => RequestStatus::Failed,
            Self::Cancelled => RequestStatus::Cancelled,
            Self::Waiting => RequestStatus::AwaitingClarification,
        }
    }
}

#[cfg(test)]
mod tests;
