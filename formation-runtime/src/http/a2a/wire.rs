//! What both versions of the protocol write. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muxi_contract::{ErrorCode, RequestId, SessionId};
use muxi_memory::RequestStatus;
use serde_json::{Map, Value, json};

use crate::http::error::Problem;

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    Subscribe,
}

/// Why a call is not answered, by the protocol's own numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    code: i32,
    message: String,
    data: Option<Value>,
}

/// A message of a caller.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    /// As the chat takes them.
    pub(super) files: Vec<Value>,
    pub(super) context: Option<SessionId>,
    pub(super) task: Option<RequestId>,
    /// The answer is asked for later.
    pub(super) returns_at_once: bool,
}

/// A task or a change of one, as it is told.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) version: Version,
    pub(super) task: RequestId,
    pub(super) context: SessionId,
}

/// A file that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Why there are none.
    Missing(&'static str),
}

/// The artifact that is the answer's text.
const ANSWER: &str = "answer";

const METHODS: [(&str, Method, Version); 10] = [
    ("SendMessage", Method::Send, Version::V1),
    ("SendStreamingMessage", Method::Stream, Version::V1),
    ("GetTask", Method::Get, Version::V1),
    ("CancelTask", Method::Cancel, Version::V1),
    ("SubscribeToTask", Method::Subscribe, Version::V1),
    ("message/send", Method::Send, Version::V03),
    ("message/stream", Method::Stream, Version::V03),
    ("tasks/get", Method::Get, Version::V03),
    ("tasks/cancel", Method::Cancel, Version::V03),
    ("tasks/resubscribe", Method::Subscribe, Version::V03),
];

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

    fn state(self, status: RequestStatus) -> &'static str {
        let (old, new) = match status {
            RequestStatus::Pending => ("submitted", "TASK_STATE_SUBMITTED"),
            RequestStatus::Processing => ("working", "TASK_STATE_WORKING"),
            RequestStatus::Completed => ("completed", "TASK_STATE_COMPLETED"),
            RequestStatus::Failed => ("failed", "TASK_STATE_FAILED"),
            RequestStatus::Cancelled => ("canceled", "TASK_STATE_CANCELED"),
            RequestStatus::AwaitingClarification => ("input-required", "TASK_STATE_INPUT_REQUIRED"),
        };
        match self {
            Self::V03 => old,
            Self::V1 => new,
        }
    }

    fn text(self, text: &str) -> Value {
        match self {
            Self::V03 => json!({"kind": "text", "text": text}),
            Self::V1 => json!({"text": text}),
        }
    }

    fn file(self, made: &Made) -> Value {
        let Made { name, media_type, content, .. } = made;
        let bytes = match content {
            Content::Bytes(bytes) => BASE64_STANDARD.encode(bytes),
            Content::Missing(why) => return self.text(&format!("[{name}: {why}]")),
        };
        match self {
            Self::V03 => json!({"kind": "file",
                "file": {"name": name, "mimeType": media_type, "bytes": bytes}}),
            Self::V1 => json!({"raw": bytes, "filename": name, "mediaType": media_type}),
        }
    }
}

// === impl Method ===

impl Method {
    /// What a call of JSON-RPC asks for. Its name tells the version.
    pub(super) fn read(call: &Value) -> Result<(Self, Version), Fault> {
        let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
        if !call.is_object() || call["jsonrpc"] != "2.0" {
            return Err(Fault::new(-32600, "the body is no call of JSON-RPC 2.0"));
        }
        // What is not to be answered cannot be asked for either.
        if !is_id(&call["id"]) {
            return Err(Fault::new(-32600, "`id` must be a text or a whole number"));
        }
        let Some(name) = call["method"].as_str() else {
            return Err(Fault::new(-32600, "`method` must be a text"));
        };
        if let Some((_, method, version)) = METHODS.iter().find(|(known, ..)| *known == name) {
            return Ok((*method, *version));
        }
        Err(if name.contains("ushNotificationConfig") {
            Fault::new(-32003, "tasks are not told of by push; ask, stream or subscribe")
        } else if name == "ListTasks" {
            Fault::new(-32004, "tasks are not listed; ask for each by its id")
        } else if name.contains("ExtendedAgentCard") || name.contains("ExtendedCard") {
            Fault::new(-32007, "there is no other card than the public one")
        } else {
            let shown: String = name.chars().take(100).collect();
            Fault::new(-32601, format!("there is no method `{shown}`"))
        })
    }
}

// === impl Fault ===

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        Self::new(-32700, format!("the body is not JSON: {error}"))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub(super) fn version(given: &str) -> Self {
        let given: String = given.chars().take(20).collect();
        Self::new(-32009, format!("version {given} is not spoken here; use 1.0 or 0.3"))
    }

    pub(super) fn no_task(id: &str) -> Self {
        let id: String = id.chars().take(100).collect();
        Self::new(-32001, format!("there is no task `{id}`"))
    }

    pub(super) fn is_over(message: &str) -> Self {
        Self::new(-32004, message)
    }

    pub(super) fn not_cancelable(message: impl Into<String>) -> Self {
        Self::new(-32002, message)
    }

    pub(super) fn shown(&self) -> Value {
        let mut shown = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            shown["data"] = data.clone();
        }
        shown
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let asks_wrongly =
            matches!(problem.code, ErrorCode::ValidationError | ErrorCode::InvalidRequest);
        let code = if asks_wrongly { -32602 } else { -32603 };
        let mut data = json!({"code": problem.code});
        if let Some(more) = problem.data {
            data["details"] = more;
        }
        Self { code, message: problem.message, data: Some(json!([data])) }
    }
}

// === impl Said ===

impl Said {
    pub(super) fn parse(params: &Value) -> Result<Self, Fault> {
        let message = &params["message"];
        if !message.is_object() {
            return Err(Fault::invalid("`params.message` must be an object"));
        }
        let empty = Vec::new();
        let parts = message["parts"].as_array().unwrap_or(&empty);
        if parts.is_empty() {
            return Err(Fault::invalid(
                "`params.message.parts` must be a list of at least one part",
            ));
        }
        let (mut texts, mut files) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let place = format!("params.message.parts.{index}");
            let file = part.get("file").unwrap_or(part);
            let field = |old: &str, new: &str| file.get(old).or_else(|| file.get(new)).cloned();
            if let Some(text) = part["text"].as_str() {
                texts.push(text.to_owned());
            } else if let Some(data) = part.get("data").filter(|it| !it.is_null()) {
                texts.push(format!("```json\n{data:#}\n```"));
            } else if let Some(content) = field("bytes", "raw") {
                let name =
                    field("name", "filename").unwrap_or_else(|| json!(format!("file-{index}")));
                let mut entry = Map::from_iter([
                    ("filename".to_owned(), name),
                    ("content".to_owned(), content),
                ]);
                entry.extend(
                    field("mimeType", "mediaType").map(|it| ("content_type".to_owned(), it)),
                );
                files.push(Value::Object(entry));
            } else if field("uri", "url").is_some() {
                let message = format!("{place}: files are not fetched; send their bytes");
                return Err(Fault::new(-32005, message));
            } else {
                let message = format!("{place}: neither text nor data nor a file with its bytes");
                return Err(Fault::new(-32005, message));
            }
        }
        let configuration = &params["configuration"];
        if configuration["pushNotificationConfig"].is_object()
            || configuration["taskPushNotificationConfig"].is_object()
        {
            return Err(Fault::new(
                -32003,
                "tasks are not told of by push; ask, stream or subscribe",
            ));
        }
        let blocking = configuration["blocking"].as_bool();
        Ok(Self {
            text: texts.join("\n\n"),
            files,
            context: parsed(&message["contextId"], "params.message.contextId")?,
            task: parsed(&message["taskId"], "params.message.taskId")?,
            returns_at_once: configuration["returnImmediately"] == true || blocking == Some(false),
        })
    }
}

/// The id of a task in the parameters of a call.
pub(super) fn task_id(params: &Value) -> Result<RequestId, Fault> {
    parsed(&params["id"], "params.id")?.ok_or_else(|| Fault::invalid("`params.id` is missing"))
}

// === impl Names ===

impl Names {
    /// A task as it is answered with.
    pub(super) fn task(&self, status: &Value, text: Option<&str>, files: &[Made]) -> Value {
        let Self { version, task, context } = self;
        let mut value = json!({"id": task, "contextId": context, "status": status});
        let answer = text.filter(|text| !text.is_empty()).map(|text| self.answer(text));
        let files = files.iter().map(|made| self.made(made));
        let artifacts: Vec<Value> = answer.into_iter().chain(files).collect();
        if !artifacts.is_empty() {
            value["artifacts"] = artifacts.into();
        }
        if *version == Version::V03 {
            value["kind"] = "task".into();
        }
        value
    }

    /// A status; `text` is what is said beside it.
    pub(super) fn status(&self, status: RequestStatus, text: Option<&str>, at: &str) -> Value {
        let mut value = json!({"state": self.version.state(status), "timestamp": at});
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let id = format!("{}-status", self.task);
            let parts = [self.version.text(text)];
            let mut message = json!({"messageId": id, "parts": parts,
                "taskId": self.task, "contextId": self.context});
            match self.version {
                Version::V03 => {
                    message["kind"] = "message".into();
                    message["role"] = "agent".into();
                }
                Version::V1 => message["role"] = "ROLE_AGENT".into(),
            }
            value["message"] = message;
        }
        value
    }

    /// What a stream begins with, and what a call is answered with.
    pub(super) fn whole(&self, task: Value) -> Value {
        match self.version {
            Version::V03 => task,
            Version::V1 => json!({"task": task}),
        }
    }

    pub(super) fn status_changed(&self, status: &Value, is_last: bool) -> Value {
        let (task, context) = (&self.task, &self.context);
        let change = json!({"taskId": task, "contextId": context, "status": status});
        self.changed("status-update", "statusUpdate", change, |it| it["final"] = is_last.into())
    }

    pub(super) fn text_added(&self, piece: &str, appends: bool, is_last: bool) -> Value {
        self.artifact_changed(&self.answer(piece), appends, is_last)
    }

    pub(super) fn file_added(&self, made: &Made) -> Value {
        self.artifact_changed(&self.made(made), false, true)
    }

    fn artifact_changed(&self, artifact: &Value, appends: bool, is_last: bool) -> Value {
        let change = json!({"taskId": self.task, "contextId": self.context, "artifact": artifact,
            "append": appends, "lastChunk": is_last});
        self.changed("artifact-update", "artifactUpdate", change, |_| {})
    }

    fn changed(
        &self,
        old: &str,
        new: &str,
        mut change: Value,
        only_old: impl Fn(&mut Value),
    ) -> Value {
        match self.version {
            Version::V03 => {
                change["kind"] = old.into();
                only_old(&mut change);
                change
            }
            Version::V1 => json!({new: change}),
        }
    }

    fn answer(&self, text: &str) -> Value {
        json!({"artifactId": ANSWER, "name": ANSWER, "parts": [self.version.text(text)]})
    }

    fn made(&self, made: &Made) -> Value {
        json!({"artifactId": made.id, "name": made.name, "parts": [self.version.file(made)]})
    }
}

// === private helpers ===

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    value: &Value,
    place: &str,
) -> Result<Option<T>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => {
            text.parse().map(Some).map_err(|error| Fault::invalid(format!("{place}: {error}")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Fault::invalid(format!("{place} must be a text")))
        }
    }
}

#[cfg(test)]
mod tests;
