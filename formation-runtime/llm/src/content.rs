//! What a message holds, and how each wire writes it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{Role, ToolCall};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// What goes with the text; not every model takes it.
    pub attachments: Vec<Attachment>,
    /// What the assistant asked for with it.
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's result: the call that it answers.
    pub tool_call_id: Option<String>,
    /// Of a tool's result: the call failed, or was not made.
    pub is_error: bool,
}

/// A file that a model looks at as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub kind: AttachmentKind,
    pub name: String,
    /// Such as `image/png`.
    pub media_type: String,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    Image,
    /// A PDF file.
    Document,
}

// === impl Message ===

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// What became of a call.
    pub fn tool(call_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self { tool_call_id: Some(call_id.into()), ..Self::new(Role::Tool, content) }
    }

    /// Why a call failed, or was not made.
    pub fn failed_tool(call_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::tool(call_id, content) }
    }

    fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            attachments: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            is_error: false,
        }
    }
}

// === impl Attachment ===

impl Attachment {
    pub(crate) fn base64(&self) -> String {
        BASE64_STANDARD.encode(&self.bytes)
    }
}

// === impl ToolCall ===

impl ToolCall {
    /// The arguments as a JSON object. Servers parse what they get back and refuse words that are none,
    /// so those travel within one: the model must see what it wrote to do better.
    pub(crate) fn object(&self) -> Value {
        if self.arguments.trim().is_empty() {
            return json!({});
        }
        match serde_json::from_str(&self.arguments) {
            Ok(object @ Value::Object(_)) => object,
            Ok(_) | Err(_) => json!({ "not_an_object": self.arguments }),
        }
    }
}

/// A name or an id in the characters that every provider takes: a model may have made it up, or another
/// provider written it. Equal ones stay equal.
pub(crate) fn plain(name: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    name.chars().take(NAME_CHARS_MAX).map(|it| if allowed(it) { it } else { '_' }).collect()
}

const NAME_CHARS_MAX: usize = 64;
