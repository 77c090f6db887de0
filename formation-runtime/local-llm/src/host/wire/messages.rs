//! The messages and tools of a request.

use serde::Deserialize;
use serde_json::{Value, json};

use super::WireError;
use crate::engine::{Message, Role, Tool, ToolCall};

const MESSAGES_MAX: usize = 1024;
const TOOLS_MAX: usize = 128;

#[derive(Deserialize)]
pub(super) struct WireMessage {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct WireCall {
    function: CalledFunction,
}

#[derive(Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
pub(super) struct WireTool {
    r#type: String,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: String,
    parameters: Option<Value>,
}

pub(super) fn messages(messages: Vec<WireMessage>) -> Result<Vec<Message>, WireError> {
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        return Err(invalid(format!("messages must have 1 to {MESSAGES_MAX} entries")));
    }
    messages.into_iter().map(message).collect()
}

pub(super) fn tools(tools: Vec<WireTool>) -> Result<Vec<Tool>, WireError> {
    let refused = |message: String| WireError::invalid(Some("tools"), message);
    if tools.len() > TOOLS_MAX {
        return Err(refused(format!("tools must have at most {TOOLS_MAX} entries")));
    }
    let tool = |tool: WireTool| match tool.function {
        Some(Function { name, description, parameters })
            if tool.r#type == "function" && !name.is_empty() =>
        {
            let parameters = parameters.unwrap_or_else(|| json!({ "type": "object" }));
            Ok(Tool { name, description, parameters })
        }
        Some(_) | None => Err(refused(
            "local models support only tools of the type `function`, with a name".to_owned(),
        )),
    };
    tools.into_iter().map(tool).collect()
}

// === private helpers ===

fn invalid(message: String) -> WireError {
    WireError::invalid(Some("messages"), message)
}

fn message(message: WireMessage) -> Result<Message, WireError> {
    let role = role(&message.role)?;
    let calls = message.tool_calls.unwrap_or_default();
    let tool_calls: Vec<_> = calls.into_iter().map(|call| called(call.function)).collect();
    let content = match message.content {
        Some(content) => text(content)?,
        None if !tool_calls.is_empty() => String::new(),
        None => return Err(invalid("a message without calls needs a content".to_owned())),
    };
    if !tool_calls.is_empty() && role != Role::Assistant {
        return Err(invalid("only the assistant has tool_calls".to_owned()));
    }
    Ok(Message { role, content, tool_calls })
}

fn called(CalledFunction { name, arguments }: CalledFunction) -> ToolCall {
    let arguments = match arguments.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone().into()),
    };
    ToolCall { name, arguments }
}

fn role(name: &str) -> Result<Role, WireError> {
    match name {
        "system" | "developer" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        other => {
            Err(invalid(format!("local models do not support messages with the role `{other}`")))
        }
    }
}

fn text(content: Content) -> Result<String, WireError> {
    match content {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => parts
            .into_iter()
            .map(|part| match part {
                Part { r#type, text: Some(text) } if r#type == "text" => Ok(text),
                Part { r#type, .. } => Err(invalid(format!(
                    "local models do not support content of the type `{type}`"
                ))),
            })
            .collect(),
    }
}
