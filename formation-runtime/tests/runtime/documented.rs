//! The documented examples, in our own words, start in the real program and answer. What they lack on this
//! machine is told at the start and with the answer.

use std::fs;
use std::path::{Path, PathBuf};

use muxi_formation::{Resolve, load};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::harness::{Bundle, CLIENT_KEY, Runtime};

/// The bundles as the crate that reads them keeps them.
fn example(name: &str) -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/formation");
    shared.join("tests/documented").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every secret that one of them needs.
const SECRETS: [(&str, &str); 9] = [
    ("OPENAI_API_KEY", "sk-example"),
    ("ANTHROPIC_API_KEY", "sk-example"),
    ("BRAVE_SEARCH_API_KEY", "brave-example"),
    ("FIRECRAWL_API_KEY", "firecrawl-example"),
    ("GITHUB_PAT", "github-example"),
    ("GITHUB_TOKEN", "github-example"),
    ("WEBHOOK_URL", "https://hooks.example/x"),
    ("FORMATION_CLIENT_API_KEY", CLIENT_KEY),
    ("FORMATION_ADMIN_API_KEY", "fma_example"),
];

/// Starts it where none of its servers exists, and asks it something.
async fn check(name: &str, missing: &[&str]) {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(""));
    copy(&example(name), bundle.path());
    llm.script(json!([{"reply": {"text": "It can be done."}}]));
    let mut command = bundle.command(&llm);
    command
        .envs(SECRETS)
        .envs(["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"].map(|it| (it, llm.base_url())))
        // Neither a program that would fetch servers nor a way out to where they are.
        .env("PATH", "/nowhere")
        .env("HTTPS_PROXY", "http://127.0.0.1:1");
    let stdout = bundle.path().join("stdout.txt");
    let runtime = Runtime::start_writing(command, &stdout).await;

    let made = fs::read(bundle.data_dir().join("keys.json")).ok();
    let made: Value = made.map_or(Value::Null, |keys| serde_json::from_slice(&keys).unwrap());
    let request = runtime
        .post("/v1/chat")
        .header("X-Muxi-Client-Key", made["client_key"].as_str().unwrap_or(CLIENT_KEY))
        .header("X-Muxi-User-ID", "alice")
        .json(&json!({"message": "Tell me about the harbour of Hamburg", "stream": false}));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["message"]["content"], "It can be done.", "{name}: {answer}");
    let warnings = answer["data"]["warnings"].to_string();
    for server in missing {
        let told = format!("the tools of `{server}` are missing");
        assert!(warnings.contains(&told), "{name}: {answer}");
    }
    assert_eq!(missing.is_empty(), warnings == "null", "{name}: {answer}");

    let printed = fs::read_to_string(&stdout).unwrap();
    let look_up = |_, wanted: &str| {
        let found = SECRETS.iter().find(|(secret, _)| *secret == wanted);
        found.map(|(_, value)| (*value).to_owned())
    };
    for warning in load(&example(name), Resolve::With(&look_up)).unwrap().warnings {
        assert!(printed.contains(&format!("[ WARN ] {warning}")), "{name}: {printed}");
    }
}

#[tokio::test]
async fn the_documented_chatbot_answers() {
    check("simple-chatbot", &[]).await;
}

#[tokio::test]
async fn the_documented_support_answers() {
    check("customer-support", &[]).await;
}

#[tokio::test]
async fn the_documented_assistant_answers_without_its_servers() {
    check("research-assistant", &["brave-search", "filesystem"]).await;
}

#[tokio::test]
async fn the_documented_reviewer_answers_without_its_server() {
    check("code-reviewer", &["github"]).await;
}

#[tokio::test]
async fn the_documented_team_answers_without_its_servers() {
    check("multi-agent-team", &["brave-search", "filesystem"]).await;
}

/// Each of its agents has one server; the one that answers tells of its own.
#[tokio::test]
async fn the_documented_demo_answers_without_its_server() {
    check("hello-demo", &["firecrawl"]).await;
}
