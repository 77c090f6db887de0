//! What both versions of the protocol write. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use muxi_contract::ids::nanoid;
use serde_json::{Value, json};

use super::error::RemoteError;
use crate::Content;

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V03,
    V1,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Send,
    Stream,
    Get,
    Cancel,
}

/// A message to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) text: &'a str,
    /// An earlier conversation, to go on with it.
    pub(super) context: Option<&'a str>,
    /// What asked back, to answer it.
    pub(super) task: Option<&'a str>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Working,
    Completed,
    /// It goes on when it is answered.
    Waiting,
    /// It goes on when somebody has logged in there.
    Unauthorized,
    Failed,
    Cancelled,
}

/// What an agent has told so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Told {
    pub(super) context: Option<String>,
    pub(super) task: Option<String>,
    pub(super) state: Option<State>,
    /// Words beside the status, the newest.
    status_text: Option<String>,
    artifacts: Vec<Artifact>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Artifact {
    id: String,
    content: Vec<Content>,
}

/// Of all texts and files of one answer.
const CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;
const ARTIFACTS_MAX: usize = 64;

// === impl Version ===

impl Version {
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        match (parts.next()?, parts.next()?) {
            ("0", "3") => Some(Self::V03),
            ("1", "0") => Some(Self::V1),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V03 => "0.3",
            Self::V1 => "1.0",
        }
    }

    const fn method(self, method: Method) -> &'static str {
        match (self, method) {
            (Self::V03, Method::Send) => "message/send",
            (Self::V03, Method::Stream) => "message/stream",
            (Self::V03, Method::Get) => "tasks/get",
            (Self::V03, Method::Cancel) => "tasks/cancel",
            (Self::V1, Method::Send) => "SendMessage",
            (Self::V1, Method::Stream) => "SendStreamingMessage",
            (Self::V1, Method::Get) => "GetTask",
            (Self::V1, Method::Cancel) => "CancelTask",
        }
    }

    /// A call as it is sent; each has an id of its own, so that no two are the same to who signs them.
    pub(super) fn call(self, method: Method, params: &Value) -> Value {
        let name = self.method(method);
        json!({"jsonrpc": "2.0", "id": nanoid(), "method": name, "params": params})
    }

    /// `message_id` is the same however often it is sent. The answer to it is polled for.
    pub(super) fn message(self, said: &Said<'_>, message_id: &str) -> Value {
        let (mut message, configuration) = match self {
            Self::V03 => (
                json!({"kind": "message", "role": "user",
                    "parts": [{"kind": "text", "text": said.text}]}),
                json!({"blocking": false, "acceptedOutputModes": OUTPUT_MODES}),
            ),
            Self::V1 => (
                json!({"role": "ROLE_USER", "parts": [{"text": said.text}]}),
                json!({"returnImmediately": true, "acceptedOutputModes": OUTPUT_MODES}),
            ),
        };
        message["messageId"] = message_id.into();
        if let Some(context) = said.context {
            message["contextId"] = context.into();
        }
        if let Some(task) = said.task {
            message["taskId"] = task.into();
        }
        json!({"message": message, "configuration": configuration})
    }
}

const OUTPUT_MODES: [&str; 3] = ["text/plain", "text/markdown", "application/json"];

// === impl State ===

impl State {
    fn of(text: &str) -> Option<Self> {
        let name = text.strip_prefix("TASK_STATE_").unwrap_or(text);
        let name = name.to_ascii_lowercase().replace('_', "-");
        Some(match name.as_str() {
            "submitted" | "working" => Self::Working,
            "completed" => Self::Completed,
            "input-required" => Self::Waiting,
            "auth-required" => Self::Unauthorized,
            "failed" | "rejected" | "unknown" | "unspecified" => Self::Failed,
            "canceled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// Whether nothing more comes by itself.
    pub(super) const fn is_over(self) -> bool {
        !matches!(self, Self::Working)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Completed => "completed",
            Self::Waiting => "input-required",
            Self::Unauthorized => "auth-required",
            Self::Failed => "failed",
            Self::Cancelled => "canceled",
        }
    }
}

// === impl Told ===

impl Told {
    /// Takes what a call was answered with: a task, a message or, of a stream, a change of a task.
    pub(super) fn take(&mut self, result: &Value) -> Result<(), RemoteError> {
        // Version 1.0 wraps each in a field of its kind, version 0.3 says the kind beside the rest.
        for (name, kind) in KINDS {
            if let Some(inner) = result.get(name).filter(|it| it.is_object()) {
                return self.take_kind(kind, inner);
            }
        }
        let kind = match result["kind"].as_str() {
            Some("message") => Kind::Message,
            Some("status-update") => Kind::Status,
            Some("artifact-update") => Kind::Artifact,
            _ if result["status"].is_object() => Kind::Task,
            _ => return Err(RemoteError::Malformed("neither a task nor a message")),
        };
        self.take_kind(kind, result)
    }

    fn take_kind(&mut self, kind: Kind, value: &Value) -> Result<(), RemoteError> {
        if let Some(context) = name(&value["contextId"]) {
            self.context = Some(context);
        }
        match kind {
            Kind::Task => {
                self.task = name(&value["id"]).or(self.task.take());
                self.take_status(&value["status"])?;
                // A task tells all that there is, so it takes the place of its pieces.
                if let Some(artifacts) = value["artifacts"].as_array().filter(|it| !it.is_empty()) {
                    self.artifacts.clear();
                    self.bytes = 0;
                    for artifact in artifacts {
                        self.take_artifact(artifact, false)?;
                    }
                }
            }
            Kind::Message => {
                self.task = name(&value["taskId"]).or(self.task.take());
                self.state = Some(State::Completed);
                let content = self.content(&value["parts"])?;
                self.artifacts.push(Artifact { id: String::new(), content });
            }
            Kind::Status => {
                self.task = name(&value["taskId"]).or(self.task.take());
                self.take_status(&value["status"])?;
            }
            Kind::Artifact => {
                self.task = name(&value["taskId"]).or(self.task.take());
                let appends = value["append"].as_bool().unwrap_or_default();
                self.take_artifact(&value["artifact"], appends)?;
            }
        }
        Ok(())
    }

    fn take_status(&mut self, status: &Value) -> Result<(), RemoteError> {
        let state = status["state"].as_str().and_then(State::of);
        self.state = Some(state.ok_or(RemoteError::Malformed("a task without a known state"))?);
        let content = self.content(&status["message"]["parts"])?;
        let text = texts(&content);
        if !text.is_empty() {
            self.status_text = Some(text);
        }
        Ok(())
    }

    fn take_artifact(&mut self, artifact: &Value, appends: bool) -> Result<(), RemoteError> {
        let id = artifact["artifactId"].as_str().unwrap_or_default().to_owned();
        let content = self.content(&artifact["parts"])?;
        let known = self.artifacts.iter().position(|it| it.id == id);
        match known {
            Some(index) if appends => self.artifacts[index].append(content),
            Some(index) => self.artifacts[index].content = content,
            None if self.artifacts.len() >= ARTIFACTS_MAX => {
                return Err(RemoteError::Malformed("it has more results than anybody reads"));
            }
            None => self.artifacts.push(Artifact { id, content }),
        }
        Ok(())
    }

    fn content(&mut self, parts: &Value) -> Result<Vec<Content>, RemoteError> {
        let parts = parts.as_array().map_or(&[][..], Vec::as_slice);
        let content: Vec<Content> = parts.iter().filter_map(part).collect();
        self.bytes += content.iter().map(size).sum::<usize>();
        if self.bytes > CONTENT_BYTES_MAX {
            return Err(RemoteError::TooLarge(CONTENT_BYTES_MAX));
        }
        Ok(content)
    }

    /// Everything that it said; the words beside the status where there is nothing else.
    pub(super) fn into_content(self) -> Vec<Content> {
        let mut content: Vec<Content> =
            self.artifacts.into_iter().flat_map(|it| it.content).collect();
        let adds = content.is_empty() || self.state != Some(State::Completed);
        content.extend(self.status_text.filter(|_| adds).map(Content::Text));
        content
    }
}

impl Artifact {
    /// Pieces of a text are one text.
    fn append(&mut self, pieces: Vec<Content>) {
        for piece in pieces {
            match (self.content.last_mut(), piece) {
                (Some(Content::Text(text)), Content::Text(piece)) => text.push_str(&piece),
                (_, piece) => self.content.push(piece),
            }
        }
    }
}

// === private helpers ===

#[derive(Clone, Copy)]
enum Kind {
    Task,
    Message,
    Status,
    Artifact,
}

const KINDS: [(&str, Kind); 4] = [
    ("task", Kind::Task),
    ("message", Kind::Message),
    ("statusUpdate", Kind::Status),
    ("artifactUpdate", Kind::Artifact),
];

const NAME_BYTES_MAX: usize = 256;

fn name(value: &Value) -> Option<String> {
    value.as_str().filter(|it| !it.is_empty() && it.len() <= NAME_BYTES_MAX).map(str::to_owned)
}

/// One part of either version; one of a kind that is not known is left out.
fn part(part: &Value) -> Option<Content> {
    if let Some(text) = part["text"].as_str() {
        return Some(Content::Text(text.to_owned()));
    }
    if let Some(data) = part.get("data").filter(|it| !it.is_null()) {
        return Some(Content::Text(data.to_string()));
    }
    let (file, [bytes, url, file_name, media_type]) = match part.get("file") {
        Some(file) => (file, ["bytes", "uri", "name", "mimeType"]),
        None => (part, ["raw", "url", "filename", "mediaType"]),
    };
    let text = |field: &str| file[field].as_str().map(str::to_owned);
    if let Some(encoded) = file[bytes].as_str() {
        let name = text(file_name).unwrap_or_else(|| "file".to_owned());
        let media_type = text(media_type).unwrap_or_else(|| "application/octet-stream".to_owned());
        return Some(match BASE64_STANDARD.decode(encoded) {
            Ok(bytes) => Content::File { name, media_type, bytes: Bytes::from(bytes) },
            Err(_) => Content::Text(format!("[the file {name} is not readable]")),
        });
    }
    text(url).map(|url| Content::Text(format!("[a file at {url}, which was not fetched]")))
}

fn size(content: &Content) -> usize {
    match content {
        Content::Text(text) => text.len(),
        Content::File { bytes, .. } => bytes.len(),
        Content::Widget(_) => 0,
    }
}

fn texts(content: &[Content]) -> String {
    let texts = content.iter().filter_map(|it| match it {
        Content::Text(text) => Some(text.as_str()),
        Content::File { .. } | Content::Widget(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
