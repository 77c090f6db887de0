//! The lines on standard output that say how the start went. A manager reads them: `[ FAIL ]` stands
//! for a fatal error and nothing else.

use std::io::{self, Write as _};

pub fn ok(text: &str) {
    line(&mut io::stdout().lock(), "[  OK  ]", text);
}

pub fn info(text: &str) {
    line(&mut io::stdout().lock(), "[ INFO ]", text);
}

pub fn warn(text: &str) {
    line(&mut io::stdout().lock(), "[ WARN ]", text);
}

/// The details on standard error, one a line, and what they come to on standard output.
pub fn fail(details: &[String], summary: &str) {
    let mut error = io::stderr().lock();
    for detail in details {
        // There is nobody left to tell when standard error is closed.
        drop(writeln!(error, "{detail}"));
    }
    line(&mut io::stdout().lock(), "[ FAIL ]", summary);
}

fn line(output: &mut impl io::Write, mark: &str, text: &str) {
    // A reader that is gone does not stop the process.
    drop(writeln!(output, "{mark} {text}").and_then(|()| output.flush()));
}
