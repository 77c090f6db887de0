//! Files that a model makes: kept before the answer names them, sealed, in versions, and their user's own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

const CAT: &[u8] = b"\x89PNG a cat, a cat, a cat, a cat, a cat, a cat, a cat, a cat";

/// One answer of the model with these pieces.
pub(crate) fn drawing(deltas: &[Value]) -> Value {
    let frame = |delta: &Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let mut raw: Vec<String> = deltas.iter().map(frame).collect();
    raw.push(format!("data: {end}\n\ndata: [DONE]\n\n"));
    json!({"raw_chunks": raw})
}

pub(crate) fn image(bytes: &[u8]) -> Value {
    let url = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// Says a word and sends the cat, twice, as some providers do.
fn cat() -> Value {
    drawing(&[
        json!({"content": "Here"}),
        json!({"content": " it is", "images": [image(CAT)]}),
        json!({"content": "", "images": [image(CAT)]}),
    ])
}

async fn ask(runtime: &Runtime, user: &str, method: Method, path: &str) -> Response {
    let request = runtime.request(method, path).header("X-Muxi-Client-Key", CLIENT_KEY);
    request.header("X-Muxi-User-ID", user).send().await.unwrap()
}

async fn read(runtime: &Runtime, path: &str) -> Value {
    ask(runtime, "alice", Method::GET, path).await.json().await.unwrap()
}

fn blobs(bundle: &Bundle) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(bundle.data_dir().join("artifacts")).unwrap();
    let files = folders.flat_map(|it| std::fs::read_dir(it.unwrap().path()).unwrap());
    files.map(|it| it.unwrap().path()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_drawing_is_kept_sealed_and_read_again_after_a_restart() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(json!([{"reply": cat()}]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "draw a cat", "request_id": "r1"});
    let answer: Value = runtime.chat(&body).send().await.unwrap().json().await.unwrap();
    let message = &answer["data"]["message"];
    assert_eq!(message["content"], "Here it is", "{answer}");
    let made = &message["artifacts"];
    assert_eq!(made.as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(made[0]["name"], "image-r1-1.png");
    assert_eq!(
        (&made[0]["version"], &made[0]["content_type"], &made[0]["size_bytes"]),
        (&json!(1), &json!("image/png"), &json!(CAT.len()))
    );
    assert_eq!(read(&runtime, "/v1/requests/r1").await["data"]["artifacts"], *made);
    runtime.kill9();

    let key_file = bundle.data_dir().join("artifacts.key");
    assert_eq!(key_file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let files = blobs(&bundle);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let on_disk = std::fs::read(&files[0]).unwrap();
    assert!(!on_disk.windows(4).any(|it| it == b"PNG "));

    let runtime = bundle.start(&llm);
    let (id, url) = (text(&made[0]["id"]), text(&made[0]["url"]));
    let found = read(&runtime, &format!("/v1/artifacts/{id}")).await;
    assert_eq!(
        (&found["object"], &found["type"]),
        (&json!("artifact"), &json!("artifact.retrieved"))
    );
    let data = &found["data"];
    assert_eq!((&data["category"], &data["agent_id"]), (&json!("image"), &json!("helper")));
    assert_eq!((&data["conversation_id"], &data["is_latest"]), (&json!("s"), &json!(true)));
    let content = ask(&runtime, "alice", Method::GET, url).await;
    let headers = content.headers().clone();
    assert_eq!(content.bytes().await.unwrap(), CAT);
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-disposition", "inline; filename=\"image-r1-1.png\""),
        ("x-content-type-options", "nosniff"),
        ("x-muxi-artifact-id", id),
        ("x-muxi-artifact-version", "1"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    let again = runtime.get(url).header("X-Muxi-Admin-Key", ADMIN_KEY);
    let again = again.header("X-Muxi-User-ID", "alice").header("If-None-Match", &headers["etag"]);
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);

    // Whoever can write to the disk, or moves the key, is found out.
    let mut changed = on_disk.clone();
    *changed.last_mut().unwrap() ^= 1;
    let original = std::fs::read(&key_file).unwrap();
    for (file, bytes, told) in [
        (&files[0], Some(changed), "were changed on the disk"),
        (&key_file, None, "bring it back"),
        (&key_file, Some("00".repeat(32).into_bytes()), "is not the key"),
    ] {
        let before = std::fs::read(file).unwrap();
        match bytes {
            Some(bytes) => {
                std::fs::write(file, bytes).unwrap();
                std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
            }
            None => std::fs::remove_file(file).unwrap(),
        }
        let failed = ask(&runtime, "alice", Method::GET, url).await;
        assert_eq!(failed.status(), 500);
        let failed: Value = failed.json().await.unwrap();
        assert!(text(&failed["error"]["message"]).contains(told), "{failed}");
        std::fs::write(file, before).unwrap();
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(std::fs::read(&key_file).unwrap(), original);
    assert_eq!(ask(&runtime, "alice", Method::GET, url).await.status(), 200);
    assert_eq!(ask(&runtime, "bob", Method::GET, url).await.status(), 404);
}

#[tokio::test]
async fn the_same_name_has_versions_that_go_together() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let mut ids = Vec::new();
    for picture in ["one", "two"] {
        llm.script(json!([{"reply": drawing(&[json!({"images": [image(picture.as_bytes())]})])}]));
        let body = json!({"message": "draw", "request_id": "r1"});
        let answer: Value = runtime.chat(&body).send().await.unwrap().json().await.unwrap();
        ids.push(text(&answer["data"]["message"]["artifacts"][0]["id"]).to_owned());
    }
    let list = read(&runtime, "/v1/artifacts").await;
    assert_eq!(list["type"], "artifact.list");
    assert_eq!((&list["data"]["count"], &list["data"]["total"]), (&json!(1), &json!(1)));
    assert_eq!(list["data"]["artifacts"][0]["id"], ids[1]);
    assert_eq!(list["data"]["artifacts"][0]["parent_id"], ids[0]);
    let versions = read(&runtime, &format!("/v1/artifacts/{}/versions", ids[0])).await;
    assert_eq!(versions["type"], "artifact.versions.retrieved");
    assert_eq!(
        (&versions["data"]["count"], &versions["data"]["name"]),
        (&json!(2), &json!("image-r1-1.png"))
    );
    for (query, expected) in [("", "one"), ("?version=2", "two"), ("?version=1", "one")] {
        let path = format!("/v1/artifacts/{}/content{query}", ids[0]);
        let content = ask(&runtime, "alice", Method::GET, &path).await;
        assert_eq!(content.text().await.unwrap(), expected, "{query}");
    }
    for (path, status) in [
        (format!("/v1/artifacts/{}/content?version=3", ids[0]), 404),
        (format!("/v1/artifacts/{}/content?version=x", ids[0]), 422),
        ("/v1/artifacts/art_x".to_owned(), 404),
        ("/v1/artifacts?limit=101".to_owned(), 422),
    ] {
        assert_eq!(ask(&runtime, "alice", Method::GET, &path).await.status(), status, "{path}");
    }
    let path = format!("/v1/artifacts/{}", ids[0]);
    assert_eq!(ask(&runtime, "bob", Method::DELETE, &path).await.status(), 404);
    let deleted: Value = ask(&runtime, "alice", Method::DELETE, &path).await.json().await.unwrap();
    assert_eq!(
        deleted["data"],
        json!({
            "id": ids[0], "name": "image-r1-1.png", "versions": 2, "deleted": true,
        })
    );
    assert!(blobs(&bundle).is_empty());
    assert_eq!(ask(&runtime, "alice", Method::DELETE, &path).await.status(), 404);
    assert_eq!(read(&runtime, "/v1/requests/r1").await["data"]["artifacts"], Value::Null);
    let nobody = runtime.get("/v1/artifacts").header("X-Muxi-Admin-Key", ADMIN_KEY);
    assert_eq!(nobody.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn what_cannot_be_kept_is_told_everywhere() {
    let limits = "artifacts: {max_size_mb: 1}";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(limits)));
    let large = vec![7; (1 << 20) + 1];
    let elsewhere = json!({"image_url": {"url": "http://127.0.0.1:1/cat.png"}});
    llm.script(json!([{"reply": drawing(&[
        json!({"content": "Look", "images": [image(&large), elsewhere, image(CAT)]}),
    ])}]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "draw", "request_id": "r1"});
    let answer: Value = runtime.chat(&body).send().await.unwrap().json().await.unwrap();
    let data = &answer["data"];
    assert_eq!(data["message"]["artifacts"].as_array().unwrap().len(), 1);
    let warnings = data["warnings"].to_string();
    assert!(warnings.contains("artifacts.max_size_mb"), "{warnings}");
    assert!(warnings.contains("instead of sending it"), "{warnings}");
    let request = read(&runtime, "/v1/requests/r1").await;
    assert_eq!(request["data"]["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(request["data"]["artifacts"].as_array().unwrap().len(), 1);

    let body = json!({"message": "draw", "stream": true, "request_id": "r2"});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    let tokens: Vec<&Value> = frames.iter().map(|(_, data)| &data["token"]).collect();
    let stages: Vec<&str> = tokens.iter().filter_map(|it| it["stage"].as_str()).collect();
    assert_eq!(stages.iter().filter(|it| **it == "artifact_failed").count(), 2, "{stages:?}");
    let created = tokens.iter().find(|it| it["stage"] == "artifact_created").unwrap();
    assert_eq!(
        (&created["type"], &created["artifact"]["version"]),
        (&json!("progress"), &json!(1))
    );
    let last = tokens.iter().find(|it| it["stage"] == "final_response").unwrap();
    assert_eq!(last["artifacts"], json!([created["artifact"]]));
    assert_eq!(last["warnings"].as_array().unwrap().len(), 2);

    let off = Bundle::new(&manifest("artifacts: {enabled: false}"));
    let runtime = off.start(&llm);
    let answer = runtime.say("draw").await;
    assert_eq!(answer["data"]["message"]["artifacts"], Value::Null);
    assert!(answer["data"]["warnings"].to_string().contains("artifacts.enabled"));
    assert_eq!(read(&runtime, "/v1/artifacts").await["data"]["total"], 0);
}

#[tokio::test]
async fn without_encryption_the_bytes_are_only_packed() {
    let open = "artifacts: {encryption: {enabled: false}, storage: {type: local, path: ./files}}";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(open)));
    llm.script(json!([{"reply": cat()}]));
    let runtime = bundle.start(&llm);
    let answer = runtime.say("draw").await;
    let url = text(&answer["data"]["message"]["artifacts"][0]["url"]).to_owned();
    assert!(bundle.data_dir().join("files").is_dir());
    assert!(!bundle.data_dir().join("artifacts.key").exists());
    let content = ask(&runtime, "alice", Method::GET, &url).await;
    assert_eq!(content.bytes().await.unwrap(), CAT);
}

#[tokio::test]
async fn who_does_not_wait_finds_files_at_the_request_and_nothing_is_lost_by_a_kill() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let mut slow = cat();
    slow["gate"] = json!("later");
    slow["gate_after_chunks"] = json!(2);
    llm.script(json!([{"reply": slow}]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "draw", "mode": "async", "request_id": "r1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    let kept = async |runtime: &Runtime| loop {
        let list = read(runtime, "/v1/artifacts").await;
        if list["data"]["total"] == 1 {
            return text(&list["data"]["artifacts"][0]["url"]).to_owned();
        }
    };
    let url = kept(&runtime).await;
    // In the middle of the answer: the file is whole, though the answer is not.
    runtime.kill9();
    let runtime = bundle.start(&llm);
    let content = ask(&runtime, "alice", Method::GET, &url).await;
    assert_eq!(content.bytes().await.unwrap(), CAT);

    llm.script(json!([{"reply": cat()}]));
    let body = json!({"message": "draw", "mode": "async", "request_id": "r2"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    let request = loop {
        let request = read(&runtime, "/v1/requests/r2").await;
        if request["data"]["status"] == "completed" {
            break request;
        }
    };
    assert_eq!(request["data"]["artifacts"][0]["name"], "image-r2-1.png", "{request}");
}
