//! Calls by the names that `openapi.json` has for them. Each answer is checked against the document
//! and kept as a snapshot, so that no answer changes and no operation goes without one unseen.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

/// A formation whose API is walked through.
pub(crate) struct Walk {
    pub(crate) runtime: Runtime,
    pub(crate) bundle: Bundle,
    pub(crate) llm: FakeLlm,
}

/// One call of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    /// What the variable parts of the path are, in their order.
    path: Vec<String>,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    /// The code of the failure, if it is to be one.
    fails_with: Option<&'static str>,
}

/// What the names of the snapshots of failures begin with.
const FAILURE: &str = "failure_";

pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../openapi.json")).expect("the document is JSON")
});

pub(crate) fn call(operation: &'static str) -> Call {
    let (path, headers) = (Vec::new(), Vec::new());
    Call { operation, path, query: String::new(), headers, body: None, fails_with: None }
}

// === impl Call ===

impl Call {
    /// With the client key, for `alice`.
    pub(crate) fn client(self) -> Self {
        self.header("X-Muxi-Client-Key", CLIENT_KEY).header("X-Muxi-User-ID", "alice")
    }

    /// With the admin key, for nobody.
    pub(crate) fn admin(self) -> Self {
        self.header("X-Muxi-Admin-Key", ADMIN_KEY)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn path(mut self, part: &str) -> Self {
        self.path.push(part.to_owned());
        self
    }

    pub(crate) fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// As it is written, which may be no JSON.
    pub(crate) fn body(mut self, body: impl std::fmt::Display) -> Self {
        self.body = Some(body.to_string());
        self
    }

    /// Expects a failure, which is kept under its code.
    pub(crate) fn fails_with(mut self, code: &'static str) -> Self {
        self.fails_with = Some(code);
        self
    }

    /// Whether the operation is for the operator alone.
    pub(crate) fn is_operators(&self) -> bool {
        let (_, _, operation) = self.described();
        operation["security"] == json!([{"admin": []}])
    }

    /// As the document has it: method, path and description of the operation.
    fn described(&self) -> (Method, String, &'static Value) {
        for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["operationId"] == self.operation {
                    let method = method.to_uppercase().parse().unwrap();
                    return (method, self.filled(path), operation);
                }
            }
        }
        panic!("no operation is called {}", self.operation);
    }

    fn filled(&self, path: &str) -> String {
        let mut given = self.path.iter();
        let mut fill =
            || given.next().expect("a value for each variable part of the path").as_str();
        let parts = path.split('/').map(|part| if part.starts_with('{') { fill() } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }
}

// === impl Walk ===

impl Walk {
    pub(crate) async fn start() -> Self {
        Self::with(&manifest("")).await
    }

    pub(crate) async fn with(manifest: &str) -> Self {
        Self::of(Bundle::new(manifest)).await
    }

    pub(crate) async fn of(bundle: Bundle) -> Self {
        let llm = FakeLlm::start().await;
        let runtime = bundle.start(&llm);
        Self { runtime, bundle, llm }
    }

    /// The whole answer, checked and kept.
    pub(crate) async fn take(&self, call: Call) -> Value {
        let (status, body) = self.answer(&call).await;
        let code = call.fails_with.map_or(Value::Null, Value::from);
        assert_eq!(body["error"]["code"], code, "{call:?}: {status} {body}");
        snapshot(&call, &json!({"status": status.as_u16(), "body": body}));
        body
    }

    /// The answer, checked but not kept: for what only leads up to another one.
    pub(crate) async fn pass(&self, call: Call) -> Value {
        let (status, body) = self.answer(&call).await;
        assert!(status.is_success(), "{call:?}: {status} {body}");
        body
    }

    /// Whatever is answered, checked but not kept.
    pub(crate) async fn ask(&self, call: &Call) -> Value {
        self.answer(call).await.1
    }

    /// Whatever is answered, as text: for what need not be JSON.
    pub(crate) async fn read(&self, call: &Call) -> String {
        let bytes = self.send(call).await.bytes().await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A failure, checked but not kept: each class of them is kept once.
    pub(crate) async fn refuse(&self, call: Call) {
        let (status, body) = self.answer(&call).await;
        assert!(status.is_client_error(), "{call:?}: {status} {body}");
    }

    /// The first frames of a stream, checked by their content type and kept.
    pub(crate) async fn take_frames(&self, call: Call, count: usize) {
        let response = self.send(&call).await;
        let status = response.status();
        described_answer(&call, status, response.headers()["content-type"].to_str().unwrap());
        let mut frames = Frames::of(response);
        let mut shown = Vec::new();
        while let Some((event, data)) = frames.next().await {
            shown.push(json!({"event": event, "data": data}));
            if shown.len() == count {
                break;
            }
        }
        assert_eq!(shown.len(), count, "{shown:?}");
        snapshot(&call, &json!({"status": status.as_u16(), "frames": shown}));
    }

    /// What is neither JSON nor made of frames with data: its head and its first characters.
    pub(crate) async fn take_text(&self, call: Call) {
        const CHARS_SHOWN: usize = 40;
        let mut response = self.send(&call).await;
        let (status, media) = (response.status(), response.headers()["content-type"].clone());
        described_answer(&call, status, media.to_str().unwrap());
        let mut read = String::new();
        // Streams have no end; of them, the first frame is shown.
        while read.len() < CHARS_SHOWN
            && !(media == "text/event-stream" && read.contains("\n\n"))
            && let Some(chunk) = response.chunk().await.unwrap()
        {
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
        let frame = read.split_inclusive("\n\n").next().filter(|_| media == "text/event-stream");
        let text: String = frame.unwrap_or(&read).chars().take(CHARS_SHOWN).collect();
        let media = media.to_str().unwrap();
        let shown = json!({"status": status.as_u16(), "content_type": media, "begins": text});
        snapshot(&call, &shown);
    }

    /// A success without a body.
    pub(crate) async fn take_nothing(&self, call: Call) {
        let response = self.send(&call).await;
        let status = response.status();
        assert!(response.bytes().await.unwrap().is_empty(), "{call:?}");
        snapshot(&call, &json!({"status": status.as_u16()}));
    }

    async fn answer(&self, call: &Call) -> (StatusCode, Value) {
        let response = self.send(call).await;
        let status = response.status();
        let media = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        let schema = &described_answer(call, status, &media)["schema"];
        let faults: Vec<String> = validator(schema)
            .iter_errors(&body)
            .map(|it| format!("{}: {it}", it.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{call:?}: {status} {body}\n{faults:#?}");
        (status, body)
    }

    pub(crate) async fn send(&self, call: &Call) -> reqwest::Response {
        let (method, path, _) = call.described();
        let mut request = self.runtime.request(method, &path);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        request.send().await.unwrap()
    }
}

/// Every operation of the document that can succeed has its success among the snapshots, and no snapshot
/// is of another.
#[test]
fn every_operation_has_a_snapshot() {
    let kept: BTreeSet<String> = snapshots().filter(|name| !name.starts_with(FAILURE)).collect();
    let operations: BTreeSet<String> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter(|operation| {
            operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2'))
        })
        .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept, operations);
}

/// The codes of the failures among the snapshots.
pub(crate) fn kept_failures() -> BTreeSet<String> {
    snapshots().filter_map(|name| name.strip_prefix(FAILURE).map(str::to_owned)).collect()
}

// === private helpers ===

fn snapshots() -> impl Iterator<Item = String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runtime/snapshots");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".snap").map(str::to_owned))
}

/// The description of an answer's content; an answer that is not described is a fault.
fn described_answer(call: &Call, status: StatusCode, media: &str) -> &'static Value {
    let (_, _, operation) = call.described();
    let media = media.split(';').next().unwrap().trim();
    let answer = &operation["responses"][status.as_str()];
    let answer = answer["$ref"].as_str().map_or(answer, |place| {
        DOCUMENT.pointer(place.trim_start_matches('#')).expect("references lead somewhere")
    });
    let described = &answer["content"];
    let described = described.get(media).unwrap_or(&described["*/*"]);
    assert!(!described.is_null(), "{call:?}: {status} {media} is not in the document");
    described
}

fn validator(schema: &Value) -> Validator {
    let mut whole = json!({"components": DOCUMENT["components"]});
    whole["allOf"] = json!([schema]);
    jsonschema::draft202012::new(&whole).expect("the document's schemas are schemas")
}

/// Kept without what differs from run to run.
fn snapshot(call: &Call, shown: &Value) {
    let failure = call.fails_with.map(|code| format!("{FAILURE}{code}"));
    let name = failure.unwrap_or_else(|| call.operation.to_owned());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, shown) in NAMES {
        settings.add_filter(pattern, *shown);
    }
    settings.bind(|| insta::assert_json_snapshot!(name, shown));
}

const NAMES: &[(&str, &str)] = &[
    (r#"http://127\.0\.0\.1:\d+/authorize\?[^"]*"#, "[address]"),
    (r"\bsched_job_[0-9a-zA-Z_]{16}", "sched_[id]"),
    (
        r"\b(sess|req|evt|usr|job|ing|forget|art|del|mem|cred|apv|pln|clr)_[0-9a-zA-Z_]{16,}",
        "${1}_[id]",
    ),
    (r#""(id|memory_id)": "[0-9a-zA-Z_]{21}""#, r#""$1": "[id]""#),
    (r"\b\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)", "[time]"),
    (r"\b1[6-9]\d{14}\b", "\"[number]\""),
    (r"\b1[6-9]\d{11}\b", "\"[milliseconds]\""),
    (r"\b1[6-9]\d{8}(\.\d+)?\b", "\"[seconds]\""),
    (
        r#""(processing_time_ms|uptime_seconds|seconds|cpu_percent|memory_usage_mb|buffer_size_kb|queued|sent)": [0-9.]+"#,
        r#""$1": "[$1]""#,
    ),
    (r"(localhost|127\.0\.0\.1):\d+", "$1:[port]"),
    (r"\b[0-9a-f]{64}\b", "[sha256]"),
    (r"\b[0-9a-f]{32}\b", "[boundary]"),
];
