//! What a coding agent prints: read for its result, and kept in few lines for the job's log.
//!
//! Invariant: neither a secret of the formation nor the agent's name for its session is in what leaves.

use std::collections::VecDeque;

use muxi_orchestration::delegation::{Format, Reading};
use muxi_tools::program::Printed;

use crate::redact::Scope;

#[derive(Debug)]
pub(super) struct Said {
    reading: Reading,
    redaction: Scope,
    /// Whether its output is no one value, whose session would be known at its end only.
    shows_output: bool,
    /// As far as it is known.
    session: Option<String>,
    /// Not yet written down.
    lines: VecDeque<String>,
    /// Lines that had no room since the last writing.
    left_out: u64,
    /// The last ones on the standard error, which tell why it failed.
    complaints: VecDeque<String>,
}

/// Between two writings.
const LINES_MAX: usize = 100;
const LINE_CHARS_MAX: usize = 2_000;
const COMPLAINTS_MAX: usize = 20;
const SESSION_SHOWN: &str = "[session]";
/// A shorter name would be found where it is not meant.
const SESSION_CHARS_MIN: usize = 6;

// === impl Said ===

impl Said {
    pub(super) fn new(reading: Reading, redaction: Scope, session: Option<String>) -> Self {
        Self {
            shows_output: reading.format() != Format::Json,
            reading,
            redaction,
            session,
            lines: VecDeque::new(),
            left_out: 0,
            complaints: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, printed: Printed, line: &[u8]) {
        if printed == Printed::Out {
            self.reading.line(line);
            if self.session.is_none() {
                self.session = self.reading.session().map(str::to_owned);
            }
            if !self.shows_output {
                return;
            }
        }
        // Before anything costly: a flood is mostly left out.
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.left_out += 1;
        }
        let text = String::from_utf8_lossy(&line[..line.len().min(4 * LINE_CHARS_MAX)]);
        let text: String = text.chars().filter(|it| !it.is_control() || *it == '\t').collect();
        let text = self.clean(&text);
        let text: String = text.chars().take(LINE_CHARS_MAX).collect();
        if printed == Printed::Err {
            self.complaints.push_back(text.clone());
            if self.complaints.len() > COMPLAINTS_MAX {
                self.complaints.pop_front();
            }
        }
        self.lines.push_back(text);
    }

    /// The newest lines since the last time.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        let left_out = std::mem::take(&mut self.left_out);
        let told = (left_out > 0).then(|| format!("[{left_out} lines are left out here]"));
        told.into_iter().chain(self.lines.drain(..)).collect()
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    pub(super) fn result(&mut self) -> String {
        let result = self.reading.result();
        // An answer that is one value is only read now.
        if self.session.is_none() {
            self.session = self.reading.session().map(str::to_owned);
        }
        let result = self.clean(&result);
        if result.is_empty() { "It ended without a word.".to_owned() } else { result }
    }

    /// Why it failed, as far as it said so.
    pub(super) fn fault(&mut self, status: &str) -> String {
        let mut text = format!("The coding agent ended with {status}.");
        if !self.complaints.is_empty() {
            let complaints = self.complaints.make_contiguous().join("\n");
            text.push_str("\n\nIts last complaints:\n");
            text.push_str(&complaints);
        }
        let result = self.result();
        text.push_str("\n\nIts last word:\n");
        text.push_str(&result);
        text
    }

    fn clean(&mut self, text: &str) -> String {
        let text = self.redaction.text(text).into_owned();
        match &self.session {
            Some(session) if session.len() >= SESSION_CHARS_MIN => {
                text.replace(session.as_str(), SESSION_SHOWN)
            }
            Some(_) | None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::redact::{Depth, Redactor};

    fn said(format: Format) -> Said {
        let redactor = Redactor::default();
        redactor.learn([&SecretString::from("hunter2-hunter2")]);
        let path = |text: &str| Some(text.parse().unwrap());
        let reading = Reading::new(format, path("result"), path("session"));
        Said::new(reading, redactor.scope(Depth::Secrets), None)
    }

    #[test]
    fn neither_secrets_nor_sessions_leave() {
        let mut said = said(Format::StreamJson);
        said.push(Printed::Out, br#"{"session": "vendor-7", "key": "hunter2-hunter2"}"#);
        said.push(Printed::Err, b"cannot resume vendor-7 \x1b[31mwith hunter2-hunter2");
        said.push(Printed::Out, br#"{"result": "See vendor-7: hunter2-hunter2"}"#);
        let fault = said.fault("exit status: 1");
        let all = format!("{:?} {fault}", said.take_lines());
        assert!(!all.contains("vendor-7") && !all.contains("hunter2"), "{all}");
        assert!(all.contains("cannot resume [session]"), "{all}");
        assert_eq!(said.session(), Some("vendor-7"));
    }

    #[test]
    fn the_session_of_an_answer_in_one_value_is_found_at_its_end() {
        let mut said = said(Format::Json);
        said.push(Printed::Out, br#"{"session": "vendor-8", "result": "Done."}"#);
        assert_eq!((said.result().as_str(), said.session()), ("Done.", Some("vendor-8")));
    }

    #[test]
    fn a_flood_leaves_its_newest_lines() {
        let mut said = said(Format::Text);
        for number in 0..10_000 {
            said.push(Printed::Out, format!("line {number}").as_bytes());
        }
        let lines = said.take_lines();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines[0], "[9900 lines are left out here]");
        assert_eq!(lines.last().map(String::as_str), Some("line 9999"));
        assert!(said.take_lines().is_empty());
    }
}
