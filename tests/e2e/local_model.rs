//! The embedded model: real answers, one process for all formations, and honesty without it.

use std::path::Path;

use muxi_formation::{PackOptions, pack};
use muxi_testkit::daemon::{
    ADMIN_KEY, Answer, CLIENT_KEY, Daemon, Formation, Frames, bin_dir, bundle_with, manifest,
    models_dir,
};
use serde_json::json;

const MODEL_FILE: &str = "smollm2-135m-instruct.q8.gguf";

fn need_the_model() {
    let file = models_dir().join(MODEL_FILE);
    assert!(
        file.is_file(),
        "{} is missing; run: formation-runtime models import \"$(./scripts/fetch-model.sh)\"",
        file.display()
    );
}

/// A formation like hello, with keys that the test knows.
fn local(id: &str) -> Vec<u8> {
    bundle_with(id, &local_manifest(id))
}

fn local_manifest(id: &str) -> String {
    let text = manifest(id, "http://127.0.0.1:1/v1")
        // Retries, as by default: a host may die under a formation.
        .replace("  settings: {max_retries: 0}\n", "")
        .replace("fake/model-1", "local/smollm2-135m-instruct, settings: {max_tokens: 24}");
    assert!(text.contains(CLIENT_KEY) && text.contains(ADMIN_KEY));
    text
}

/// Processes of the installation that serve models.
fn hosts(daemon: &Daemon) -> Vec<u32> {
    let mut found = daemon.processes();
    found.retain(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|it| it == b"model-host")
    });
    found
}

async fn ask(formation: &Formation) -> String {
    let answer = formation.say("Say hello in one short sentence.").await;
    let content = &answer.data()["message"]["content"];
    content.as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn the_example_answers_token_by_token_without_any_key() {
    need_the_model();
    let daemon = Daemon::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formations/hello");
    let mut archive = Vec::new();
    let id = "hello".parse().expect("an id");
    pack(&folder, &id, PackOptions::default(), &mut archive).expect("the example packs");
    let answer = daemon.deploy(archive).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let port = answer.data()["port"].as_u64().expect("a port");

    // Keys that no bundle gives are made and kept for the operator.
    let path = daemon.data_dir().join("formations/hello/data/keys.json");
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("keys")).expect("JSON");
    let key = keys["client_key"].as_str().expect("a key");
    let request = daemon
        .http()
        .post(format!("http://127.0.0.1:{port}/v1/chat"))
        .header("accept", "text/event-stream")
        .header("X-Muxi-Client-Key", key)
        .header("X-Muxi-User-ID", "alice")
        .json(&json!({"message": "What is the capital of France?"}));
    let frames = Frames::of(request).await.rest().await;
    let tokens: Vec<_> = frames.iter().filter_map(|frame| frame.data["token"].as_str()).collect();
    assert!(tokens.len() > 1, "{frames:?}");
    assert!(tokens.concat().contains("Paris"), "{}", tokens.concat());
    assert_eq!(frames.last().expect("a last frame").event, "done");
}

#[tokio::test]
async fn formations_share_one_model_host() {
    need_the_model();
    let mut daemon = Daemon::start().await;
    let mut formations = Vec::new();
    for id in ["one", "two"] {
        let answer = daemon.deploy(local(id)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        formations.push(daemon.formation(id).await);
    }
    assert_eq!(hosts(&daemon), [0u32; 0], "it is started when it is needed");
    for formation in &formations {
        assert!(!ask(formation).await.trim().is_empty());
        assert_eq!(hosts(&daemon).len(), 1);
    }
    // It is started anew when it dies, and again under another manager.
    let host = hosts(&daemon)[0];
    muxi_testkit::daemon::signal(host, rustix::process::Signal::KILL);
    daemon.kill9();
    daemon.start_again().await;
    assert!(!ask(&formations[1]).await.trim().is_empty());
    assert_eq!(hosts(&daemon).len(), 1);
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert_eq!(daemon.processes(), [0u32; 0]);
}

/// Whether so small a model uses it well is another matter; that it reads of it, and that what it says of it
/// is a sound answer, is ours.
#[tokio::test]
async fn the_model_reads_of_a_tool_and_answers_in_words() {
    need_the_model();
    let config = json!({"formations": {"sandbox_read": [bin_dir()]}});
    let daemon = Daemon::builder().config(config).start().await;
    let server = bin_dir().join("fake-mcp");
    let tool = format!(
        "runtime: {{built_in_mcps: false}}
mcp:
  max_tool_iterations: 2
  servers:
    - {{id: fake, type: command, command: '{}', args: [normal], tools: {{allow: echo}}}}
",
        server.display()
    );
    let mut tokens = Vec::new();
    for (id, more) in [("plain", ""), ("tooled", tool.as_str())] {
        let text = format!("{}{more}", local_manifest(id))
            .replace("max_tokens: 24", "max_tokens: 24, temperature: 0");
        let answer = daemon.deploy(bundle_with(id, &text)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let answer = daemon.formation(id).await.say("Say hello in one short sentence.").await;
        let said = answer.data()["message"]["content"].as_str().expect("a text");
        assert!(!said.trim().is_empty() && !said.contains("<tool_call"), "{answer:?}");
        assert_eq!(answer.data()["warnings"], serde_json::Value::Null, "{answer:?}");
        tokens.push(answer.data()["usage"]["prompt_tokens"].as_u64().expect("a count"));
    }
    // The form of a call, and the tool.
    assert!(tokens[1] > tokens[0] + 60, "{tokens:?}");
}

#[tokio::test]
async fn without_the_model_the_answer_is_an_error_that_says_what_to_do() {
    let empty = tempfile::tempdir().expect("a folder");
    let config = json!({"runtime": {"models_dir": empty.path()}});
    let daemon = Daemon::builder().config(config).start().await;
    // A model may be imported later, so the deploy itself stands.
    assert_eq!(daemon.deploy(local("hello")).await.status, 201);
    let formation = daemon.formation("hello").await;
    let answer = formation.say("hi").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.body["error"]["code"], "LLM_ERROR", "{answer:?}");
    assert!(answer.text.contains("formation-runtime models import"), "{}", answer.text);

    // It is known before the first byte, so who asked for a stream gets the same answer.
    let body = json!({"message": "hi", "session_id": "s", "stream": true});
    let answer = Answer::of(formation.chat(&body)).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text.contains("formation-runtime models import"), "{}", answer.text);
}
