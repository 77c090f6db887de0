//! Finds the calls in what a model writes. The words before a call are passed on as they come; nothing
//! of a mark is, until it is clear that it is none.

use serde::Deserialize;
use serde_json::Value;

use crate::engine::{CALL_BEGIN, CALL_END};

#[derive(Debug, Default)]
pub(super) struct CallReader {
    /// What is undecided: the beginning of a mark, or a call that has not ended.
    held: String,
    inside: bool,
    /// Space between calls is no part of the answer.
    after_call: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    Text(String),
    Call { name: String, arguments: String },
}

#[derive(Deserialize)]
struct Written {
    name: String,
    /// Some models say so instead.
    #[serde(alias = "parameters", default)]
    arguments: Value,
}

// === impl CallReader ===

impl CallReader {
    pub(super) fn push(&mut self, text: &str) -> Vec<Words> {
        self.held.push_str(text);
        let mut words = Vec::new();
        loop {
            let mark = if self.inside { CALL_END } else { CALL_BEGIN };
            let Some(at) = self.held.find(mark) else { break };
            let rest = self.held.split_off(at + mark.len());
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(at);
            if self.inside {
                words.extend(self.call(&before, CALL_END));
            } else {
                words.extend(self.text(before));
            }
            self.inside = !self.inside;
        }
        if !self.inside {
            let rest = self.held.split_off(self.held.len() - self.undecided_bytes());
            let text = std::mem::replace(&mut self.held, rest);
            words.extend(self.text(text));
        }
        words
    }

    /// What is left at the end. Of what the limit cut within a mark or a call there is nothing to pass on.
    pub(super) fn finish(mut self, cut: bool) -> Option<Words> {
        let held = std::mem::take(&mut self.held);
        match (cut, self.inside) {
            (true, _) => None,
            // Models forget the end mark when they end their turn.
            (false, true) => self.call(&held, ""),
            (false, false) => self.text(held),
        }
    }

    /// What is no call stays text.
    fn call(&mut self, body: &str, end: &str) -> Option<Words> {
        let written = serde_json::from_str::<Written>(body).ok();
        match written.filter(|written| !written.name.is_empty()) {
            Some(Written { name, arguments }) => {
                self.after_call = true;
                let arguments = match arguments {
                    Value::Null => String::new(),
                    Value::String(text) => text,
                    Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        arguments.to_string()
                    }
                };
                Some(Words::Call { name, arguments })
            }
            None => self.text(format!("{CALL_BEGIN}{body}{end}")),
        }
    }

    fn text(&mut self, text: String) -> Option<Words> {
        let text = if self.after_call { text.trim_start().to_owned() } else { text };
        if text.is_empty() {
            return None;
        }
        self.after_call = false;
        Some(Words::Text(text))
    }

    /// The length of the longest end of the text that begins the mark.
    fn undecided_bytes(&self) -> usize {
        let longest = CALL_BEGIN.len().min(self.held.len());
        let begins = |bytes: &usize| self.held.ends_with(&CALL_BEGIN[..*bytes]);
        (1..=longest).rev().find(begins).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str], cut: bool) -> (String, Vec<(String, String)>) {
        let mut reader = CallReader::default();
        let mut words: Vec<_> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
        words.extend(reader.finish(cut));
        let (mut text, mut calls) = (String::new(), Vec::new());
        for word in words {
            match word {
                Words::Text(piece) => text.push_str(&piece),
                Words::Call { name, arguments } => calls.push((name, arguments)),
            }
        }
        (text, calls)
    }

    #[test]
    fn calls_and_words_come_apart_wherever_the_text_is_cut() {
        let call = |arguments: &str| vec![("f".to_owned(), arguments.to_owned())];
        let cases = [
            ("plain < words <tool> é", "plain < words <tool> é", vec![]),
            (
                "So: <tool_call>\n{\"name\":\"f\",\"arguments\":{\"é\":1}}\n</tool_call>\n",
                "So: ",
                call("{\"é\":1}"),
            ),
            ("<tool_call>{\"name\":\"f\"}</tool_call> then", "then", call("")),
            ("<tool_call>{\"name\":\"f\",\"parameters\":{}}", "", call("{}")),
            ("<<tool_call>{\"name\":\"f\",\"arguments\":\"x\"}</tool_call>", "<", call("x")),
            ("<tool_call>{oops}</tool_call>.", "<tool_call>{oops}</tool_call>.", vec![]),
            (
                "<tool_call>{\"name\":\"\"}</tool_call>",
                "<tool_call>{\"name\":\"\"}</tool_call>",
                vec![],
            ),
            ("half <tool_c", "half <tool_c", vec![]),
            (
                "<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>",
                "",
                vec![("f".to_owned(), String::new()), ("g".to_owned(), String::new())],
            ),
        ];
        for (whole, text, calls) in cases {
            let expected = (text.to_owned(), calls);
            assert_eq!(read(&[whole], false), expected, "{whole}");
            for at in (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)) {
                let (left, right) = whole.split_at(at);
                assert_eq!(read(&[left, right], false), expected, "{left} | {right}");
            }
            let letters: Vec<String> = whole.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(read(&letters, false), expected, "{whole}");
        }
    }

    #[test]
    fn words_do_not_wait_and_nothing_of_a_mark_leaks() {
        let mut reader = CallReader::default();
        assert_eq!(reader.push("See <b> <to"), [Words::Text("See <b> ".to_owned())]);
        assert_eq!(reader.push("ol_call>{\"na"), []);
        assert_eq!(reader.finish(true), None);
        assert_eq!(read(&["so <tool_"], true), ("so ".to_owned(), vec![]));
    }
}
