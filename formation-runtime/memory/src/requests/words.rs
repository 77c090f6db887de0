//! The words that a request is described with.

/// What a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Chat,
    Trigger,
    Job,
    /// The end of a watch.
    Watch,
    /// The end of work that another program did.
    Delegation,
    /// Of an agent elsewhere.
    A2a,
}

/// How the caller waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMode {
    Sync,
    Stream,
    Async,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    Pending,
    Processing,
    Completed,
    Failed,
    Cancelled,
    AwaitingClarification,
}

// === impl RequestKind ===

impl RequestKind {
    /// Whether its message was written by somebody other than its user.
    pub const fn is_of_others(self) -> bool {
        matches!(self, Self::Trigger | Self::Watch | Self::Delegation | Self::A2a)
    }

    /// Whether somebody reads a question and can answer it.
    pub const fn can_be_asked_back(self) -> bool {
        matches!(self, Self::Chat | Self::A2a)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Trigger => "trigger",
            Self::Job => "job",
            Self::Watch => "watch",
            Self::Delegation => "delegation",
            Self::A2a => "a2a",
        }
    }
}

impl std::str::FromStr for RequestKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Chat, Self::Trigger, Self::Job, Self::Watch, Self::Delegation, Self::A2a];
        all.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl RequestMode ===

impl RequestMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Stream => "stream",
            Self::Async => "async",
        }
    }
}

impl std::str::FromStr for RequestMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Sync, Self::Stream, Self::Async].into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl RequestStatus ===

impl RequestStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::AwaitingClarification => "awaiting_clarification",
        }
    }

    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Processing)
    }
}

impl std::str::FromStr for RequestStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [
            Self::Pending,
            Self::Processing,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
            Self::AwaitingClarification,
        ];
        all.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}
