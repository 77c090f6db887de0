//! A formation of its own for each test: temporary folder, free port, scripted model.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use muxi_memory::{Location, Store};
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

pub(crate) const CLIENT_KEY: &str = "fmc_test";
pub(crate) const ADMIN_KEY: &str = "fma_test";
/// Far beyond what any answer takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running formation. Killed when dropped.
pub(crate) struct Runtime {
    child: Child,
    pub(crate) url: String,
    pub(crate) ok_line: String,
    client: reqwest::Client,
}

/// A bundle on the disk.
pub(crate) struct Bundle {
    pub(crate) folder: tempfile::TempDir,
}

/// The frames of a stream, one by one.
pub(crate) struct Frames {
    response: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formation-runtime"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A manifest with one agent on the scripted model.
pub(crate) fn manifest(more: &str) -> String {
    format!(
        "schema: '1.0.0'
id: under-test
version: 2.1.0
description: A formation under test
server: {{api_keys: {{client_key: {CLIENT_KEY}, admin_key: {ADMIN_KEY}}}}}
llm:
  api_keys: {{fake: sk-fake}}
  settings: {{max_retries: 0}}
  models: [{{text: fake/model-1}}]
agents:
  - {{schema: '1.0.0', id: helper, description: Helps, system_message: Be brief.}}
{more}"
    )
}

// === impl Bundle ===

impl Bundle {
    pub(crate) fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("formation.afs"), manifest).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The memory of its formation, for what was left there by an earlier process.
    pub(crate) fn store(&self) -> Store {
        std::fs::create_dir_all(self.data_dir()).unwrap();
        Store::open(&Location::Folder(self.data_dir())).unwrap()
    }

    pub(crate) fn command(&self, llm: &FakeLlm) -> Command {
        let mut command = program();
        command.arg(self.path()).args(["--port", "0", "--data-dir"]).arg(self.data_dir());
        command.env("FAKE_BASE_URL", llm.base_url());
        command
    }

    pub(crate) fn start(&self, llm: &FakeLlm) -> Runtime {
        Runtime::start(self.command(llm))
    }
}

// === impl Runtime ===

impl Runtime {
    /// Resolves when the address was printed.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::inherit())
    }

    pub(crate) fn start_with(mut command: Command, stderr: Stdio) -> Self {
        let mut child = command.stderr(stderr).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ok_line = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with("[  OK  ]"))
            .expect("the runtime ended before it served");
        Self::of(child, ok_line)
    }

    /// The same with its standard output in a file.
    pub(crate) async fn start_writing(mut command: Command, stdout: &Path) -> Self {
        let file = std::fs::File::create(stdout).unwrap();
        let child = command.stdout(file).stderr(Stdio::inherit()).spawn().unwrap();
        let ok_line = loop {
            let text = std::fs::read_to_string(stdout).unwrap();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.map(str::trim).find(|line| line.starts_with("[  OK  ]")) {
                break line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self::of(child, ok_line)
    }

    fn of(child: Child, ok_line: String) -> Self {
        let url = ok_line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let url = url.trim_end_matches(',').to_owned();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        Self { child, url, ok_line, client }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// A message of the user `alice` in the session `s`.
    pub(crate) fn chat(&self, body: &Value) -> RequestBuilder {
        let mut body = body.clone();
        body.as_object_mut().unwrap().entry("session_id").or_insert("s".into());
        self.post("/v1/chat")
            .header("X-Muxi-Client-Key", CLIENT_KEY)
            .header("X-Muxi-User-ID", "alice")
            .json(&body)
    }

    pub(crate) async fn say(&self, message: &str) -> Value {
        let response = self.chat(&json!({"message": message})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Texts of the session `s` of `alice` with their turn's status.
    pub(crate) async fn transcript(&self) -> Vec<(String, String)> {
        let request = self.get("/v1/sessions/s/messages?user_id=alice");
        let response = request.header("X-Muxi-Client-Key", CLIENT_KEY).send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        let messages = body["data"]["messages"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        messages.iter().map(|it| (text(&it["text"]), text(&it["metadata"]["status"]))).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// === impl Frames ===

impl Frames {
    pub(crate) fn of(response: Response) -> Self {
        Self { response: response.bytes_stream().boxed(), buffer: String::new() }
    }

    /// The next frame that is not a comment; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let frame = self.raw().await?;
            if let Some(frame) = parse(&frame) {
                return Some(frame);
            }
        }
    }

    /// The next frame that has a number, with it.
    pub(crate) async fn numbered(&mut self) -> (String, Value) {
        loop {
            let frame = self.raw().await.expect("a frame");
            let id = frame.lines().find_map(|line| line.strip_prefix("id: "));
            if let (Some(id), Some((_, data))) = (id, parse(&frame)) {
                return (id.to_owned(), data);
            }
        }
    }

    async fn raw(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, end) = (frame.to_owned(), self.buffer.len() - rest.len());
                self.buffer.drain(..end);
                return Some(frame);
            }
            let chunk = self.response.next().await?.unwrap();
            assert!(chunk.is_ascii());
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<(String, Value)> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

fn parse(frame: &str) -> Option<(String, Value)> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).unwrap();
    Some((field("event: ").unwrap_or("message").to_owned(), data))
}
