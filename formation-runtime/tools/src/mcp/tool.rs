//! One tool of a server, as everybody else sees tools.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use serde_json::Value;

use super::arguments;
use super::danger::{Annotations, danger};
use super::discovery::Found;
use super::error::McpError;
use super::names::exposed_name;
use super::servers::Inner;
use crate::{Call, Content, Danger, Origin, Outcome, Tool};

const INVALID_PARAMS: i32 = -32602;

/// Implements [`Tool`].
#[derive(Debug)]
pub(super) struct RemoteTool {
    spec: ToolSpec,
    origin: Origin,
    pub(super) server: String,
    /// By the server's own name for it.
    pub(super) name: String,
    pub(super) annotations: Annotations,
    danger: Danger,
    /// Weak: the servers keep their tools.
    servers: Weak<Inner>,
}

impl RemoteTool {
    pub(super) fn new(server: &str, found: Found, servers: Weak<Inner>) -> Self {
        let spec = ToolSpec {
            name: exposed_name(server, &found.name),
            description: found.description,
            parameters: Arc::new(found.schema),
        };
        let origin = Origin::Mcp { server: server.to_owned(), tool: found.name.clone() };
        Self {
            spec,
            origin,
            server: server.to_owned(),
            danger: danger(found.annotations, &found.name),
            name: found.name,
            annotations: found.annotations,
            servers,
        }
    }

    pub(super) fn schema(&self) -> &Value {
        &self.spec.parameters
    }

    /// Whether a second call of the same does no more than one.
    pub(super) fn is_repeatable(&self) -> bool {
        self.annotations.read_only == Some(true) || self.annotations.idempotent == Some(true)
    }

    /// An error in words from which a model can see what to do.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others explain themselves")]
    fn explained(&self, error: &McpError, arguments: &serde_json::Map<String, Value>) -> Outcome {
        let name = &self.spec.name;
        let text = match error {
            McpError::Refused { code: INVALID_PARAMS, message, .. } if is_unknown_tool(message) => {
                format!("The server does not have the tool `{name}` any more; use another one.")
            }
            McpError::Refused { code: INVALID_PARAMS, message, .. } => {
                let complaints = arguments::complaints(self.schema(), arguments);
                let mut text = format!("The tool `{name}` did not accept the arguments: {message}");
                append_complaints(&mut text, &complaints);
                text
            }
            error => format!("The tool `{name}` could not be used: {}", error.for_users()),
        };
        // Part of it may be the server's words.
        Outcome { is_trusted: false, ..Outcome::refused(text) }
    }
}

impl Tool for RemoteTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn danger(&self) -> Danger {
        self.danger
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        async move {
            let Some(servers) = self.servers.upgrade() else {
                return Outcome::refused("The formation is stopping; no tool can be used.");
            };
            let sent = OnceLock::new();
            let answered = servers.call(self, &call, &sent).await;
            let arguments = sent.get().unwrap_or(&call.arguments);
            match answered {
                Ok(mut outcome) => {
                    if outcome.is_error {
                        let complaints = arguments::complaints(self.schema(), arguments);
                        let mut text = String::new();
                        append_complaints(&mut text, &complaints);
                        outcome.content.extend((!text.is_empty()).then_some(Content::Text(text)));
                    }
                    outcome
                }
                Err(error) => match error.wanted_of_user() {
                    Some(service) => servers.wanted(service),
                    None => self.explained(&error, arguments),
                },
            }
        }
        .boxed()
    }
}

fn append_complaints(text: &mut String, complaints: &[String]) {
    if !complaints.is_empty() {
        text.push_str("\nAgainst its schema: ");
        text.push_str(&complaints.join("; "));
    }
}

/// Servers have one code for a wrong tool and for wrong arguments.
pub(super) fn is_unknown_tool(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("tool")
        && ["unknown tool", "not found", "no such tool", "does not exist"]
            .iter()
            .any(|it| message.contains(it))
}
