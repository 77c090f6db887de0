//! Sessions are restored, deleted and cleared, each user's own.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

async fn ask(runtime: &Runtime, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = runtime
        .request(method, path)
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("X-Muxi-User-ID", "alice");
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_restored_session_is_what_the_model_reads() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    runtime.say("forget me").await;
    let body = json!({"messages": [
        {"role": "assistant", "content": "hello", "timestamp": "2026-01-01T00:00:01Z"},
        {"role": "user", "content": "hi", "timestamp": "2026-01-01T00:00:00Z"},
    ]});
    let (status, answer) = ask(&runtime, Method::POST, "/v1/sessions/s/restore", Some(body)).await;
    assert_eq!((status, &answer["data"]["messages_loaded"]), (200, &json!(2)), "{answer}");
    runtime.say("again").await;
    let messages = llm.journal()[1].body["messages"].clone();
    let texts: Vec<_> = messages.as_array().unwrap()[1..]
        .iter()
        .map(|it| it["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["hi", "hello", "again"]);

    let bad = json!({"messages": [{"role": "robot"}]});
    let (status, answer) = ask(&runtime, Method::POST, "/v1/sessions/s/restore", Some(bad)).await;
    let faults = &answer["error"]["data"]["validation_errors"];
    assert_eq!((status, faults.as_array().unwrap().len()), (422, 3), "{answer}");
    assert_eq!(runtime.transcript().await.len(), 4);
}

#[tokio::test]
async fn sessions_and_buffers_are_forgotten_by_those_whose_they_are() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    for session in ["s", "t", "u"] {
        let body = json!({"message": "hi", "session_id": session});
        assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 200);
    }
    let bob = json!({"message": "mine", "session_id": "s", "user_id": "bob"});
    let bob = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY).json(&bob);
    assert_eq!(bob.send().await.unwrap().status(), 200);

    let (_, buffer) = ask(&runtime, Method::GET, "/v1/memory/buffer", None).await;
    assert_eq!(buffer["data"]["total_messages"], 6);
    let (status, _) = ask(&runtime, Method::DELETE, "/v1/sessions/s", None).await;
    assert_eq!(status, 200);
    assert_eq!(ask(&runtime, Method::DELETE, "/v1/sessions/s", None).await.0, 404);
    assert_eq!(ask(&runtime, Method::DELETE, "/v1/memory/buffer/t", None).await.0, 200);
    let (_, cleared) = ask(&runtime, Method::DELETE, "/v1/memory/buffer", None).await;
    assert_eq!(cleared["data"]["sessions_cleared"], 1);
    // His is still there, until the operator clears everything.
    let admin = |method: Method, path: &str| {
        runtime.request(method, path).header("X-Muxi-Admin-Key", ADMIN_KEY).send()
    };
    let kept: Value = admin(Method::GET, "/v1/memory/stats").await.unwrap().json().await.unwrap();
    assert_eq!(kept["data"]["total_entries"], 2);
    let cleared: Value =
        admin(Method::DELETE, "/v1/memory/buffer").await.unwrap().json().await.unwrap();
    assert_eq!(cleared["data"]["messages_cleared"], 2);
}

#[tokio::test]
async fn what_was_said_goes_when_it_is_older_than_the_manifest_wants() {
    let retention = "memory: {retention: {sessions_days: 30, requests_hours: 48}}";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(retention)));
    let runtime = bundle.start(&llm);
    let body = json!({"messages": [
        {"role": "user", "content": "hi", "timestamp": "2020-01-01T00:00:00Z"},
        {"role": "assistant", "content": "hello", "timestamp": "2020-01-01T00:00:01Z"},
    ]});
    let (status, _) = ask(&runtime, Method::POST, "/v1/sessions/old/restore", Some(body)).await;
    assert_eq!(status, 200);
    runtime.say("of today").await;
    runtime.kill9();
    // A start looks for what is old, and so does every hour.
    let runtime = bundle.start(&llm);
    while ask(&runtime, Method::GET, "/v1/sessions/old", None).await.0 != 404 {}
    assert_eq!(runtime.transcript().await.len(), 2);
}
