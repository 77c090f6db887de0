//! What happens in the formation, told to whoever follows: a closed list of kinds, and a bounded log
//! from which a reader that comes back goes on.

mod log;
mod record;

use jiff::Timestamp;
use muxi_contract::ids::nanoid;
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_formation::manifest::logging::LogLevel;
use serde_json::{Map, Value};

pub use self::log::{EventLog, Next, Reader};
pub use self::record::Record;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `evt_` and what is in no other event.
    pub id: String,
    pub kind: EventKind,
    pub at: Timestamp,
    pub message: String,
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
    pub request: Option<RequestId>,
    pub agent: Option<String>,
    pub data: Map<String, Value>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal $level:ident),* $(,)?) => {
        /// Everything that is ever told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum EventKind {
            $($(#[doc = $doc])+ $kind),*
        }

        impl EventKind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            pub const fn level(self) -> Level {
                match self { $(Self::$kind => Level::$level),* }
            }

            /// For the reference page.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$kind => concat!($($doc),+)),* }
            }
        }
    };
}

kinds! {
    /// The formation serves.
    FormationStarted = "formation.started" Info,
    /// The formation ends what it has and stops.
    FormationStopping = "formation.stopping" Info,
    /// A destination of logs takes events more slowly than they come; those that have no room are counted.
    LoggingDropped = "logging.dropped" Warning,
    /// A request was written down to be worked on later.
    RequestAccepted = "request.accepted" Info,
    /// A request of a process that is gone is worked on here.
    RequestResumed = "request.resumed" Warning,
    /// A request was cut off with its process and cannot go on.
    RequestAbandoned = "request.abandoned" Error,
    /// A question is on the disk and the model is asked.
    ChatStarted = "chat.started" Info,
    /// What was said in a recording was written down.
    ChatTranscribed = "chat.transcribed" Info,
    /// A question is answered.
    ChatCompleted = "chat.completed" Info,
    /// A question could not be answered.
    ChatFailed = "chat.failed" Error,
    /// An answer was cut short because somebody asked for it, or left.
    ChatCancelled = "chat.cancelled" Info,
    /// Nobody said in time what a request waited for.
    RequestExpired = "request.expired" Warning,
    /// An answer waits for a word of its user.
    ChatWaiting = "chat.waiting" Info,
    /// What a message is about, as the routing call found.
    TopicsExtracted = "request.topics.extracted" Debug,
    /// An agent was chosen to answer.
    AgentSelected = "agent.selected" Info,
    /// A message is about a procedure, which is followed.
    ProcedureMatched = "sop.matched" Info,
    /// A message was split into tasks.
    WorkflowPlanned = "workflow.decomposed" Info,
    /// A task of a plan begins.
    TaskStarted = "workflow.task.started" Info,
    /// A task of a plan is done.
    TaskCompleted = "workflow.task.completed" Info,
    /// A task of a plan could not be done.
    TaskFailed = "workflow.task.failed" Warning,
    /// What is left of a plan that failed is planned anew.
    WorkflowReplanned = "workflow.replanning.started" Warning,
    /// A tool is called.
    ToolCalled = "mcp.tool.called" Info,
    /// A tool has answered.
    ToolCompleted = "mcp.tool.completed" Info,
    /// A call of a tool has failed.
    ToolFailed = "mcp.tool.failed" Warning,
    /// A server has told what tools it has.
    ServerConnected = "mcp.connection.established" Info,
    /// A server cannot be reached, so that its tools are missing.
    ServerFailed = "mcp.connection.failed" Warning,
    /// A session was deleted, or a buffer cleared.
    SessionDeleted = "session.deleted" Info,
    /// A session was replaced by what its client kept of it.
    SessionRestored = "session.restored" Info,
    /// A person was made for an identifier.
    UserCreated = "user.created" Info,
    /// Identifiers were linked to a person.
    UserLinked = "user.identifiers.linked" Info,
    /// An identifier was unlinked from its person.
    UserUnlinked = "user.identifiers.unlinked" Info,
    /// A job's time has come and its request was written down.
    JobStarted = "job.started" Info,
    /// The request of a job was answered.
    JobCompleted = "job.completed" Info,
    /// The request of a job could not be answered.
    JobFailed = "job.failed" Error,
    /// The request of a job was cancelled.
    JobCancelled = "job.cancelled" Info,
    /// A job's time was missed and the run is left out.
    JobSkipped = "job.skipped" Warning,
    /// A job runs no more because it failed too often in a row.
    JobPaused = "job.paused" Warning,
    /// Code is written, or a job elsewhere is watched, behind a conversation.
    BackgroundJobStarted = "background_job.started" Info,
    /// Work behind a conversation is done.
    BackgroundJobCompleted = "background_job.completed" Info,
    /// Work behind a conversation has failed.
    BackgroundJobFailed = "background_job.failed" Warning,
    /// Work behind a conversation did not end in its time.
    BackgroundJobTimedOut = "background_job.timed_out" Warning,
    /// Work behind a conversation was cancelled.
    BackgroundJobCancelled = "background_job.cancelled" Info,
    /// A credential of a user is kept.
    CredentialCreated = "credential.created" Info,
    /// A credential of a user was deleted.
    CredentialDeleted = "credential.deleted" Info,
    /// A file that was made for a user is kept.
    ArtifactCreated = "artifact.created" Info,
    /// A file that was made for a user could not be kept.
    ArtifactFailed = "artifact.failed" Warning,
    /// An artifact was deleted with all of its versions.
    ArtifactDeleted = "artifact.deleted" Info,
    /// Artifacts were older than the manifest wants, and are gone.
    ArtifactsExpired = "artifact.expired" Info,
    /// Something is remembered.
    MemoryCreated = "memory.created" Info,
    /// A memory was deleted.
    MemoryDeleted = "memory.deleted" Info,
    /// The operator had memories forgotten.
    MemoryForgotten = "memory.forgotten" Info,
    /// A receiver took a webhook.
    WebhookDelivered = "webhook.delivered" Info,
    /// A receiver did not take a webhook; it is tried again.
    WebhookFailed = "webhook.failed" Warning,
    /// A webhook was tried for the last time.
    WebhookGivenUp = "webhook.given_up" Error,
}

// === impl EventKind ===

impl EventKind {
    /// Whether it is about the formation itself and nobody's conversation.
    pub const fn is_system(self) -> bool {
        matches!(
            self,
            Self::FormationStarted
                | Self::FormationStopping
                | Self::LoggingDropped
                | Self::WebhookDelivered
                | Self::WebhookFailed
                | Self::WebhookGivenUp
        )
    }
}

// === impl Event ===

impl Event {
    pub fn new(kind: EventKind, at: Timestamp, message: impl Into<String>) -> Self {
        Self {
            id: format!("evt_{}", nanoid()),
            kind,
            at,
            message: message.into(),
            user: None,
            session: None,
            request: None,
            agent: None,
            data: Map::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}

// === impl Level ===

impl Level {
    pub const fn of(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warning => Self::Warning,
            LogLevel::Error => Self::Error,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    /// As people and older configurations write them.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "debug" | "trace" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warning),
            "error" | "critical" => Some(Self::Error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The reference page, as it is committed; `UPDATE_REFERENCE=1` writes it anew.
    #[test]
    fn the_reference_names_every_kind() {
        let mut page = "# Events\n\nWhat `GET /v1/events` and `GET /v1/logs` tell, by kind. Made from \
                        `src/events.rs` by its test.\n\n| event | level | when |\n| --- | --- | --- |\n"
            .to_owned();
        for kind in EventKind::ALL {
            let (name, level) = (kind.name(), kind.level().name());
            writeln!(page, "| `{name}` | {level} | {} |", kind.description().trim()).unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/EVENTS.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            page,
            "run it with UPDATE_REFERENCE=1"
        );
    }

    #[test]
    fn names_are_of_one_style() {
        for kind in EventKind::ALL {
            let is_word = |text: &str| {
                !text.is_empty() && text.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
            };
            let name = kind.name();
            assert!(name.contains('.') && name.split('.').all(is_word), "{name}");
        }
    }
}
