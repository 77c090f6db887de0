//! Procedures: what is to be done in which order, written as a list in Markdown.

mod directives;
mod markdown;

use crate::manifest::ModelName;
pub(crate) use directives::{Directive, DirectiveFault, Marked, find};
pub(crate) use markdown::{RawStep, is_code, outline};

/// One file of `sops/` whose head says `type: sop`.
#[derive(Debug, Clone, PartialEq)]
pub struct Procedure {
    /// The file's name without its extension; also what follows a slash in a chat.
    pub id: String,
    pub name: String,
    /// What a request is compared with, beside the tags.
    pub description: String,
    pub mode: ProcedureMode,
    pub tags: Vec<String>,
    pub model: Option<ModelName>,
    /// Whether it runs without asking for a yes to its plan.
    pub bypass_approval: bool,
    /// Off: the last step's answer goes out as it is.
    pub synthesis: bool,
    pub steps: Vec<Step>,
    /// The text below the head, with the files that it names written out.
    pub body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcedureMode {
    /// The steps as they are, in their order.
    Template,
    /// What the model plans by.
    Guide,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// From 1, in the order of the file.
    pub number: u32,
    pub title: Option<String>,
    /// Without its directives, and with the files that it names written out.
    pub text: String,
    pub agent: Option<String>,
    /// Servers, and the tools of them that are meant.
    pub tools: Vec<(String, Option<String>)>,
    /// Skills, and the scripts of them that are to run.
    pub skills: Vec<(String, Option<String>)>,
    pub model: Option<ModelName>,
    /// Runs together with its neighbours that say the same.
    pub is_parallel: bool,
    /// Is never left out or merged.
    pub is_critical: bool,
    /// Relative to `sops/`; their texts are already in `text`.
    pub files: Vec<String>,
}

// === impl ProcedureMode ===

impl ProcedureMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Guide => "guide",
        }
    }
}
