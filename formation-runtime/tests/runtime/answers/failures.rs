//! One answer for each class of failure.

use serde_json::json;

use crate::artifacts::{drawing, image};
use crate::audio::voice;
use crate::document::{DOCUMENT, Walk, call, kept_failures};
use crate::harness::{Bundle, CLIENT_KEY, manifest};

#[tokio::test]
async fn who_asks() {
    let walk = Walk::start().await;
    walk.take(call("list_sessions").fails_with("UNAUTHORIZED")).await;
    let nobody = call("list_sessions").header("X-Muxi-Client-Key", CLIENT_KEY);
    walk.take(nobody.fails_with("INVALID_REQUEST")).await;
    let query = call("list_sessions").client().query("limit=0&active_only=perhaps");
    walk.take(query.fails_with("VALIDATION_ERROR")).await;
    walk.take(call("get_session").client().path("x").fails_with("RESOURCE_NOT_FOUND")).await;
}

#[tokio::test]
async fn requests() {
    let walk = Walk::start().await;
    walk.take(call("get_request").client().path("x").fails_with("REQUEST_NOT_FOUND")).await;
    let chat = json!({"message": "hi", "request_id": "mine"});
    walk.runtime.chat(&chat).send().await.unwrap();
    let bobs = call("get_request").header("X-Muxi-Client-Key", CLIENT_KEY);
    let bobs = bobs.header("X-Muxi-User-ID", "bob").path("mine");
    walk.take(bobs.fails_with("FORBIDDEN")).await;
    // The answer comes before the request's row has its end.
    loop {
        let request = walk.pass(call("get_request").client().path("mine")).await;
        if request["data"]["status"] == "completed" {
            break;
        }
    }
    let cancel = call("cancel_request").client().path("mine");
    walk.take(cancel.fails_with("OPERATION_FAILED")).await;
}

#[tokio::test]
async fn messages() {
    let walk = Walk::start().await;
    walk.take(call("chat").client().body("{").fails_with("PARSE_ERROR")).await;
    let say = |text: &str| call("chat").client().body(json!({"message": text}));
    walk.pass(say("one").header("X-Muxi-Idempotency-Key", "k")).await;
    let other = say("two").header("X-Muxi-Idempotency-Key", "k");
    walk.take(other.fails_with("CONFLICT")).await;
    let spoken = json!({"files": [voice("v.ogg")]});
    let spoken = call("audio_chat").client().body(spoken);
    walk.take(spoken.fails_with("SERVICE_UNAVAILABLE")).await;
    walk.llm.script(json!([{"reply": {"status": 500}}]));
    walk.take(say("hi").fails_with("LLM_ERROR")).await;

    walk.llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 0}}]),
    );
    let held = call("chat").client().body(json!({"message": "hi", "request_id": "held"}));
    let cancelling = async {
        walk.llm.wait_for(3, None).await;
        walk.pass(call("cancel_request").client().path("held")).await;
    };
    tokio::join!(walk.take(held.fails_with("CANCELLED")), cancelling);
}

#[tokio::test]
async fn budgets() {
    let budget = "usage: {budgets: {user: {per: month, tokens: 1}}}\n";
    let walk = Walk::with(&manifest(budget)).await;
    walk.runtime.say("hi").await;
    let more = call("chat").client().body(json!({"message": "more"}));
    walk.take(more.fails_with("BUDGET_EXCEEDED")).await;
}

#[tokio::test]
async fn secrets() {
    let walk = Walk::start().await;
    let large = "x".repeat(2 << 20);
    let large = call("create_secret").admin().body(json!({"key": "LARGE", "value": large}));
    walk.take(large.fails_with("PAYLOAD_TOO_LARGE")).await;
    let file = walk.bundle.path().join("formation.afs");
    let edited = std::fs::read_to_string(&file).unwrap().replace("Be brief.", "Be long.");
    std::fs::write(&file, edited).unwrap();
    walk.take(call("reload_secrets").admin().fails_with("SECRETS_RELOAD_FAILED")).await;
    std::fs::write(walk.bundle.data_dir().join("secrets.enc"), "gAAA").unwrap();
    std::fs::write(walk.bundle.data_dir().join(".key"), "short").unwrap();
    walk.take(call("list_secrets").admin().fails_with("SECRETS_ERROR")).await;
}

#[tokio::test]
async fn a_secret_that_is_needed() {
    let manifest = manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.KEY }}'}");
    let bundle = Bundle::new(&manifest);
    crate::secrets::put(bundle.path(), "KEY", "sk-fake");
    let walk = Walk::of(bundle).await;
    let delete = call("delete_secret").admin().path("KEY");
    walk.take(delete.fails_with("SECRET_IN_USE")).await;
}

#[tokio::test]
async fn a_file_that_is_lost() {
    let walk = Walk::start().await;
    walk.llm.script(json!([{"reply": drawing(&[json!({"images": [image(b"a cat")]})])}]));
    let drawn = walk.pass(call("chat").client().body(json!({"message": "draw"}))).await;
    std::fs::remove_dir_all(walk.bundle.data_dir().join("artifacts")).unwrap();
    let id = drawn["data"]["message"]["artifacts"][0]["id"].as_str().unwrap();
    let content = call("get_artifact_content").client().path(id);
    walk.take(content.fails_with("INTERNAL_ERROR")).await;
}

/// Two are looked at where they can be made: a body that does not arrive, and a method that no
/// operation has.
const ELSEWHERE: [&str; 2] = ["METHOD_NOT_ALLOWED", "TIMEOUT"];

#[test]
fn every_class_of_failure_has_a_snapshot() {
    let kept = kept_failures();
    let described = DOCUMENT["components"]["schemas"]["ErrorCode"].to_string();
    let document: std::collections::BTreeSet<String> = described
        .split('"')
        .filter(|word| {
            word.len() > 3 && word.chars().all(|it| it.is_ascii_uppercase() || it == '_')
        })
        .filter(|code| !ELSEWHERE.contains(code))
        .map(str::to_owned)
        .collect();
    assert_eq!(kept, document);
}
