//! What was noticed about one child server, for the errors that tell of it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::error::{Said, quoted};

const STDERR_CHARS_SHOWN: usize = 600;
const JUNK_CHARS_SHOWN: usize = 120;

/// Filled by those who hold the child, read by those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Nothing more will come from the child.
    pub(super) ended: CancellationToken,
    /// Its process is gone, and how it went is noted.
    pub(super) exited: CancellationToken,
    /// All of its standard error has been read.
    pub(super) is_drained: CancellationToken,
    stderr: Mutex<VecDeque<u8>>,
    noticed: Mutex<Noticed>,
    /// What is at the other end is a child, whose end is its own.
    is_of_child: bool,
    fault: OnceLock<String>,
    exit: OnceLock<std::process::ExitStatus>,
    hint: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Noticed {
    junk_lines: u64,
    newest_junk: String,
    stray_answers: u64,
}

impl Report {
    pub(super) fn of_child() -> Self {
        Self { is_of_child: true, ..Self::default() }
    }

    /// Whether it can be told how the connection ended.
    pub(super) fn knows_the_end(&self) -> bool {
        self.is_of_child || self.fault().is_some()
    }

    /// Keeps the end of what the child says, and reads the rest away so that it never has to wait.
    pub(super) async fn drain(&self, mut stderr: impl AsyncRead + Unpin, bytes_max: usize) {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            let mut kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&chunk[..read]);
            let excess = kept.len().saturating_sub(bytes_max);
            kept.drain(..excess);
        }
        self.is_drained.cancel();
    }

    pub(super) fn note_junk(&self, line: &[u8]) {
        let mut noticed = self.noticed();
        // The newest is the likeliest to belong to what is waited for.
        let start = &line[..line.len().min(4 * JUNK_CHARS_SHOWN)];
        noticed.newest_junk = quoted(&String::from_utf8_lossy(start), JUNK_CHARS_SHOWN);
        noticed.junk_lines += 1;
    }

    pub(super) fn note_stray(&self) {
        self.noticed().stray_answers += 1;
    }

    /// The first fault is the cause of those that follow.
    pub(super) fn blame(&self, fault: impl Into<String>) {
        self.fault.get_or_init(|| fault.into());
    }

    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    pub(super) fn note_exit(&self, status: std::process::ExitStatus) {
        self.exit.get_or_init(|| status);
        self.exited.cancel();
    }

    pub(super) fn note_hint(&self, hint: String) {
        self.hint.get_or_init(|| hint);
    }

    /// How it ended, and what may explain it.
    pub(super) fn end(&self) -> String {
        let mut text = match (self.fault(), self.exit.get()) {
            (Some(fault), _) => format!("it {fault}"),
            (None, Some(status)) => status.to_string(),
            (None, None) => "it closed its standard output".to_owned(),
        };
        self.append_context(&mut text);
        text
    }

    /// What may explain a silence: empty, or a text that continues a sentence.
    pub(super) fn noticed_text(&self) -> String {
        let mut text = String::new();
        self.append_context(&mut text);
        text
    }

    fn append_context(&self, text: &mut String) {
        let noticed = self.noticed();
        if noticed.junk_lines > 0 {
            let Noticed { junk_lines, newest_junk, .. } = &*noticed;
            append(
                text,
                format_args!("{junk_lines} of its lines are no JSON-RPC, the last `{newest_junk}`"),
            );
        }
        if noticed.stray_answers > 0 {
            append(
                text,
                format_args!(
                    "{} of its answers have an id that nobody asked",
                    noticed.stray_answers
                ),
            );
        }
        drop(noticed);
        if let Some(hint) = self.hint.get() {
            append(text, format_args!("{hint}"));
        }
    }

    /// Its last words.
    pub(super) fn said(&self) -> Said {
        let mut kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        drop(kept);
        // The last words tell why; the first are greetings.
        let skipped = text.chars().count().saturating_sub(STDERR_CHARS_SHOWN);
        Said(quoted(&text.chars().skip(skipped).collect::<String>(), STDERR_CHARS_SHOWN))
    }

    fn noticed(&self) -> std::sync::MutexGuard<'_, Noticed> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = write!(text, "; {more}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_what_was_said_is_kept_in_bounded_memory() {
        let report = Report::default();
        let said = format!("{}\nlast words", "x".repeat(100_000));
        report.drain(said.as_bytes(), 64).await;
        assert!(report.is_drained.is_cancelled());
        let said = report.said().to_string();
        assert!(said.ends_with("xx last words`"), "{said}");
        assert!(said.len() < 200);
    }

    #[test]
    fn what_was_noticed_continues_the_sentence() {
        let report = Report::default();
        assert_eq!(report.noticed_text(), "");
        report.note_junk(b"other");
        report.note_junk(b"Listening on \xff stdio");
        report.note_stray();
        assert_eq!(
            report.noticed_text(),
            "; 2 of its lines are no JSON-RPC, the last `Listening on \u{fffd} stdio`; \
             1 of its answers have an id that nobody asked"
        );
    }
}
