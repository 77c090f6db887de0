//! A request as this wire writes it.

use serde_json::{Value, json};

use crate::content::plain;
use crate::{Attachment, AttachmentKind, CompletionRequest, Message, Role, ToolCall, ToolSpec};

pub(super) fn body(provider: &str, model: &str, request: &CompletionRequest) -> Value {
    let mut body = json!({
        "model": model,
        "messages": messages(&request.messages),
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(temperature) = request.temperature {
        body["temperature"] = decimal(temperature);
    }
    if let Some(max_tokens) = request.max_tokens {
        // OpenAI's newer models refuse the older name, most others know only that one.
        let name = if provider == "openai" { "max_completion_tokens" } else { "max_tokens" };
        body[name] = max_tokens.into();
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    if let Some(shape) = &request.shape {
        // Strictly, only a part of JSON Schema would be taken.
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": { "name": "answer", "strict": false, "schema": **shape },
        });
    }
    body
}

/// A number as the formation's author wrote it: 0.7, not 0.699999988079071.
pub(crate) fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

// === private helpers ===

fn tool(tool: &ToolSpec) -> Value {
    json!({ "type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": *tool.parameters,
    } })
}

fn messages(messages: &[Message]) -> Vec<Value> {
    let mut written = Vec::with_capacity(messages.len());
    let mut returned: Vec<Value> = Vec::new();
    for (index, it) in messages.iter().enumerate() {
        written.push(message(it));
        if it.role == Role::Tool {
            returned.extend(it.attachments.iter().map(attachment));
        }
        // A tool's message is text alone, and none may stand between those that belong together.
        let more = messages.get(index + 1).is_some_and(|next| next.role == Role::Tool);
        if !more && !returned.is_empty() {
            let mut parts = std::mem::take(&mut returned);
            parts.push(json!({ "type": "text", "text": "(what the tools returned)" }));
            written.push(json!({ "role": Role::User, "content": parts }));
        }
    }
    written
}

/// Text alone stays a string: some servers know nothing else. Files come first, as providers advise for
/// documents.
fn message(message: &Message) -> Value {
    // This wire has no place for whether a call failed; the words tell it.
    let Message { role, content, attachments, tool_calls, tool_call_id, is_error: _ } = message;
    if let Some(id) = tool_call_id {
        return json!({ "role": role, "tool_call_id": plain(id), "content": content });
    }
    let mut written = json!({ "role": role, "content": content });
    if !attachments.is_empty() {
        let mut parts: Vec<Value> = attachments.iter().map(attachment).collect();
        parts.push(json!({ "type": "text", "text": content }));
        written["content"] = parts.into();
    }
    if !tool_calls.is_empty() {
        written["tool_calls"] = tool_calls.iter().map(call).collect();
        if content.is_empty() {
            written["content"] = Value::Null;
        }
    }
    written
}

fn call(call: &ToolCall) -> Value {
    json!({ "id": plain(&call.id), "type": "function", "function": {
        "name": plain(&call.name), "arguments": call.object().to_string(),
    } })
}

fn attachment(attachment: &Attachment) -> Value {
    let url = format!("data:{};base64,{}", attachment.media_type, attachment.base64());
    match attachment.kind {
        AttachmentKind::Image => json!({"type": "image_url", "image_url": {"url": url}}),
        AttachmentKind::Document => {
            json!({"type": "file", "file": {"filename": attachment.name, "file_data": url}})
        }
    }
}
