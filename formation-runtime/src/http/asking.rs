//! Messages that come in other ways than through `/v1/chat`: from clients of MCP and from agents elsewhere.

use muxi_contract::{RequestId, SessionId, UserId};
use muxi_memory::{RequestKind, RequestMode};
use serde_json::{Map, Value, json};

use super::chat;
use super::chat_request::files::Takes;
use super::error::Problem;
use crate::app::Parts;
use crate::conversation::Question;

/// Who says what, in which conversation.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) request: RequestId,
    /// The agent that must answer, by its id.
    pub(super) agent: Option<String>,
    pub(super) text: String,
    /// As `/v1/chat` takes them.
    pub(super) files: Vec<Value>,
    pub(super) kind: RequestKind,
    pub(super) mode: RequestMode,
    /// How many agents have asked each other on the way here.
    pub(super) depth: u8,
}

// === impl Asking ===

impl Asking {
    /// The question, if it is one that the chat would take.
    pub(super) fn question(self, app: &Parts) -> Result<Question, Problem> {
        let named = match &self.agent {
            Some(id) => Some(app.agents.find(id).ok_or_else(|| Problem::agent_not_found(id))?),
            None => None,
        };
        let mut fields = Map::from_iter([("message".to_owned(), Value::String(self.text))]);
        if !self.files.is_empty() {
            fields.insert("files".to_owned(), json!(self.files));
        }
        let parsed = chat::parse(app, (Takes::Files, false), named.as_deref(), &fields)?;
        Ok(Question {
            user: self.user,
            session: self.session,
            request_id: self.request,
            agent: named,
            text: parsed.request.message,
            files: parsed.files,
            kind: self.kind,
            mode: self.mode,
            expected: None,
            resumes: None,
            picked: None,
            depth: self.depth,
            webhook_url: None,
            accepted: None,
            created_ms: app.clock.now_ms(),
        })
    }
}
