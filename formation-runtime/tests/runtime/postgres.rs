//! A memory on a server: the same promises, for processes that share no disk.

use std::os::unix::process::ExitStatusExt as _;

use muxi_testkit::fake_llm::FakeLlm;
use muxi_testkit::postgres::Postgres;
use serde_json::{Value, json};

use crate::harness::{Bundle, CLIENT_KEY, manifest};

#[tokio::test]
async fn what_was_said_is_known_to_every_process_of_the_formation_and_to_no_other_formation() {
    let (llm, server) = (FakeLlm::start().await, Postgres::start());
    let memory = format!("memory: {{persistent: {{connection_string: '{}'}}}}\n", server.url());
    let bundles = [Bundle::new(&manifest(&memory)), Bundle::new(&manifest(&memory))];
    let first = bundles[0].start(&llm);
    first.say("one").await;
    let second = bundles[1].start(&llm);
    second.say("two").await;
    first.kill9();
    let texts: Vec<_> = second.transcript().await.into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["one", "fake model: one", "two", "fake model: two"]);
    let answer = second
        .chat(&json!({"message": "later", "mode": "async", "request_id": "r-1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    assert!(!bundles[0].data_dir().join("memory.db").exists());

    let other = manifest(&memory).replace("id: under-test", "id: another");
    let other = Bundle::new(&other);
    let other = other.start(&llm);
    let request = other.get("/v1/sessions?user_id=alice").header("X-Muxi-Client-Key", CLIENT_KEY);
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["data"]["count"], 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_clear_reason_not_to_start() {
    let llm = FakeLlm::start().await;
    let url = "postgresql://muxi:hidden-word@127.0.0.1:1/db?sslmode=disable";
    let memory = format!("memory: {{persistent: {{connection_string: '{url}'}}}}\n");
    let bundle = Bundle::new(&manifest(&memory));
    let output = bundle.command(&llm).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("memory.persistent.connection_string"), "{said}");
    let all = said + &String::from_utf8_lossy(&output.stderr);
    assert!(!all.contains("hidden-word"), "{all}");
}

#[tokio::test]
async fn a_start_that_waits_for_a_server_ends_at_the_first_signal() {
    const SIGTERM: i32 = 15;
    let llm = FakeLlm::start().await;
    // It takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    let url = format!("postgresql://muxi:word@{address}/db?sslmode=disable");
    let memory = format!("memory: {{persistent: {{connection_string: '{url}'}}}}\n");
    let bundle = Bundle::new(&manifest(&memory));
    let mut child = bundle.command(&llm).spawn().unwrap();
    let waits = tokio::task::spawn_blocking(move || mute.accept().unwrap()).await.unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.signal(), Some(SIGTERM));
    drop(waits);
}
