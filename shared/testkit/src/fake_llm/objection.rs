//! Why the real provider would refuse a request, if it would.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use serde_json::Value;

use super::asked::{list, role};
use super::wire::Wire;

type Objection = Result<(), String>;

pub(super) fn objection(wire: Wire, headers: &HeaderMap, body: &Value) -> Option<String> {
    let judged = match wire {
        Wire::OpenAi => common(body, &["system", "developer", "user", "assistant", "tool"])
            .and_then(|()| openai(body)),
        Wire::Anthropic => {
            common(body, &["user", "assistant"]).and_then(|()| anthropic(headers, body))
        }
    };
    judged.err()
}

pub(super) fn to_embeddings(body: &Value) -> Option<String> {
    let inputs = list(&body["input"]);
    if !body["model"].is_string() {
        return Some("model: a string is required".to_owned());
    }
    if inputs.is_empty() || inputs.len() > 2048 {
        return Some("input: 1 to 2048 texts are required".to_owned());
    }
    let empty = |text: &Value| text.as_str().is_none_or(str::is_empty);
    let at = inputs.iter().position(empty)?;
    Some(format!("input.{at}: a text that is not empty is required"))
}

fn common(body: &Value, roles: &[&str]) -> Objection {
    demand(body["model"].is_string(), || "model: a string is required".to_owned())?;
    let messages = list(&body["messages"]);
    demand(!messages.is_empty(), || "messages: at least one message is required".to_owned())?;
    for (index, message) in messages.iter().enumerate() {
        let role = role(message);
        demand(roles.contains(&role), || {
            format!("messages.{index}.role: `{role}` is not one of {roles:?}")
        })?;
        let calls = !list(&message["tool_calls"]).is_empty();
        demand(calls || !message["content"].is_null(), || {
            format!("messages.{index}.content: required")
        })?;
    }
    let tools = &body["tools"];
    demand(tools.is_null() || !list(tools).is_empty(), || {
        "tools: expected an array of at least one".to_owned()
    })
}

// === OpenAI ===

fn openai(body: &Value) -> Objection {
    for (index, tool) in list(&body["tools"]).iter().enumerate() {
        let function = &tool["function"];
        demand(tool["type"] == "function", || format!("tools.{index}.type: not `function`"))?;
        demand(is_name(&function["name"]), || {
            format!("tools.{index}.function.name: does not match ^[a-zA-Z0-9_-]{{1,64}}$")
        })?;
        let parameters = &function["parameters"];
        demand(parameters.is_null() || parameters["type"] == "object", || {
            format!("invalid schema for function {}: its type must be object", function["name"])
        })?;
    }
    let format = &body["response_format"];
    if format["type"] == "json_schema" {
        let shape = &format["json_schema"];
        demand(is_name(&shape["name"]) && shape["schema"].is_object(), || {
            "response_format.json_schema: a name and a schema are required".to_owned()
        })?;
    }
    let mut waiting = BTreeSet::new();
    for (index, message) in list(&body["messages"]).iter().enumerate() {
        if role(message) == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            demand(waiting.remove(id), || {
                format!(
                    "messages.{index}: messages with role 'tool' must be a response to a preceding \
                     message with 'tool_calls'"
                )
            })?;
            continue;
        }
        all_answered(&waiting)?;
        for call in list(&message["tool_calls"]) {
            let function = &call["function"];
            let id = call["id"].as_str().filter(|id| !id.is_empty());
            let sound = call["type"] == "function"
                && is_name(&function["name"])
                && function["arguments"].is_string();
            let fault = || format!("messages.{index}.tool_calls: {call} is no call");
            let id = id.filter(|_| sound).ok_or_else(fault)?;
            demand(waiting.insert(id), || format!("messages.{index}: `{id}` is called twice"))?;
        }
    }
    all_answered(&waiting)
}

fn all_answered(waiting: &BTreeSet<&str>) -> Objection {
    demand(waiting.is_empty(), || {
        format!(
            "an assistant message with 'tool_calls' must be followed by tool messages responding to \
             each 'tool_call_id': {waiting:?} had none"
        )
    })
}

// === Anthropic ===

fn anthropic(headers: &HeaderMap, body: &Value) -> Objection {
    demand(body["max_tokens"].is_u64(), || "max_tokens: required".to_owned())?;
    demand(headers.contains_key("anthropic-version"), || {
        "anthropic-version: header is required".to_owned()
    })?;
    demand(body["temperature"].as_f64().is_none_or(|it| (0.0..=1.0).contains(&it)), || {
        "temperature: range 0 to 1".to_owned()
    })?;
    let mut names = BTreeSet::new();
    for (index, tool) in list(&body["tools"]).iter().enumerate() {
        demand(is_name(&tool["name"]), || {
            format!("tools.{index}.name: does not match ^[a-zA-Z0-9_-]{{1,64}}$")
        })?;
        demand(names.insert(tool["name"].as_str()), || "tools: names must be unique".to_owned())?;
        demand(tool["input_schema"]["type"] == "object", || {
            format!("tools.{index}.input_schema.type: `object` is required")
        })?;
    }
    let mut used = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    for (index, message) in list(&body["messages"]).iter().enumerate() {
        let content = &message["content"];
        let blocks = list(content);
        demand(
            content.as_str().is_some_and(|text| !text.is_empty()) || !blocks.is_empty(),
            || format!("messages.{index}: all messages must have non-empty content"),
        )?;
        for block in blocks {
            match block["type"].as_str().unwrap_or_default() {
                "text" => {
                    let said = block["text"].as_str().is_some_and(|text| !text.trim().is_empty());
                    demand(said, || {
                        format!("messages.{index}: text content blocks must be non-empty")
                    })?;
                }
                "tool_result" => {
                    let id = block["tool_use_id"].as_str().unwrap_or_default();
                    demand(role(message) == "user" && waiting.remove(id), || {
                        format!(
                            "messages.{index}: unexpected `tool_use_id` in `tool_result` blocks: \
                             `{id}` has no `tool_use` block in the previous message"
                        )
                    })?;
                }
                _ => {}
            }
        }
        demand(waiting.is_empty(), || {
            format!(
                "messages.{index}: `tool_use` ids {waiting:?} were found without `tool_result` blocks \
                 immediately after"
            )
        })?;
        for block in blocks.iter().filter(|block| block["type"] == "tool_use") {
            let id = block["id"].as_str().filter(|_| is_name(&block["id"]));
            let sound = role(message) == "assistant"
                && is_name(&block["name"])
                && block["input"].is_object();
            let fault = || format!("messages.{index}: {block} is no call");
            let id = id.filter(|_| sound).ok_or_else(fault)?;
            demand(used.insert(id), || "messages: `tool_use` ids must be unique".to_owned())?;
            waiting.insert(id);
        }
    }
    demand(waiting.is_empty(), || format!("messages: `tool_use` ids {waiting:?} without results"))?;
    demand(used.is_empty() || !names.is_empty(), || {
        "requests which include `tool_use` or `tool_result` blocks must define tools".to_owned()
    })
}

// === private helpers ===

fn demand(holds: bool, fault: impl FnOnce() -> String) -> Objection {
    if holds { Ok(()) } else { Err(fault()) }
}

fn is_name(name: &Value) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name.as_str().is_some_and(|it| (1..=64).contains(&it.len()) && it.bytes().all(allowed))
}
