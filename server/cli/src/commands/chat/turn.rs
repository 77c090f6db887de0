//! One answer as its frames tell it: what is shown of them, and what came of it. Pure.

use serde_json::Value;

use super::talk::mended;
use crate::client::answer;
use crate::client::events::Frame;
use crate::fault::Fault;
use crate::terminal::format::{bytes, one_line};
use crate::terminal::stream::Cleaner;

/// What has been told of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) session: Option<String>,
    /// The last words of the formation: the whole answer, and how it came about.
    pub(crate) completed: Value,
    pub(crate) widgets: Vec<Value>,
    pub(crate) end: Option<End>,
    streamed: String,
    cleaner: Cleaner,
}

#[derive(Debug)]
pub(crate) enum End {
    Answered,
    Cancelled,
    Failed(Fault),
}

/// Something for the screen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Of the answer, cleaned.
    Text(String),
    /// How the answer comes about, a line.
    Note(String),
    /// The same for those who want to know more.
    Detail(String),
    /// What the model says to itself.
    Thought(String),
}

// === impl Piece ===

impl Piece {
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

// === impl Turn ===

impl Turn {
    pub(crate) fn take(&mut self, frame: &Frame) -> Vec<Piece> {
        let data = &frame.data;
        match frame.name.as_str() {
            "message" => return self.token(&data["token"]),
            "ui" => self.widgets.extend(data["ui"].as_array().into_iter().flatten().cloned()),
            "done" => self.end = self.end.take().or(Some(End::Answered)),
            "error" => self.end = Some(End::Failed(mended(answer::fault(500, &as_error(data))))),
            // Newer formations may tell more.
            _ => {}
        }
        Vec::new()
    }

    /// What kind of question waits for its answer in this session, if one does.
    pub(crate) fn waits_for(&self) -> Option<&str> {
        self.completed["pending"]["kind"].as_str()
    }

    /// The choices of a question and the widget that has them.
    pub(crate) fn choices(&self) -> Option<(&Value, Vec<(String, &Value)>)> {
        let widget = self.widgets.iter().find(|it| it["type"] == "options")?;
        let options = widget["options"].as_array()?.iter();
        let label = |it: &Value| it["label"].as_str().or(it["value"].as_str()).map(one_line);
        let choices = options.filter_map(|it| Some((label(it)?, &it["value"]))).collect();
        Some((&widget["id"], choices))
    }

    fn token(&mut self, token: &Value) -> Vec<Piece> {
        if let Some(text) = token.as_str() {
            return self.text(text);
        }
        if let Some(session) = token["session_id"].as_str() {
            self.session = Some(session.to_owned());
        }
        let content = token["content"].as_str().unwrap_or_default();
        let stage = token["stage"].as_str().unwrap_or_default();
        match (token["type"].as_str().unwrap_or_default(), stage) {
            ("content", _) => self.text(content),
            ("thinking", _) => vec![Piece::Thought(self.cleaner.clean(content))],
            ("progress", "artifact_created") => vec![Piece::Note(file(&token["artifact"]))],
            ("tool_call", "tool_end") => vec![Piece::Detail(one_line(content))],
            ("progress" | "planning" | "tool_call" | "finalizing", _) => {
                vec![Piece::Note(one_line(content))]
            }
            ("completed", _) => self.complete(token, content),
            ("cancelled", _) => {
                self.end = Some(End::Cancelled);
                Vec::new()
            }
            // A frame of the name `error` follows a failure.
            _ => Vec::new(),
        }
    }

    fn text(&mut self, text: &str) -> Vec<Piece> {
        self.streamed.push_str(text);
        vec![Piece::Text(self.cleaner.clean(text))]
    }

    /// The whole answer stands in the last frame; what of it was not streamed is shown now.
    fn complete(&mut self, token: &Value, content: &str) -> Vec<Piece> {
        self.completed = token.clone();
        let warnings = token["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut pieces: Vec<Piece> =
            warnings.map(|it| Piece::Note(format!("warning: {}", one_line(it)))).collect();
        let rest = match content.strip_prefix(&self.streamed) {
            Some(rest) => rest.to_owned(),
            // What was streamed before was taken back.
            None => format!("\n\n{content}"),
        };
        pieces.insert(0, Piece::Text(self.cleaner.clean(&rest)));
        pieces
    }
}

/// A file that was made, and how to get it.
pub(super) fn file(artifact: &Value) -> String {
    let [name, id] = ["name", "id"].map(|it| one_line(artifact[it].as_str().unwrap_or_default()));
    let size = artifact["size_bytes"].as_u64().map_or_else(String::new, |it| bytes(it) + ", ");
    format!("made {name} ({size}{id})   muxi artifacts get {id}")
}

/// Older formations tell a failure by its text and the name of its class.
fn as_error(data: &Value) -> Value {
    let text = data["message"].as_str().or_else(|| data["error"].as_str());
    let code = data["code"].as_str().or_else(|| data["type"].as_str());
    serde_json::json!({"error": {
        "code": code.unwrap_or("Failed"),
        "message": text.unwrap_or("the formation failed without a word"),
    }})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(turn: &mut Turn, name: &str, data: Value) -> Vec<Piece> {
        turn.take(&Frame { name: name.to_owned(), data })
    }

    fn text(text: &str) -> Vec<Piece> {
        vec![Piece::Text(text.to_owned())]
    }

    #[test]
    fn what_was_not_streamed_is_shown_at_the_end() {
        for (streamed, whole, shown) in
            [("Hel", "Hello", "lo"), ("", "Hello", "Hello"), ("Let me", "May I?", "\n\nMay I?")]
        {
            let mut turn = Turn::default();
            let told = json!({"token": {"type": "content", "content": streamed}});
            assert_eq!(take(&mut turn, "message", told), text(streamed));
            let told = json!({"token": {"type": "completed", "content": whole, "session_id": "s"}});
            assert_eq!(take(&mut turn, "message", told), text(shown));
            assert!(take(&mut turn, "done", json!({"finished": true})).is_empty());
            assert!(matches!(turn.end, Some(End::Answered)), "{turn:?}");
            assert_eq!(turn.session.as_deref(), Some("s"));
        }
    }

    #[test]
    fn plain_tokens_and_older_failures_are_understood() {
        let mut turn = Turn::default();
        assert_eq!(take(&mut turn, "message", json!({"token": "a\u{1b}["})), text("a"));
        assert_eq!(take(&mut turn, "message", json!({"token": "2Jb"})), text("b"));
        take(&mut turn, "error", json!({"error": "No", "type": "ValueError"}));
        let Some(End::Failed(fault)) = &turn.end else { panic!("{turn:?}") };
        assert_eq!((fault.code(), fault.message()), ("ValueError", "No"));
    }
}
