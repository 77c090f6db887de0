//! Credentials of users survive a restart, are shown in part only, and open with their key alone.

use std::os::unix::fs::PermissionsExt as _;

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

const TOKEN: &str = "ghp_0123456789abcdefXYZ";

async fn ask(
    runtime: &Runtime,
    user: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = runtime.request(method, path).header("X-Muxi-Client-Key", CLIENT_KEY);
    let request = request.header("X-Muxi-User-ID", user);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn github(name: &str) -> Value {
    json!({"service": "github", "name": name, "credential": {"token": TOKEN}})
}

#[tokio::test]
async fn a_credential_is_kept_sealed_and_shown_in_part() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let key_file = bundle.data_dir().join("credentials.key");
    assert!(!key_file.exists());
    let (status, made) =
        ask(&runtime, "alice", Method::POST, "/v1/credentials", github("work")).await;
    assert_eq!((status, &made["type"]), (201, &json!("credentials.created")), "{made}");
    assert_eq!(made["data"]["credential_preview"], "ghp_012*****XYZ");
    assert_eq!(key_file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read(&key_file).unwrap();
    let (status, taken) =
        ask(&runtime, "alice", Method::POST, "/v1/credentials", github("work")).await;
    assert_eq!((status, &taken["error"]["code"]), (409, &json!("DUPLICATE_RESOURCE")));

    runtime.kill9();
    let runtime = bundle.start(&llm);
    let path = format!("/v1/credentials/{}", made["data"]["credential_id"].as_str().unwrap());
    let (_, found) = ask(&runtime, "alice", Method::GET, &path, Value::Null).await;
    assert_eq!(found["data"], made["data"]);
    let (status, second) =
        ask(&runtime, "alice", Method::POST, "/v1/credentials", github("home")).await;
    assert_eq!(status, 201);
    assert_eq!(std::fs::read(&key_file).unwrap(), key);
    let (_, listed) = ask(&runtime, "alice", Method::GET, "/v1/credentials", Value::Null).await;
    assert_eq!(listed["data"]["count"], 2);
    for answer in [&found, &second, &listed] {
        assert!(!answer.to_string().contains(TOKEN));
    }
    for entry in std::fs::read_dir(bundle.data_dir()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()));
    }

    assert_eq!(ask(&runtime, "bob", Method::GET, &path, Value::Null).await.0, 404);
    assert_eq!(ask(&runtime, "bob", Method::DELETE, &path, Value::Null).await.0, 404);
    let (_, deleted) = ask(&runtime, "alice", Method::DELETE, &path, Value::Null).await;
    assert_eq!(deleted["data"]["deleted"], true);
    assert_eq!(ask(&runtime, "alice", Method::GET, &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_lost_or_foreign_key_is_told_and_never_replaced() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let post =
        |name: &'static str| ask(&runtime, "alice", Method::POST, "/v1/credentials", github(name));
    assert_eq!(post("work").await.0, 201);
    let key_file = bundle.data_dir().join("credentials.key");
    let key = std::fs::read(&key_file).unwrap();
    let list = || ask(&runtime, "alice", Method::GET, "/v1/credentials", Value::Null);

    std::fs::remove_file(&key_file).unwrap();
    for (status, answer) in [post("lost").await, list().await] {
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 500);
        assert!(message.contains("credentials.key") && message.contains("bring it back"));
    }
    assert!(!key_file.exists());
    std::fs::write(&key_file, "00".repeat(32)).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (status, answer) in [post("foreign").await, list().await] {
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 500 && message.contains("is not the key"), "{message}");
    }
    std::fs::write(&key_file, key).unwrap();
    assert_eq!(list().await.1["data"]["count"], 1);
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_services_are_told_as_they_are() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    for body in [
        json!({}),
        json!({"service": "x", "credential": {}}),
        json!({"service": "x", "credential": "text"}),
        json!({"service": "x", "credential": {"token": "x".repeat(17_000)}}),
    ] {
        let (status, answer) = ask(&runtime, "a", Method::POST, "/v1/credentials", body).await;
        assert_eq!((status, &answer["error"]["code"]), (422, &json!("VALIDATION_ERROR")));
    }
    for (header, key) in [("X-Muxi-Admin-Key", ADMIN_KEY), ("X-Muxi-Client-Key", CLIENT_KEY)] {
        let request = runtime.get("/v1/credentials/services").header(header, key);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["data"], json!({"services": [], "count": 0}));
        let request = runtime.get("/v1/credentials").header(header, key);
        assert_eq!(request.send().await.unwrap().status(), 400);
    }
}
