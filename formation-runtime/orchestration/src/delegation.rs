//! What a command-line agent printed: its last word, and the name of its session.
//!
//! Invariants: however much is printed, little is kept; what does not fit the adapter's words is not lost,
//! since then the end of the raw output is the result.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::Value;

use crate::json_path::JsonPath;

/// How an agent prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON value a line.
    StreamJson,
    /// One JSON value.
    Json,
    Text,
}

/// Reads the output line by line.
#[derive(Debug)]
pub struct Reading {
    format: Format,
    result_path: Option<JsonPath>,
    session_path: Option<JsonPath>,
    /// The last that was not empty.
    result: Option<String>,
    /// The first.
    session: Option<String>,
    raw: Tail,
}

/// The end of a text.
#[derive(Debug)]
struct Tail {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    is_cut: bool,
}

/// Of a result, and of a raw output that stands for one.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Of an output that is one value.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A longer name is no name.
const SESSION_BYTES_MAX: usize = 512;

// === impl Reading ===

impl Reading {
    pub fn new(
        format: Format,
        result_path: Option<JsonPath>,
        session_path: Option<JsonPath>,
    ) -> Self {
        let bytes_max = match format {
            Format::Json => JSON_BYTES_MAX,
            Format::StreamJson | Format::Text => RESULT_BYTES_MAX,
        };
        let raw = Tail { bytes: VecDeque::new(), bytes_max, is_cut: false };
        Self { format, result_path, session_path, result: None, session: None, raw }
    }

    /// A line of the standard output, without its end.
    pub fn line(&mut self, line: &[u8]) {
        self.raw.push(line);
        self.raw.push(b"\n");
        if self.format == Format::StreamJson
            && let Ok(value) = serde_json::from_slice(line)
        {
            self.value(&value);
        }
    }

    pub const fn format(&self) -> Format {
        self.format
    }

    /// As far as it is known.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The result, once everything was read.
    pub fn result(&mut self) -> String {
        if self.format == Format::Json
            && !self.raw.is_cut
            && let Ok(value) = serde_json::from_slice(self.raw.bytes.make_contiguous())
        {
            self.value(&value);
        }
        let is_cut = self.raw.is_cut;
        match self.result.take() {
            Some(result) => end_of(result.trim(), false),
            None => end_of(self.raw.text().trim(), is_cut),
        }
    }

    fn value(&mut self, value: &Value) {
        let found = |path: &Option<JsonPath>| text(path.as_ref()?.find(value)?);
        if let Some(result) = found(&self.result_path) {
            self.result = Some(result);
        }
        if self.session.is_none() {
            self.session = found(&self.session_path).filter(|it| it.len() <= SESSION_BYTES_MAX);
        }
    }
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(self.bytes_max);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
        self.is_cut |= over > 0 || kept.len() < bytes.len();
    }

    fn text(&mut self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes.make_contiguous())
    }
}

// === private helpers ===

/// Texts as they are, other values as JSON; what is empty is none.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return None,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// The last words matter most.
fn end_of(text: &str, is_cut: bool) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(RESULT_BYTES_MAX));
    if from == 0 && !is_cut {
        return text.to_owned();
    }
    format!("[only the end of it]\n{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, result: &str, session: &str, output: &str) -> (String, Option<String>) {
        let path = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let mut reading = Reading::new(format, path(result), path(session));
        for line in output.lines() {
            reading.line(line.as_bytes());
        }
        (reading.result(), reading.session().map(str::to_owned))
    }

    #[test]
    fn of_a_stream_the_last_result_counts_that_says_something_and_the_first_session() {
        let output = r#"{"type":"init","session":"s1"}
not JSON at all
{"result":"first","session":"s2"}
{"result":"last"}
{"result":"  "}
{"result":null}"#;
        let (result, session) = read(Format::StreamJson, "result", "session", output);
        assert_eq!((result.as_str(), session.as_deref()), ("last", Some("s1")));
    }

    #[test]
    fn what_the_selectors_miss_is_the_raw_output() {
        let output = "{\"answer\":\"x\"}\n{\"answer\":\"y\"}";
        assert_eq!(read(Format::StreamJson, "result", "id", output), (output.to_owned(), None));
        assert_eq!(read(Format::Json, "result", "", "no JSON").0, "no JSON");
        assert_eq!(read(Format::Json, "result", "", "{\"a\": 1}").0, "{\"a\": 1}");
        assert_eq!(read(Format::Text, "", "", "\n plain words\n\n").0, "plain words");
    }

    #[test]
    fn one_value_may_take_several_lines() {
        let output = "{\n \"result\": {\"done\": true},\n \"session_id\": 7\n}";
        let (result, session) = read(Format::Json, "result", "session_id", output);
        assert_eq!((result.as_str(), session.as_deref()), ("{\"done\":true}", Some("7")));
    }

    #[test]
    fn of_much_output_the_end_is_kept() {
        let mut reading = Reading::new(Format::Text, None, None);
        for number in 0..200_000 {
            reading.line(format!("line {number}").as_bytes());
        }
        assert!(reading.raw.bytes.len() <= RESULT_BYTES_MAX);
        let result = reading.result();
        assert!(result.starts_with("[only the end of it]\n"), "{}", &result[..40]);
        assert!(result.ends_with("line 199999"));
        // A value that was cut is none.
        let mut reading = Reading::new(Format::Json, None, None);
        let line = "x".repeat(JSON_BYTES_MAX + 1);
        reading.line(line.as_bytes());
        assert!(reading.result().len() < RESULT_BYTES_MAX + 100);
        let long = "é".repeat(RESULT_BYTES_MAX);
        assert!(end_of(&long, false).len() < RESULT_BYTES_MAX + 100);
    }
}
