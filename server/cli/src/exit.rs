//! What a script learns from the way the program ends.

use std::process::ExitCode;

/// The whole list; `muxi --help` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    /// What was asked for was tried and did not come about: faults in a bundle, a failed deploy or case.
    Failed = 1,
    /// The command line itself, or an answer that only a terminal could have given.
    Usage = 2,
    /// Nobody answers at the address.
    Unreachable = 3,
    /// The key is missing or does not fit.
    Refused = 4,
    NotFound = 5,
    /// It does not fit the state in which things are.
    Conflict = 6,
    /// The other side says that it does not offer this.
    NotBuilt = 7,
    Interrupted = 130,
}

/// Shown at the end of `muxi --help`.
pub(crate) const HELP: &str = "\
Exit codes: 0 done · 1 failed · 2 wrong usage · 3 unreachable · 4 key refused · 5 not found · 6 conflict · 7 not built there · 130 interrupted";

// === impl Exit ===

impl Exit {
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Refused,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            501 => Self::NotBuilt,
            502..=504 => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
