//! One tool, as a model may call it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use muxi_contract::{RequestId, SessionId, UserId};
use muxi_llm::ToolSpec;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

/// Something that a model may ask for.
pub trait Tool: Send + Sync + fmt::Debug {
    /// Its name is unique among the tools of one call: `server__tool` for those of servers.
    fn spec(&self) -> &ToolSpec;

    fn origin(&self) -> &Origin;

    /// How much harm a call can do, as far as its maker told.
    fn danger(&self) -> Danger;

    /// Never fails: what went wrong is an [`Outcome`] that the model can read and mend.
    fn call(&self, call: Call) -> BoxFuture<'_, Outcome>;
}

/// Who offers a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This program.
    Builtin,
    Mcp {
        server: String,
        /// By the server's own name for it.
        tool: String,
    },
    /// Another agent of the formation.
    Agent(String),
    /// An agent elsewhere.
    Remote(String),
}

/// How much harm a call can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// Changes nothing.
    ReadOnly,
    /// Its maker does not say, and its name sounds like reading.
    PresumedReadOnly,
    /// Changes something that can be changed back, as its maker says.
    Additive,
    /// Its maker does not say.
    Unknown,
    /// May destroy, as its maker says.
    Destructive,
}

/// One call, on behalf of a user.
#[derive(Debug, Clone)]
pub struct Call {
    pub arguments: Map<String, Value>,
    pub user: UserId,
    pub session: SessionId,
    pub request: RequestId,
    /// The agent that asks.
    pub agent: String,
    /// How many agents have asked each other on the way here.
    pub depth: u8,
    /// Left of the time for all calls of the turn.
    pub time_left: Duration,
    pub cancelled: CancellationToken,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    pub is_error: bool,
    pub content: Vec<Content>,
    /// The same for programs.
    pub structured: Option<Value>,
    /// It was written by this program and not by somebody elsewhere.
    pub is_trusted: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text(String),
    /// To be kept as a file of the answer.
    File {
        name: String,
        /// `type/subtype`.
        media_type: String,
        bytes: Bytes,
    },
    /// A widget for the caller's screen, as its producer wrote it.
    Widget(Value),
}

// === impl Danger ===

impl Danger {
    /// Whether doing it twice may be more than doing it once.
    pub const fn may_change(self) -> bool {
        match self {
            Self::ReadOnly | Self::PresumedReadOnly => false,
            Self::Additive | Self::Unknown | Self::Destructive => true,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// An error in this program's words.
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            is_error: true,
            content: vec![Content::Text(message.into())],
            structured: None,
            is_trusted: true,
        }
    }

    /// An answer in this program's words.
    pub fn told(message: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::refused(message) }
    }

    /// All its texts, one after another.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|content| match content {
            Content::Text(text) => Some(text.as_str()),
            Content::File { .. } | Content::Widget(_) => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// The arguments of a call as a type, or what is wrong with them for the model to mend.
pub(crate) fn arguments<T: serde::de::DeserializeOwned>(
    arguments: Map<String, Value>,
) -> Result<T, Outcome> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Outcome::refused(format!("the arguments do not fit: {error}")))
}
