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

    fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            attachments: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    pub(crate) fn openai(&self) -> Value {
        self.written(Attachment::openai)
    }

    pub(crate) fn anthropic(&self) -> Value {
        self.written(Attachment::anthropic)
    }

    /// Text alone stays a string: some servers know nothing else. Files come first, as both providers
    /// advise for documents.
    fn written(&self, part: fn(&Attachment) -> Value) -> Value {
        if self.attachments.is_empty() {
            return json!({"role": self.role, "content": self.content});
        }
        let mut parts: Vec<Value> = self.attachments.iter().map(part).collect();
        parts.push(json!({"type": "text", "text": self.content}));
        json!({"role": self.role, "content": parts})
    }
}

// === impl Attachment ===

impl Attachment {
    fn openai(&self) -> Value {
        let url = format!("data:{};base64,{}", self.media_type, self.base64());
        match self.kind {
            AttachmentKind::Image => json!({"type": "image_url", "image_url": {"url": url}}),
            AttachmentKind::Document => {
                json!({"type": "file", "file": {"filename": self.name, "file_data": url}})
            }
        }
    }

    fn anthropic(&self) -> Value {
        let source =
            json!({"type": "base64", "media_type": self.media_type, "data": self.base64()});
        match self.kind {
            AttachmentKind::Image => json!({"type": "image", "source": source}),
            AttachmentKind::Document => {
                json!({"type": "document", "source": source, "title": self.name})
            }
        }
    }

    fn base64(&self) -> String {
        BASE64_STANDARD.encode(&self.bytes)
    }
}
