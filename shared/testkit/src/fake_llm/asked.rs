//! What of a request a script can go by, in the same words for both wires.

use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) last_user_message: String,
    pub(super) system: String,
    /// The words of every message, of the system's and of tool results, too.
    pub(super) texts: Vec<String>,
    /// A tool's result came after the assistant's last message.
    pub(super) has_tool_result: bool,
    pub(super) tools: Vec<String>,
}

// === impl Asked ===

impl Asked {
    pub(super) fn read(body: &Value) -> Self {
        let messages = list(&body["messages"]);
        let is_system = |message: &&Value| matches!(role(message), "system" | "developer");
        let of_system = messages.iter().filter(is_system).map(|message| &message["content"]);
        let system: Vec<_> = [&body["system"]].into_iter().chain(of_system).map(text_of).collect();
        // On one wire the results of tools are messages of the user.
        let said = |message: &&Value| {
            role(message) == "user" && !list(&message["content"]).iter().any(is_result)
        };
        let last_user = messages.iter().rev().find(said);
        let since = messages.iter().rposition(|message| role(message) == "assistant");
        let latest = &messages[since.map_or(0, |at| at + 1)..];
        let texts = messages.iter().map(|message| text_of(&message["content"]));
        let name = |tool: &Value| {
            let name = tool["name"].as_str().or_else(|| tool["function"]["name"].as_str());
            name.map(str::to_owned)
        };
        Self {
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            last_user_message: last_user.map(|it| text_of(&it["content"])).unwrap_or_default(),
            system: system.join("\n"),
            texts: texts.chain([text_of(&body["system"])]).collect(),
            has_tool_result: latest.iter().any(|message| {
                role(message) == "tool" || list(&message["content"]).iter().any(is_result)
            }),
            tools: list(&body["tools"]).iter().filter_map(name).collect(),
        }
    }

    /// Of something that is no talk: its words stand for the user's.
    pub(super) fn words(model: &str, words: String) -> Self {
        let model = model.to_owned();
        Self { model, texts: vec![words.clone()], last_user_message: words, ..Self::default() }
    }

    /// Words stand in for tokens.
    pub(super) fn tokens(&self) -> u64 {
        self.texts.iter().map(|text| text.split_whitespace().count() as u64).sum()
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

// === private helpers ===

fn is_result(block: &Value) -> bool {
    block["type"] == "tool_result"
}

/// A content is a string or a list of parts, and a result's part has a content again.
fn text_of(content: &Value) -> String {
    let part = |part: &Value| match part["text"].as_str() {
        Some(text) => text.to_owned(),
        None => text_of(&part["content"]),
    };
    match content.as_array() {
        Some(parts) => parts.iter().map(part).collect(),
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}
