//! The words that say what a session waits for, and what came of it.

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingKind {
    /// Whether a tool may be called.
    Approval,
    /// Whether a plan may be carried out.
    Plan,
    /// What the user means.
    Clarification,
    /// A credential of the user for a service.
    Credential,
}

/// Kinds that take each other's place: a session waits for one thing of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingGroup {
    /// Somebody has to agree.
    Consent,
    /// Somebody has to say something.
    Question,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Approved,
    Denied,
    Answered,
    /// Nobody waits for it any more.
    Cancelled,
    /// Nobody answered in time.
    Expired,
}

/// Whether something is still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingStatus {
    Open,
    Resolved(Resolution),
}

// === impl PendingKind ===

impl PendingKind {
    const ALL: [Self; 4] = [Self::Approval, Self::Plan, Self::Clarification, Self::Credential];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Plan => "plan",
            Self::Clarification => "clarification",
            Self::Credential => "credential",
        }
    }

    pub const fn group(self) -> PendingGroup {
        match self {
            Self::Approval | Self::Plan => PendingGroup::Consent,
            Self::Clarification | Self::Credential => PendingGroup::Question,
        }
    }
}

impl std::str::FromStr for PendingKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl PendingGroup ===

impl PendingGroup {
    pub const fn kinds(self) -> [PendingKind; 2] {
        match self {
            Self::Consent => [PendingKind::Approval, PendingKind::Plan],
            Self::Question => [PendingKind::Clarification, PendingKind::Credential],
        }
    }
}

// === impl Resolution ===

impl Resolution {
    const ALL: [Self; 5] =
        [Self::Approved, Self::Denied, Self::Answered, Self::Cancelled, Self::Expired];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether it is an end that is still possible when the time to answer is over.
    pub(crate) const fn needs_no_time(self) -> bool {
        matches!(self, Self::Cancelled | Self::Expired)
    }
}

impl std::str::FromStr for Resolution {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(())
    }
}

// === impl PendingStatus ===

impl PendingStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved(resolution) => resolution.as_str(),
        }
    }
}

impl std::str::FromStr for PendingStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "open" { Ok(Self::Open) } else { text.parse().map(Self::Resolved) }
    }
}
