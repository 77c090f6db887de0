//! What the model reads: who it is, what was said, what is asked. Pure.

use muxi_llm::{Attachment, Message};
use muxi_memory::{HistoryMessage, Role};
use muxi_orchestration::fence::Boundary;

use super::files;

/// Soul and agent as one system message, as much of the history as fits, and the question.
///
/// An empty answer is left out, since some models take no empty message. Neighbours of one role become one message, since some models take strictly alternating roles;
/// two of one role follow each other when a turn ended without an answer.
pub fn compose(
    soul: &str,
    system_message: Option<&str>,
    history: &[HistoryMessage],
    (question, attachments): (String, Vec<Attachment>),
    history_bytes_max: usize,
    boundary: &Boundary,
) -> Vec<Message> {
    let parts = [soul, system_message.unwrap_or_default()].map(str::trim);
    let system = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
    let mut messages = Vec::with_capacity(history.len() + 2);
    if !system.is_empty() {
        messages.push(Message::system(system));
    }
    let said = recent(history, history_bytes_max, boundary);
    let said = said.into_iter().filter(|(_, text)| !text.trim().is_empty());
    for (role, text) in said.chain([(Role::User, question)]) {
        let message = match role {
            Role::User => Message::user(text),
            Role::Assistant => Message::assistant(text),
        };
        match messages.last_mut() {
            Some(last) if last.role == message.role => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            _ => messages.push(message),
        }
    }
    if let Some(question) = messages.last_mut() {
        question.attachments = attachments;
    }
    messages
}

/// The newest messages that fit, from a question on: an answer without its question misleads. Texts of
/// files give way to their names before a message is left out.
fn recent(
    history: &[HistoryMessage],
    bytes_max: usize,
    boundary: &Boundary,
) -> Vec<(Role, String)> {
    let mut room = bytes_max;
    let mut recent: Vec<(Role, String)> = history
        .iter()
        .rev()
        .map_while(|message| {
            let files = files::remembered(message.files.as_deref());
            let recalled = |whole| files::recalled(&message.text, &files, whole, boundary);
            let forms = [true, false].map(recalled);
            let text = forms.into_iter().find(|text| text.len() <= room)?;
            room -= text.len();
            Some((message.role, text))
        })
        .collect();
    recent.reverse();
    let question = recent.iter().position(|(role, _)| *role == Role::User);
    recent.split_off(question.unwrap_or(recent.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary() -> Boundary {
        Boundary::from_random(7)
    }

    fn check(history: &[(Role, &str)], bytes_max: usize, expected: &[&str]) {
        let history: Vec<_> = history
            .iter()
            .map(|(role, text)| HistoryMessage {
                role: *role,
                text: (*text).to_owned(),
                files: None,
            })
            .collect();
        let question = ("Q".to_owned(), Vec::new());
        let messages =
            compose("Soul.\n", Some("Task."), &history, question, bytes_max, &boundary());
        let shown: Vec<_> = messages
            .iter()
            .map(|message| format!("{:?}: {}", message.role, message.content))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn prompts() {
        use Role::{Assistant, User};
        let system = "System: Soul.\n\nTask.";
        check(&[], 100, &[system, "User: Q"]);
        let usual = [(User, "a"), (Assistant, "b")];
        check(&usual, 100, &[system, "User: a", "Assistant: b", "User: Q"]);
        // A window that starts in the middle of a turn drops the half turn.
        check(&usual, 1, &[system, "User: Q"]);
        check(&[(Assistant, "b"), (User, "c")], 100, &[system, "User: c\n\nQ"]);
        check(&[(User, "a"), (Assistant, "")], 100, &[system, "User: a\n\nQ"]);
        // An old long message does not keep the newer ones out.
        check(
            &[(User, "long long"), (Assistant, "x"), (User, "c"), (Assistant, "d")],
            3,
            &[system, "User: c", "Assistant: d", "User: Q"],
        );
    }

    #[test]
    fn no_words_no_system_message() {
        let question = ("Q".to_owned(), Vec::new());
        assert_eq!(compose(" ", None, &[], question, 10, &boundary()), [Message::user("Q")]);
    }

    #[test]
    fn texts_of_earlier_files_give_way_before_what_was_said() {
        let text = "x".repeat(500);
        let bytes = text.into_bytes().into();
        let (name, media_type) = ("a.txt".to_owned(), "text/plain".to_owned());
        let file = files::File { name, media_type, bytes };
        let history = [HistoryMessage {
            role: Role::User,
            text: "see".to_owned(),
            files: files::remember(&[file], 1_000),
        }];
        let read = |bytes_max| {
            let question = ("Q".to_owned(), Vec::new());
            compose("", None, &history, question, bytes_max, &boundary())[0].content.clone()
        };
        assert!(read(1_000).contains("xxx"));
        assert!(read(400).starts_with("see\n\nFile \"a.txt\"") && !read(400).contains("xxx"));
        assert_eq!(read(10), "Q");
    }
}
