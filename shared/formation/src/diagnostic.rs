//! What is wrong with a bundle, where, and what to do about it.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The formation does not load.
    Error,
    /// It loads; somebody should know.
    Warning,
}

/// Shown as `file:line:column: message; mend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Relative to the bundle's root.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub severity: Severity,
    pub message: String,
    /// What the author can do.
    pub mend: String,
}

/// A position in a file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

// === impl Diagnostic ===

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(crate) fn error(
        file: &str,
        place: Place,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, file, place, message.into(), mend.into())
    }

    pub(crate) fn warning(
        file: &str,
        place: Place,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, file, place, message.into(), mend.into())
    }

    fn new(severity: Severity, file: &str, place: Place, message: String, mend: String) -> Self {
        let Place { line, column } = place;
        Self { file: file.to_owned(), line, column, severity, message, mend }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, severity: _, message, mend } = self;
        write!(f, "{file}:{line}:{column}: {message}; {mend}")
    }
}

// === impl Place ===

impl Place {
    /// Where a fault of a whole file is shown.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}
