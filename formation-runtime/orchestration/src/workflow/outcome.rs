//! What a workflow ends with, and how it is told: the results to whoever writes the answer, and what is
//! missing to everybody.

use serde::{Deserialize, Serialize};

use crate::fence::{self, Boundary};
use crate::graph::Task;
use crate::text::cut;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every task is done.
    Completed,
    /// Something is done and something is missing.
    Partial,
    /// What is done is no answer.
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub end: End,
    /// In the order of the plan.
    pub results: Vec<TaskResult>,
    /// What failed or was skipped.
    pub missing: Vec<Missing>,
    pub replans: u32,
    /// What failed in plans that another one replaced.
    pub replaced: Vec<Missing>,
    /// Why no further plan was made, for people.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    pub task: Task,
    pub text: String,
}

/// A task that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub id: String,
    pub label: String,
    pub because: String,
    /// It was never tried to its end, for something else.
    pub is_skipped: bool,
}

// === impl Outcome ===

impl Outcome {
    pub fn is_partial(&self) -> bool {
        self.end == End::Partial
    }

    /// The result of the last task as it is, for a procedure whose results nobody rewrites; nothing unless
    /// everything was done.
    pub fn last_text(&self) -> Option<&str> {
        let last = self.results.last().map(|result| result.text.as_str());
        last.filter(|_| self.end == End::Completed)
    }

    /// For the call that writes one answer of all: each result under its task, so much of each at most, and
    /// what is missing with the order to say so. With a boundary, since others had a word in it, each is fenced.
    pub fn to_synthesis(
        &self,
        request: &str,
        result_bytes: usize,
        boundary: Option<&Boundary>,
    ) -> String {
        let mut parts = vec![format!(
            "The request was split into tasks, and these are their results. Write one answer to the request \
             from them. Use nothing else, and do not describe the tasks.\n\nRequest: {request}"
        )];
        for TaskResult { task, text } in &self.results {
            let shown = if let Some(boundary) = boundary {
                fence::fence(&task.id, text, boundary, result_bytes)
            } else {
                let (shown, is_cut) = cut(text, result_bytes);
                format!("{shown}{}", if is_cut { "\n[cut here]" } else { "" })
            };
            parts.push(format!("## {} ({})\n{shown}", task.label(), task.agent));
        }
        if let Some(missing) = self.to_missing_text() {
            parts.push(format!(
                "These parts are missing. Say so plainly, with the reason, and never write as if they were \
                 done:\n{missing}"
            ));
        }
        parts.join("\n\n")
    }

    /// Which parts are missing and why, one a line; nothing when none is.
    pub fn to_missing_text(&self) -> Option<String> {
        let lines: Vec<String> = self
            .missing
            .iter()
            .map(|missing| {
                let what = if missing.is_skipped { "not done" } else { "failed" };
                format!("- {}: {what}, because {}", missing.label, missing.because)
            })
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// What stands below an answer of part of it, whatever its words are; nothing below one of all.
    pub fn to_afterword(&self) -> Option<String> {
        let missing = self.to_missing_text().filter(|_| self.is_partial())?;
        Some(format!("\n\nNot everything could be done:\n{missing}"))
    }

    /// For the user when no model tells it: how it ended, what there is, and what is missing.
    pub fn to_text(&self) -> String {
        let beginning = match self.end {
            End::Completed => "Everything was done.",
            End::Partial => "Not everything could be done.",
            End::Failed => "This could not be done.",
            End::Cancelled => "This was cancelled.",
        };
        let mut parts = vec![beginning.to_owned()];
        // What a failed whole brought is no answer to it.
        if matches!(self.end, End::Completed | End::Partial) {
            for TaskResult { task, text } in &self.results {
                parts.push(format!("## {}\n{text}", task.label()));
            }
        }
        if let Some(missing) = self.to_missing_text() {
            parts.push(format!("Missing:\n{missing}"));
        }
        parts.join("\n\n")
    }
}
