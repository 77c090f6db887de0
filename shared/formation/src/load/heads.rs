//! Markdown with a head in YAML, as triggers, procedures and skills have it.

use super::Reading;
use crate::diagnostic::{Diagnostic, Place};
use crate::interpolate;
use crate::yaml::{self, Node};

const FENCE: &str = "---";

/// A file in its two parts.
pub(super) struct Headed {
    /// The whole text, with `\n` at the ends of lines.
    pub(super) text: String,
    /// The head without its fences.
    pub(super) head: String,
    /// Where the rest begins.
    pub(super) body_start: usize,
}

// === impl Headed ===

impl Headed {
    pub(super) fn body(&self) -> &str {
        &self.text[self.body_start..]
    }

    /// How many lines stand before the body.
    pub(super) fn lines_before(&self) -> usize {
        self.text[..self.body_start].matches('\n').count()
    }

    /// The place of a byte of the whole text.
    pub(super) fn place(&self, at_byte: usize) -> Place {
        let before = &self.text[..at_byte];
        let line_start = before.rfind('\n').map_or(0, |it| it + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

// === impl Reading ===

impl Reading<'_> {
    /// `None` when there is no such file, or a fault was told.
    pub(super) fn headed(&mut self, file: &str) -> Option<Headed> {
        let text = match self.folder.text(file) {
            Ok(text) => text?,
            Err(fault) => {
                self.found.push(fault);
                return None;
            }
        };
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let Some((head, body_start)) = parts(&text) else {
            let message = format!("the head starts with `{FENCE}` and does not end");
            let mend = "close it with a line `---`";
            self.found.push(Diagnostic::error(file, Place::START, message, mend));
            return None;
        };
        let head = head.to_owned();
        Some(Headed { text, head, body_start })
    }

    /// The head with its placeholders filled in; nothing when it is empty or a fault was told.
    pub(super) fn head(&mut self, file: &str, head: &str) -> Option<Node> {
        if head.trim().is_empty() {
            return None;
        }
        // The line of the fence, so that faults have the lines of the file.
        match yaml::parse(file, &format!("\n{head}")) {
            Ok(mut node) => {
                let (references, found) = (&mut self.references, &mut self.found);
                interpolate::fill(file, &mut node, self.resolve, references, found);
                Some(node)
            }
            Err(faults) => {
                self.found.extend(faults);
                None
            }
        }
    }
}

// === private helpers ===

/// The head without its fences, and where the rest begins; nothing if the head has no end.
pub(super) fn parts(text: &str) -> Option<(&str, usize)> {
    let Some(inner) = text.strip_prefix(FENCE).and_then(|rest| rest.strip_prefix('\n')) else {
        return Some(("", 0));
    };
    let mut end = 0;
    for line in inner.split_inclusive('\n') {
        if line.trim_end() == FENCE {
            return Some((&inner[..end], FENCE.len() + 1 + end + line.len()));
        }
        end += line.len();
    }
    None
}
