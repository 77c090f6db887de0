//! Two streams on one screen: the answer on standard output, how it comes about on standard error.

use console::Style;

use super::turn::Piece;
use crate::terminal::Terminal;

#[derive(Debug)]
pub(super) struct Screen<'a> {
    terminal: &'a Terminal,
    is_verbose: bool,
    /// What stands on the line that has not ended.
    open: Option<Open>,
    has_text: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
}

// === impl Screen ===

impl<'a> Screen<'a> {
    pub(super) fn new(terminal: &'a Terminal, is_verbose: bool) -> Self {
        Self { terminal, is_verbose, open: None, has_text: false }
    }

    pub(super) fn show(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) => self.text(text),
            Piece::Note(text) => self.note(text),
            Piece::Detail(text) if self.is_verbose => self.note(text),
            Piece::Thought(text) if self.is_verbose => {
                self.begin(Open::Thought);
                self.terminal.write_note(&dim(text));
            }
            Piece::Detail(_) | Piece::Thought(_) => {}
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        self.end_line();
        self.terminal.note(&dim(text));
    }

    /// Whatever comes next begins on a line of its own.
    pub(super) fn end_line(&mut self) {
        match self.open.take() {
            Some(Open::Text) => self.terminal.print("\n"),
            Some(Open::Thought) => self.terminal.note(""),
            None => {}
        }
    }

    fn text(&mut self, text: &str) {
        let text = if self.has_text { text } else { text.trim_start_matches('\n') };
        if text.is_empty() {
            return;
        }
        self.begin(Open::Text);
        self.has_text = true;
        self.terminal.print(text);
        if text.ends_with('\n') {
            self.open = None;
        }
    }

    fn begin(&mut self, open: Open) {
        if self.open != Some(open) {
            self.end_line();
            self.open = Some(open);
        }
    }
}

fn dim(text: &str) -> String {
    Style::new().for_stderr().dim().apply_to(text).to_string()
}
