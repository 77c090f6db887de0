//! Messages that come in other ways than through `/v1/chat`: from clients of MCP and from agents elsewhere.

use std::sync::Arc;

use muxi_contract::envelope::ValidationError;
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_memory::{RequestKind, RequestMode};

use super::error::Problem;
use crate::agents::Agent;
use crate::app::Parts;
use crate::conversation::Question;
use crate::conversation::files::File;

/// Who says what, in which conversation.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) request: RequestId,
    /// The agent that must answer, by its id.
    pub(super) agent: Option<String>,
    pub(super) text: String,
    pub(super) files: Vec<File>,
    pub(super) kind: RequestKind,
    pub(super) mode: RequestMode,
}

// === impl Asking ===

impl Asking {
    /// The question, if it is one that the formation takes.
    pub(super) fn question(self, app: &Parts) -> Result<Question, Problem> {
        let agent = agent(app, self.agent.as_deref())?;
        let chars_max = app.manifest.input_limits.max_message_length;
        if self.text.chars().count() > chars_max {
            return Err(fault(&format!("may have {chars_max} characters"), "too_long"));
        }
        if self.text.trim().is_empty() && self.files.is_empty() {
            return Err(fault("says nothing", "too_short"));
        }
        Ok(Question {
            user: self.user,
            session: self.session,
            request_id: self.request,
            agent,
            text: self.text,
            files: self.files,
            kind: self.kind,
            mode: self.mode,
            expected: None,
            webhook_url: None,
            accepted: None,
            created_ms: app.clock.now_ms(),
        })
    }
}

// === private helpers ===

fn agent(app: &Parts, id: Option<&str>) -> Result<Arc<Agent>, Problem> {
    let found = match id {
        Some(id) => app.agents.find(id),
        None => app.agents.default_agent(),
    };
    found.ok_or_else(|| Problem::agent_not_found(id.unwrap_or_default()))
}

fn fault(message: &str, kind: &str) -> Problem {
    Problem::invalid(&[ValidationError {
        field: "message".to_owned(),
        message: format!("message {message}"),
        kind: kind.to_owned(),
    }])
}
