//! What the model reads: who it is, what was said, what is asked. Pure.

use muxi_llm::Message;
use muxi_memory::{HistoryMessage, Role};

/// Soul and agent as one system message, as much of the history as fits, and the question.
///
/// An empty answer is left out, since some models take no empty message. Neighbours of one role become one message, since some models take strictly alternating roles;
/// two of one role follow each other when a turn ended without an answer.
pub fn compose(
    soul: &str,
    system_message: Option<&str>,
    history: &[HistoryMessage],
    question: &str,
    history_bytes_max: usize,
) -> Vec<Message> {
    let parts = [soul, system_message.unwrap_or_default()].map(str::trim);
    let system = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
    let mut messages = Vec::with_capacity(history.len() + 2);
    if !system.is_empty() {
        messages.push(Message::system(system));
    }
    let question = HistoryMessage { role: Role::User, text: question.to_owned() };
    let recent = recent(history, history_bytes_max);
    let said = recent.iter().filter(|message| !message.text.trim().is_empty());
    for message in said.chain([&question]) {
        let message = match message.role {
            Role::User => Message::user(message.text.as_str()),
            Role::Assistant => Message::assistant(message.text.as_str()),
        };
        match messages.last_mut() {
            Some(last) if last.role == message.role => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            _ => messages.push(message),
        }
    }
    messages
}

/// The newest messages that fit, from a question on: an answer without its question misleads.
fn recent(history: &[HistoryMessage], bytes_max: usize) -> &[HistoryMessage] {
    let mut room = bytes_max;
    let fits = history.iter().rev().take_while(|message| {
        let bytes = message.text.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    let from = history.len() - fits.count();
    let recent = &history[from..];
    let question = recent.iter().position(|message| message.role == Role::User);
    &recent[question.unwrap_or(recent.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(history: &[(Role, &str)], bytes_max: usize, expected: &[&str]) {
        let history: Vec<_> = history
            .iter()
            .map(|(role, text)| HistoryMessage { role: *role, text: (*text).to_owned() })
            .collect();
        let messages = compose("Soul.\n", Some("Task."), &history, "Q", bytes_max);
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
        assert_eq!(compose(" ", None, &[], "Q", 10), [Message::user("Q")]);
    }
}
