//! What is remembered, brought in, forgotten, and read by time.

use serde_json::{Value, json};

use crate::document::{Call, Walk, call};
use crate::harness::ADMIN_KEY;

fn entry(source_id: &str) -> Value {
    json!({"content": "signed", "source": "crm", "source_id": source_id, "subject": "Acme",
        "timestamp": "2026-01-31T12:00:00Z"})
}

fn create(body: Value) -> Call {
    call("create_memory").client().body(body)
}

#[tokio::test]
async fn memories() {
    let walk = Walk::start().await;
    let by = json!({"by": "hand"});
    let body = json!({"content": {"type": "fact", "detail": "likes tea"}, "metadata": by});
    let made = walk.take(create(body)).await;
    for body in [
        json!({"type": "fact", "detail": "likes tea"}),
        json!({"content": "likes tea", "scope": "user", "timestamp": 1_769_860_801.5}),
    ] {
        walk.pass(create(body)).await;
    }
    for body in [entry("7"), entry("7")] {
        walk.pass(create(body)).await;
    }
    let listing = call("list_memories").client();
    walk.take(listing.query("limit=4&offset=0&scopes=user,formation")).await;
    let provenance = call("get_provenance").client();
    let found = walk.take(provenance.clone().query("entity=acme")).await;
    let event = found["data"]["events"][0]["event_id"].as_str().unwrap();
    walk.pass(provenance.query(&format!("event_id={event}"))).await;
    let deleting = call("delete_memory").client();
    walk.take(deleting.path(made["data"]["id"].as_str().unwrap())).await;
}

#[tokio::test]
async fn ingestions() {
    let walk = Walk::start().await;
    let items = json!([entry("1"), entry("1"), {"content": "nobody's"}]);
    let batch = call("create_memories").client().body(json!({"items": items}));
    let made = walk.take(batch).await;
    let report = call("get_ingestion").client();
    walk.take(report.path(made["data"]["processing_id"].as_str().unwrap())).await;
}

#[tokio::test]
async fn forgetting() {
    let walk = Walk::start().await;
    let forget = call("forget_memories").admin();
    walk.pass(create(entry("1"))).await;
    let body = json!({"user_id": "alice", "source": "crm", "reason": "asked for"});
    let job = walk.take(forget.clone().body(body)).await;
    let of_source = json!({"source": "crm", "rebuild": false, "background": true});
    walk.pass(forget.query("sync=true").body(of_source)).await;
    let job = job["data"]["job_id"].as_str().unwrap();
    walk.take(call("get_forget_job").admin().path(job)).await;
}

#[tokio::test]
async fn history() {
    let walk = Walk::start().await;
    walk.runtime.say("hi").await;
    let history = call("get_history").client();
    // The answer comes before the turn has its end.
    while walk.pass(history.clone()).await["data"]["entries"][0]["status"] != "completed" {}
    walk.pass(create(entry("1"))).await;
    walk.take(history.clone().query("include_sources=true&date_from=2026-01-01")).await;
    walk.pass(history.query("limit=1&date_to=2026-01-01T00:00:00Z")).await;
}

#[tokio::test]
async fn failures() {
    let walk = Walk::start().await;
    let gone = call("delete_memory").client().path("x");
    walk.take(gone.fails_with("NOT_FOUND")).await;
    let rebuilt = json!({"user_id": "alice", "rebuild": true});
    let rebuilt = call("forget_memories").header("X-Muxi-Admin-Key", ADMIN_KEY).body(rebuilt);
    walk.take(rebuilt.fails_with("NOT_IMPLEMENTED")).await;
    for bad in [
        create(json!({"content": "for all", "scope": "formation"})),
        create(json!({"source_id": "7", "content": " "})),
        call("get_provenance").client().query("entity=nobody"),
        call("get_provenance").client(),
        call("create_memories").client().body(json!({"items": []})),
        call("get_ingestion").client().path("x"),
        call("get_forget_job").admin().path("x"),
        call("get_history").client().query("date_from=yesterday"),
    ] {
        walk.refuse(bad).await;
    }
}
