//! A request as this wire writes it.

use serde_json::{Value, json};

use crate::content::plain;
use crate::openai::decimal;
use crate::{Attachment, AttachmentKind, CompletionRequest, Message, Role, ToolCall, ToolSpec};

/// This wire demands a bound on the answer; the formation's own default.
const MAX_TOKENS_DEFAULT: u32 = 4096;

/// The shape of the answer has no place on this wire; whoever asks for one checks it.
pub(super) fn body(model: &str, request: &CompletionRequest) -> Value {
    let (system, talk): (Vec<_>, Vec<_>) =
        request.messages.iter().partition(|message| message.role == Role::System);
    let mut body = json!({
        "model": model,
        "messages": messages(&talk),
        "max_tokens": request.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT),
        "stream": true,
    });
    // Empty text is refused everywhere.
    let texts: Vec<_> = system
        .iter()
        .map(|it| it.content.as_str())
        .filter(|text| !text.trim().is_empty())
        .collect();
    if !texts.is_empty() {
        body["system"] = texts.join("\n\n").into();
    }
    if let Some(temperature) = request.temperature {
        // A formation may say up to 2, this wire ends at 1.
        body["temperature"] = decimal(temperature.min(1.0));
    }
    let called = talk.iter().flat_map(|message| &message.tool_calls);
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    } else if let Some(tools) = bygone(called) {
        body["tools"] = tools;
        body["tool_choice"] = json!({ "type": "none" });
    }
    body
}

// === private helpers ===

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "name": tool.name, "description": tool.description, "input_schema": *tool.parameters,
    })
}

/// Calls of the past are refused unless their tools are named, also when none is on offer any more.
fn bygone<'a>(called: impl Iterator<Item = &'a ToolCall>) -> Option<Value> {
    let mut names: Vec<_> = called.map(|call| plain(&call.name)).collect();
    names.sort_unstable();
    names.dedup();
    let tool = |name| json!({ "name": name, "input_schema": { "type": "object" } });
    (!names.is_empty()).then(|| names.into_iter().map(tool).collect())
}

/// The results of one answer's calls make one message of the user; a message without content is left
/// out, as this wire refuses it.
fn messages(messages: &[&Message]) -> Vec<Value> {
    let mut written: Vec<Value> = Vec::with_capacity(messages.len());
    let mut after_result = false;
    for message in messages {
        let is_result = message.role == Role::Tool;
        let blocks = if is_result { vec![result(message)] } else { blocks(message) };
        if blocks.is_empty() {
            continue;
        }
        match written.last_mut().and_then(|last| last["content"].as_array_mut()) {
            Some(results) if is_result && after_result => results.extend(blocks),
            _ => written.push(match (&blocks[..], message.role) {
                // Text alone stays a string.
                ([text], role) if text["type"] == "text" => {
                    json!({ "role": role, "content": message.content })
                }
                (_, Role::Assistant) => json!({ "role": "assistant", "content": blocks }),
                (_, Role::System | Role::User | Role::Tool) => {
                    json!({ "role": "user", "content": blocks })
                }
            }),
        }
        after_result = is_result;
    }
    written
}

/// Files come first, as the provider advises for documents, and calls last.
fn blocks(message: &Message) -> Vec<Value> {
    let mut blocks: Vec<Value> = message.attachments.iter().map(attachment).collect();
    blocks.extend(text(&message.content));
    blocks.extend(message.tool_calls.iter().map(|call| {
        json!({
            "type": "tool_use",
            "id": plain(&call.id), "name": plain(&call.name), "input": call.object(),
        })
    }));
    blocks
}

fn result(message: &Message) -> Value {
    let id = plain(message.tool_call_id.as_deref().unwrap_or_default());
    let mut result = json!({ "type": "tool_result", "tool_use_id": id });
    let files = message.attachments.iter().map(attachment);
    let blocks: Vec<Value> = text(&message.content).into_iter().chain(files).collect();
    match &blocks[..] {
        [] => {}
        [_] if message.attachments.is_empty() => result["content"] = message.content.clone().into(),
        _ => result["content"] = blocks.into(),
    }
    if message.is_error {
        result["is_error"] = true.into();
    }
    result
}

fn text(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn attachment(attachment: &Attachment) -> Value {
    let source = json!({
        "type": "base64", "media_type": attachment.media_type, "data": attachment.base64(),
    });
    match attachment.kind {
        AttachmentKind::Image => json!({"type": "image", "source": source}),
        AttachmentKind::Document => {
            json!({"type": "document", "source": source, "title": attachment.name})
        }
    }
}
