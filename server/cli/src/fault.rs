//! Why a command did not do what it should: what happened, and what the user can do about it.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::exit::Exit;

/// Of a fault that says that there is no such formation, with its mends.
pub(crate) const NO_FORMATION: &str = "NoFormation";

/// Boxed within, since every function here may return one.
#[derive(Debug)]
pub(crate) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    /// A stable name that a script can compare.
    code: String,
    message: String,
    details: Vec<String>,
    mends: Vec<String>,
}

// === impl Fault ===

impl Fault {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self(Box::new(Parts { exit, code, message, details: Vec::new(), mends: Vec::new() }))
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "Failed", message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "Usage", message)
    }

    /// Of the published command line, and not here.
    pub(crate) fn not_built(message: impl Into<String>) -> Self {
        Self::new(Exit::NotBuilt, "NotBuilt", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "NotFound", message)
    }

    /// A file or folder that could not be used.
    pub(crate) fn file(act: &str, path: &std::path::Path, error: impl Display) -> Self {
        Self::failed(format!("failed to {act} {}: {error}", path.display()))
    }

    /// What the user can do; several ways are several lines.
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.0.mends.push(mend.into());
        self
    }

    /// Where all of its kind are shown, if it is not there; if that is because its formation is missing, the
    /// mend was told already.
    pub(crate) fn mend_missing(self, mend: &str) -> Self {
        let is_itself_missing = self.exit() == Exit::NotFound && self.code() != NO_FORMATION;
        if is_itself_missing { self.mend(mend) } else { self }
    }

    pub(crate) fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.0.details.extend(details);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// For people: the message, each detail on a line of its own, and the mends behind arrows.
    pub(crate) fn to_text(&self) -> String {
        let Parts { message, details, mends, .. } = &*self.0;
        let details = details.iter().map(|it| format!("\n  {it}"));
        let mends = mends.iter().map(|it| format!("\n  → {it}"));
        std::iter::once(message.clone()).chain(details).chain(mends).collect()
    }

    /// For scripts.
    pub(crate) fn to_json(&self) -> Value {
        let Parts { exit, code, message, details, mends } = &*self.0;
        let exit = *exit as u8;
        json!({
            "success": false,
            "error": {"code": code, "exit": exit, "message": message, "details": details, "mend": mends},
        })
    }
}
