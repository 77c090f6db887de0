//! The model host over its socket, as its clients see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::models_dir;
use muxi_local_llm::host::{Ended, HostError, HostOptions, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "local/smollm2-135m-instruct";
const PATIENCE: Duration = Duration::from_mins(1);

struct Host {
    dir: TempDir,
    shutdown: CancellationToken,
    serving: JoinSet<Result<Ended, HostError>>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

// === impl Host ===

impl Host {
    fn start(models_dir: &Path, change: impl FnOnce(&mut HostOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket_path = dir.path().join("host.sock");
        let listener = UnixListener::bind(&socket_path).unwrap();
        let mut options = HostOptions::new(models_dir.to_owned());
        options.socket_path = Some(socket_path);
        change(&mut options);
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, options, shutdown.clone()));
        Self { dir, shutdown, serving }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("host.sock")
    }

    /// HTTP/1.0, whose answers end with the connection and are not cut into chunks.
    async fn send(&self, method: &str, path: &str, body: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        read(self.send(method, path, body).await).await
    }

    async fn get(&self, path: &str) -> Value {
        self.call("GET", path, "").await.json()
    }

    async fn chat(&self, body: &Value) -> Reply {
        self.call("POST", "/v1/chat/completions", &body.to_string()).await
    }

    async fn ended(&mut self) -> Result<Ended, HostError> {
        timeout(PATIENCE, self.serving.join_next()).await.expect("the host ends").unwrap().unwrap()
    }

    /// Waits until the host says so of itself.
    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.get("/health").await;
            if holds(&health) {
                return;
            }
            assert!(Instant::now() < deadline, "never {what}: {health}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

// === impl Reply ===

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// The data of the events, the last as it stands.
    fn events(&self) -> (Vec<Value>, String) {
        let mut data: Vec<_> =
            self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let last = data.pop().unwrap().to_owned();
        (data.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect(), last)
    }
}

#[tokio::test]
async fn a_host_without_a_model_says_what_mends_it() {
    let models = tempfile::tempdir().unwrap();
    let host = Host::start(models.path(), |_| {});

    let health = host.get("/health").await;
    assert_eq!((&health["state"], &health["loaded"]), (&json!("missing"), &json!(false)));
    assert!(health["reason"].as_str().unwrap().contains("models import"), "{health}");
    assert_eq!(host.get("/v1/models").await, json!({ "object": "list", "data": [] }));

    let reply = host.chat(&greeting()).await;
    assert_eq!((reply.status, reply.error_code().as_str()), (503, "model_missing"));
    assert!(reply.body.contains("scripts/quickstart.sh"), "{}", reply.body);
}

#[tokio::test]
async fn errors_have_the_shape_of_the_wire() {
    let models = tempfile::tempdir().unwrap();
    fs::write(models.path().join("broken.gguf"), b"GGUF").unwrap();
    let host = Host::start(models.path(), |_| {});
    let chat = "/v1/chat/completions";
    let with = |field: &str, value: Value| {
        let mut body = greeting();
        body[field] = value;
        body.to_string()
    };
    let cases = [
        ("POST", chat, with("model", json!("local/unknown")), 404, "model_not_found"),
        ("POST", chat, with("model", json!("llama_cpp/none.gguf")), 503, "model_missing"),
        ("POST", chat, with("model", json!("llama_cpp/broken.gguf")), 503, "model_failed"),
        ("POST", chat, with("temperature", json!(3)), 400, "invalid_value"),
        ("POST", chat, with("n", json!(2)), 400, "unsupported_parameter"),
        ("POST", chat, "{".to_owned(), 400, "invalid_value"),
        ("GET", chat, String::new(), 405, "not_found"),
        ("GET", "/nowhere", String::new(), 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let reply = host.call(method, path, &body).await;
        assert_eq!((reply.status, reply.error_code().as_str()), (status, code), "{}", reply.body);
    }
    let health = host.get("/health").await;
    let broken = &health["models"][1];
    assert_eq!(
        (&broken["model"], &broken["state"]),
        (&json!("llama_cpp/broken.gguf"), &json!("failed"))
    );
}

#[tokio::test]
async fn a_chat_is_answered_whole() {
    let host = Host::start(models_dir(), |_| {});
    assert_eq!(host.get("/health").await["loaded"], json!(false), "nothing is loaded unasked");
    assert_eq!(host.get("/v1/models").await["data"][0]["id"], json!(MODEL));

    let reply = host.chat(&greeting()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = reply.json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!(MODEL)));
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["role"]),
        (&json!("stop"), &json!("assistant"))
    );
    assert!(
        choice["message"]["content"].as_str().unwrap().split_whitespace().count() >= 3,
        "{answer}"
    );
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap();
    assert_eq!(usage("prompt_tokens") + usage("completion_tokens"), usage("total_tokens"));
    assert_eq!(host.get("/health").await["loaded"], json!(true));
}

#[tokio::test]
async fn a_streamed_answer_is_the_whole_answer_in_pieces() {
    let host = Host::start(models_dir(), |_| {});
    let whole = host.chat(&greeting()).await.json();

    let mut body = greeting();
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let reply = host.chat(&body).await;
    assert!(reply.head.contains("content-type: text/event-stream"), "{}", reply.head);
    let (chunks, last) = reply.events();
    assert_eq!(last, "[DONE]");

    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(json!(text), whole["choices"][0]["message"]["content"]);
    let [.., finish, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], json!("stop"));
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["total_tokens"], whole["usage"]["total_tokens"]);
    for chunk in &chunks {
        assert_eq!(
            (&chunk["object"], &chunk["id"]),
            (&json!("chat.completion.chunk"), &chunks[0]["id"])
        );
    }
    assert!(chunks.len() > 5, "the text came in one piece");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let models = tempfile::tempdir().unwrap();
    let host = Host::start(models.path(), |_| {});
    let mut client = UnixStream::connect(host.socket()).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 3000000\r\n\r\n{}",
        " ".repeat(3_000_000)
    );
    // The host may answer and close before it has read everything.
    client.write_all(request.as_bytes()).await.unwrap_or_default();
    let mut bytes = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut bytes)).await.expect("an answer").unwrap_or_default();
    let answer = String::from_utf8(bytes).unwrap();
    assert!(answer.starts_with("HTTP/1.0 413 ") && answer.contains("invalid_value"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_hears_a_heartbeat() {
    let host = Host::start(models_dir(), |options| options.engine.concurrent_max = 1);
    let mut first = host.send("POST", "/v1/chat/completions", &endless(true).to_string()).await;
    // Once it speaks, the only place is certainly its own.
    let mut spoken = String::new();
    while !spoken.contains("data: ") {
        let mut bytes = [0; 1024];
        let count = timeout(PATIENCE, first.read(&mut bytes)).await.expect("a word").unwrap();
        assert!(count > 0, "{spoken}");
        spoken.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }

    let mut body = greeting();
    body["stream"] = json!(true);
    let mut second = host.send("POST", "/v1/chat/completions", &body.to_string()).await;
    let mut heard = String::new();
    while !heard.contains(": prefill\n\n") {
        let mut bytes = [0; 1024];
        let count = timeout(PATIENCE, second.read(&mut bytes)).await.expect("a sign").unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        assert!(!heard.contains("data: "), "it did not wait: {heard}");
    }
    drop(first);
    let mut rest = String::new();
    timeout(PATIENCE, second.read_to_string(&mut rest)).await.expect("an end").unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_generation() {
    let host = Host::start(models_dir(), |_| {});
    for stream in [true, false] {
        let client = host.send("POST", "/v1/chat/completions", &endless(stream).to_string()).await;
        host.until("active", |health| health["active_requests"] == 1).await;
        drop(client);
        host.until("idle", |health| health["active_requests"] == 0).await;
    }
}

#[tokio::test]
async fn a_full_queue_is_told_with_a_time_to_come_back() {
    let host = Host::start(models_dir(), |options| {
        options.engine.concurrent_max = 1;
        options.engine.waiting_max = 0;
    });
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        assert!(Instant::now() < deadline, "never refused");
        let client = host.send("POST", "/v1/chat/completions", &endless(true).to_string()).await;
        let is_busy = |health: &Value| health["loaded"] == true && health["active_requests"] == 1;
        host.until("active", is_busy).await;
        let reply = host.chat(&greeting()).await;
        drop(client);
        // The first request may still be on its way to the queue, or may have ended by itself: then
        // this one is answered.
        if reply.status != 200 {
            break reply;
        }
        host.until("idle", |health| health["active_requests"] == 0).await;
    };
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "queue_full"));
    let retry_after = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    assert!(retry_after.unwrap().parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn an_idle_model_is_unloaded_and_comes_back() {
    let host = Host::start(models_dir(), |options| options.idle_unload = Duration::from_millis(50));
    for _ in 0..2 {
        assert_eq!(host.chat(&greeting()).await.status, 200);
        host.until("unloaded", |health| health["loaded"] == false).await;
    }
}

#[tokio::test]
async fn an_idle_host_ends() {
    let models = tempfile::tempdir().unwrap();
    let mut host =
        Host::start(models.path(), |options| options.idle_exit = Some(Duration::from_millis(50)));
    assert_eq!(host.ended().await.unwrap(), Ended::Idle);
}

#[tokio::test]
async fn a_host_whose_socket_was_replaced_ends_when_its_work_is_done() {
    let mut host = Host::start(models_dir(), |_| {});
    let mut body = greeting();
    body["messages"][0]["content"] = json!("Tell me a long story about a fox.");
    body["max_tokens"] = json!(48);
    let client = host.send("POST", "/v1/chat/completions", &body.to_string()).await;
    host.until("active", |health| health["active_requests"] == 1).await;

    fs::remove_file(host.socket()).unwrap();
    let _other = UnixListener::bind(host.socket()).unwrap();
    assert_eq!(read(client).await.status, 200, "the answer under way is finished");
    assert_eq!(host.ended().await.unwrap(), Ended::Replaced);
}

#[tokio::test]
async fn a_shutdown_cuts_answers_that_take_too_long() {
    let mut host = Host::start(models_dir(), |options| options.drain = Duration::from_millis(50));
    let client = host.send("POST", "/v1/chat/completions", &endless(true).to_string()).await;
    host.until("active", |health| health["loaded"] == true && health["active_requests"] == 1).await;
    host.shutdown.cancel();
    assert_eq!(host.ended().await.unwrap(), Ended::Shutdown);
    let body = read(client).await.body;
    assert!(body.contains("shutting_down") && !body.contains("[DONE]"), "{body}");
}

// === private helpers ===

fn greeting() -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Hello! How are you?" }],
        "temperature": 0,
        "max_tokens": 64,
    })
}

/// A request that takes minutes when nobody ends it.
fn endless(stream: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Count to ten thousand." }],
        "temperature": 2.0,
        "seed": 3,
        "max_tokens": 4000,
        "stream": stream,
    })
}

async fn read(mut stream: UnixStream) -> Reply {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer").unwrap();
    let text = String::from_utf8(bytes).expect("valid UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn tools_are_in_the_prompt_and_the_answer_keeps_the_wire() {
    let host = Host::start(models_dir(), |_| {});
    let tool = |description: &str| {
        json!([{ "type": "function", "function": {
            "name": "get_weather", "description": description,
            "parameters": { "type": "object", "properties": { "city": { "type": "string" } } },
        } }])
    };
    let mut body = json!({
        "model": MODEL, "temperature": 0, "max_tokens": 48,
        "messages": [
            { "role": "system", "content": "Call a tool whenever one fits." },
            { "role": "user", "content": "What is the weather in Paris?" },
            { "role": "assistant", "content": null, "tool_calls": [{
                "id": "c1", "type": "function",
                "function": { "name": "get_weather", "arguments": "{\"city\":\"Paris\"}" },
            }] },
            { "role": "tool", "tool_call_id": "c1", "content": "Sunny, 24 degrees." },
            { "role": "user", "content": "And in Rome?" },
        ],
    });
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let without = host.chat(&body).await.json();
    body["tools"] = tool("Tells the weather.");
    let short = host.chat(&body).await.json();
    // What the model is told of the form, the tool, and then a description of forty words more.
    assert!(tokens(&short) > tokens(&without) + 60, "{short} {without}");
    body["tools"] = tool(&"Tells the weather. ".repeat(11));
    let long = host.chat(&body).await.json();
    assert!(tokens(&long) >= tokens(&short) + 40, "{long} {short}");

    // Whatever this small model chose to say, it is a sound message of the wire.
    let choice = &long["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    assert!(!calls.is_empty() || choice["message"]["content"].is_string(), "{long}");
    assert!(!choice["message"]["content"].to_string().contains("<tool_call"), "{long}");
    assert_eq!(choice["finish_reason"] == "tool_calls", !calls.is_empty(), "{long}");
    for call in &calls {
        assert!(call["function"]["name"].is_string() && call["function"]["arguments"].is_string());
    }

    // As a stream it is the same.
    body["stream"] = json!(true);
    let (events, last) = host.chat(&body).await.events();
    assert_eq!(last.trim_end(), "[DONE]");
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
    let text: String = deltas.clone().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap_or_default());
    let streamed: Vec<_> =
        deltas.filter_map(|delta| delta["tool_calls"].as_array()).flatten().collect();
    let functions =
        |calls: &[&Value]| calls.iter().map(|it| it["function"].clone()).collect::<Vec<_>>();
    assert_eq!(functions(&streamed), functions(&calls.iter().collect::<Vec<_>>()));
}
