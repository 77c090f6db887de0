//! From nodes to cases; what does not fit is told and the reading goes on.

use std::path::Path;

use serde_json::Value;

use super::super::yaml::{Content, Node};
use super::{Case, Expect};

const CASE_KEYS: [&str; 8] =
    ["name", "message", "turns", "user", "session", "agent", "files", "expect"];
const EXPECT_KEYS: [&str; 10] = [
    "contains",
    "not_contains",
    "regex",
    "json_schema",
    "tool_called",
    "tool_not_called",
    "agent",
    "judge",
    "max_seconds",
    "approval",
];

/// Of a key that is compared with those that there are.
const KEY_CHARS_MAX: usize = 64;
/// A conversation that is tested does not last longer than a day.
const SECONDS_MAX: f64 = 86_400.0;

pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    /// Where the case's files lie.
    pub(super) folder: &'a Path,
    pub(super) faults: &'a mut Vec<String>,
}

// === impl Reader ===

impl Reader<'_> {
    pub(super) fn cases(&mut self, root: &Node) -> Vec<Case> {
        match &root.content {
            Content::List(items) => items.iter().filter_map(|it| self.case(it)).collect(),
            Content::Plain(Value::Null) => Vec::new(),
            Content::Map(_) | Content::Text(_) | Content::Plain(_) => {
                let kind = root.kind();
                self.fault(
                    root.line,
                    &format!(
                        "a file is a list of cases, this is {kind}; begin each case with `- name:`"
                    ),
                );
                Vec::new()
            }
        }
    }

    fn case(&mut self, node: &Node) -> Option<Case> {
        let entries = self.map(node, "a case", &CASE_KEYS)?;
        let mut case = Case {
            name: String::new(),
            place: format!("{}:{}", self.file, node.line),
            turns: Vec::new(),
            user: None,
            session: None,
            agent: None,
            files: Vec::new(),
            expect: Expect::default(),
        };
        let mut expects = false;
        for (key, line, value) in entries {
            match key.as_str() {
                "name" => case.name = self.text(key, value).unwrap_or_default(),
                "message" | "turns" if !case.turns.is_empty() => {
                    self.fault(
                        *line,
                        "`message` and `turns` are two ways to say the same; keep one",
                    );
                }
                "message" => case.turns = self.text(key, value).into_iter().collect(),
                "turns" => case.turns = self.texts(key, value),
                "user" => case.user = self.text(key, value),
                "session" => case.session = self.text(key, value),
                "agent" => case.agent = self.text(key, value),
                "files" => {
                    for file in self.texts(key, value) {
                        let path = self.folder.join(&file);
                        if !path.is_file() {
                            self.fault(value.line, &format!("there is no file {}; put it there, paths begin at the case's file", path.display()));
                        }
                        case.files.push(path);
                    }
                }
                "expect" => {
                    expects = true;
                    case.expect = self.expect(value);
                }
                _ => {}
            }
        }
        let has = |name: &str| entries.iter().any(|(key, ..)| key == name);
        for (is_there, what) in [
            (has("name"), "`name` is missing; give the case a short one"),
            (
                has("message") || has("turns"),
                "there is nothing to say; add `message: …` or `turns: [..]`",
            ),
            (expects, "`expect` is missing; say what makes the answer a good one"),
        ] {
            if !is_there {
                self.fault(node.line, what);
            }
        }
        Some(case)
    }

    fn expect(&mut self, node: &Node) -> Expect {
        let mut expect = Expect::default();
        let Some(entries) = self.map(node, "`expect`", &EXPECT_KEYS) else { return expect };
        if entries.is_empty() {
            self.fault(node.line, "`expect` says nothing; add `contains`, `judge` or another");
        }
        for (key, _, value) in entries {
            match key.as_str() {
                "contains" => expect.contains = self.texts(key, value),
                "not_contains" => expect.not_contains = self.texts(key, value),
                "tool_called" => expect.tool_called = self.texts(key, value),
                "tool_not_called" => expect.tool_not_called = self.texts(key, value),
                "agent" => expect.agent = self.text(key, value),
                "judge" => expect.judge = self.text(key, value),
                "regex" => {
                    for pattern in self.texts(key, value) {
                        match regex::Regex::new(&pattern) {
                            Ok(regex) => expect.regex.push(regex),
                            Err(error) => {
                                let told = error.to_string();
                                let why = told.lines().last().unwrap_or_default().trim();
                                self.fault(value.line, &format!("`{pattern}` is no regular expression ({why}); mend it, in single quotes"));
                            }
                        }
                    }
                }
                "json_schema" => expect.json_schema = self.schema(value),
                "max_seconds" => {
                    let seconds = value.to_json().as_f64();
                    let seconds = seconds.filter(|it| *it > 0.0 && *it <= SECONDS_MAX);
                    if seconds.is_none() {
                        let message = "`max_seconds` must be a number above 0, and a day at most";
                        self.fault(value.line, message);
                    }
                    expect.max_seconds = seconds;
                }
                "approval" => match value.to_json().as_str() {
                    Some("ask") => expect.asks = Some(true),
                    Some("none") => expect.asks = Some(false),
                    _ => self.fault(value.line, "`approval` must be `ask` or `none`"),
                },
                _ => {}
            }
        }
        expect
    }

    fn schema(&mut self, node: &Node) -> Option<Value> {
        let schema = node.to_json();
        if !schema.is_object() {
            let kind = node.kind();
            self.fault(
                node.line,
                &format!("`json_schema` must be a JSON Schema, this is {kind}; write it as a map"),
            );
            return None;
        }
        if let Err(error) = jsonschema::validator_for(&schema) {
            self.fault(node.line, &format!("`json_schema` is no JSON Schema ({error}); mend it"));
            return None;
        }
        Some(schema)
    }

    /// Keys that nobody knows are told with the one that was meant.
    fn map<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Option<&'n [(String, usize, Node)]> {
        let Content::Map(entries) = &node.content else {
            let kind = node.kind();
            self.fault(
                node.line,
                &format!("{what} must be a map, this is {kind}; write `key: value` lines"),
            );
            return None;
        };
        for (key, line, _) in entries {
            if !known.contains(&key.as_str()) {
                let near = nearest(key, known);
                let mend = near.map_or_else(
                    || format!("known are {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.fault(*line, &format!("`{key}` is not a known key of {what}; {mend}"));
            }
        }
        Some(entries)
    }

    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        match node.to_json() {
            Value::String(text) if !text.trim().is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let kind = if node.kind() == "a text" { "an empty one" } else { node.kind() };
                self.fault(node.line, &format!("`{key}` must be a text, this is {kind}; write one, in quotes where in doubt"));
                None
            }
        }
    }

    /// One text or a list of them.
    fn texts(&mut self, key: &str, node: &Node) -> Vec<String> {
        match &node.content {
            Content::List(items) => items.iter().filter_map(|it| self.text(key, it)).collect(),
            Content::Text(_) | Content::Plain(_) | Content::Map(_) => {
                self.text(key, node).into_iter().collect()
            }
        }
    }

    fn fault(&mut self, line: usize, message: &str) {
        self.faults.push(format!("{}:{line}: {message}", self.file));
    }
}

/// The known key that differs by a slip or two.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = |it: &&&str| it.starts_with(key) || key.starts_with(**it) || edits(key, it) <= 2;
    known.iter().filter(close).min_by_key(|it| edits(key, it)).copied()
}

fn edits(from: &str, to: &str) -> usize {
    let from: String = from.chars().take(KEY_CHARS_MAX).collect();
    strsim::levenshtein(&from, to)
}

#[cfg(test)]
mod tests {
    use super::super::super::yaml;
    use super::*;

    fn read(text: &str) -> (Vec<Case>, Vec<String>) {
        let mut faults = Vec::new();
        let mut reader = Reader { file: "f", folder: Path::new("."), faults: &mut faults };
        let cases = reader.cases(&yaml::parse(text).unwrap());
        (cases, faults)
    }

    #[test]
    fn a_case_is_read_whole() {
        let (cases, faults) = read(
            "- name: a\n  turns: [Hi, 5]\n  user: u\n  expect:\n    contains: [x, 'y']\n    max_seconds: 2\n    approval: none\n    regex: '^\\d+$'\n",
        );
        assert_eq!(faults, [""; 0]);
        let case = &cases[0];
        assert_eq!((case.name.as_str(), case.place.as_str()), ("a", "f:1"));
        assert_eq!(
            (&case.turns[..], case.expect.asks),
            (&["Hi".to_owned(), "5".to_owned()][..], Some(false))
        );
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_mend() {
        let (_, faults) = read(
            "- nam: a\n  message: Hi\n  expect:\n    contain: x\n    regex: '('\n    approval: maybe\n- 5\n",
        );
        let starts: Vec<&str> = faults.iter().map(|it| &it[..4]).collect();
        assert_eq!(starts, ["f:1:", "f:4:", "f:5:", "f:6:", "f:1:", "f:7:"], "{faults:#?}");
        assert!(faults[0].ends_with("did you mean `name`?"), "{faults:#?}");
        assert!(faults[1].ends_with("did you mean `contains`?"), "{faults:#?}");
    }
}
