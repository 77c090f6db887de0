//! A conversation with a formation: its session, and what is sent in it.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::events::Events;
use crate::client::formation::{Formation, Key};
use crate::client::segment;
use crate::fault::Fault;

/// As much as a formation takes, unless it is told otherwise.
const FILE_BYTES_MAX: u64 = 50 * 1024 * 1024;
const PIPED_NAME: &str = "input.txt";
/// Extensions of text that mean more than text.
const TELLING: [&str; 10] =
    ["pdf", "md", "csv", "json", "html", "htm", "xml", "svg", "yaml", "yml"];

#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) formation: Formation,
    /// The formation names one in its first answer.
    pub(crate) session: Option<String>,
    pub(crate) agent: Option<String>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) files: Vec<Value>,
    /// The choice that was made, of which widget.
    pub(crate) ui_response: Option<Value>,
}

// === impl Talk ===

impl Talk {
    /// The answer as it comes. The request's id is ours, so that it can be cancelled before its first frame.
    pub(crate) async fn stream(&self, message: &Message, request: &str) -> Result<Events, Fault> {
        let mut body = self.body(message, request);
        body["stream"] = json!(true);
        body["stream_format"] = json!("events");
        self.formation.stream(Key::Client, Method::POST, "/chat", Some(&body)).await.map_err(mended)
    }

    /// The answer as one document, however long it takes.
    pub(crate) async fn whole(&self, message: &Message, request: &str) -> Result<Value, Fault> {
        let mut body = self.body(message, request);
        body["stream"] = json!(false);
        body["mode"] = json!("sync");
        // It is silent until it is there.
        let formation = self.formation.patient()?;
        formation.ask(Key::Client, Method::POST, "/chat", Some(&body)).await.map_err(mended)
    }

    pub(crate) async fn cancel(&self, request: &str) -> Result<(), Fault> {
        let path = format!("/requests/{}", segment(request));
        self.formation.ask(Key::Client, Method::DELETE, &path, None).await.map(drop)
    }

    fn body(&self, message: &Message, request: &str) -> Value {
        let Message { text, files, ui_response } = message;
        let mut body = json!({"message": text, "request_id": request});
        for (name, value) in [("session_id", &self.session), ("agent_id", &self.agent)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        if !files.is_empty() {
            body["files"] = json!(files);
        }
        if let Some(choice) = ui_response {
            body["ui_response"] = choice.clone();
        }
        body
    }
}

/// With what can be done about an answer that did not come about.
pub(super) fn mended(fault: Fault) -> Fault {
    match fault.code() {
        "LLM_ERROR" => fault
            .mend("look at `llm` of the bundle: the model, its key and its address")
            .mend("muxi doctor   looks at everything"),
        "AGENT_NOT_FOUND" => fault.mend("muxi agents list   shows those that there are"),
        _ => fault,
    }
}

/// An id that no other request has.
pub(crate) fn request_id() -> Result<String, Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|it| Fault::failed(format!("the system gave no random bytes: {it}")))?;
    Ok(format!("req_{}", hex::encode(random)))
}

/// A file as messages carry it; its name tells the formation what it is.
pub(crate) fn file(path: &Path) -> Result<Value, Fault> {
    let failed = |error: std::io::Error| {
        Fault::file("read", path, error).mend("name a file with --file PATH")
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(Fault::usage(format!("{} is no file", path.display()))
            .mend("name one file with each --file"));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(Fault::usage(format!("{} has more than 50 MiB", path.display()))
            .mend("formations take no larger ones; send a part of it"));
    }
    let content = std::fs::read(path).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(sent_as(&name, &content))
}

/// What comes through a pipe, as a file.
pub(crate) fn piped() -> Result<Value, Fault> {
    let input = Path::new("standard input");
    let mut content = Vec::new();
    let most = std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut content);
    most.map_err(|it| Fault::file("read", input, it))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::usage("standard input has more than 50 MiB")
            .mend("formations take no larger files; send a part of it"));
    }
    Ok(sent_as(PIPED_NAME, &content))
}

// === private helpers ===

/// Names tell formations what a file is; of those that do not, text is sent as such.
fn sent_as(name: &str, content: &[u8]) -> Value {
    let mut file = json!({"filename": name, "content": BASE64_STANDARD.encode(content)});
    let extension = Path::new(name).extension().and_then(|it| it.to_str()).unwrap_or_default();
    let is_telling = TELLING.contains(&extension.to_ascii_lowercase().as_str());
    if !is_telling && std::str::from_utf8(content).is_ok() {
        file["content_type"] = json!("text/plain");
    }
    file
}
