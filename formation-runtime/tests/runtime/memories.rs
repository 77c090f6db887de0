//! What is remembered is kept over a restart, found again, brought in once, and forgotten.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

async fn ask(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    ask_as(runtime, "alice", ("X-Muxi-Client-Key", CLIENT_KEY), method, path, body).await
}

async fn admin(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    ask_as(runtime, "alice", ("X-Muxi-Admin-Key", ADMIN_KEY), method, path, body).await
}

async fn ask_as(
    runtime: &Runtime,
    user: &str,
    (header, key): (&str, &str),
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = runtime.request(method, path).header(header, key).header("X-Muxi-User-ID", user);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn what_is_remembered_is_found_after_a_restart_and_deleted_by_its_user() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let flat = json!({"user_id": "alice", "type": "preference", "detail": "Prefers Tea"});
    let (status, made) = ask(&runtime, Method::POST, "/v1/memories", flat).await;
    assert_eq!((status, &made["type"]), (200, &json!("memory.created")), "{made}");
    let content = json!({"type": "preference", "detail": "Prefers Tea"});
    assert_eq!(made["data"]["content"], content);
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 21);
    let nested = json!({"content": {"type": "fact", "detail": "lives in Köln"},
        "metadata": {"by": "cli"}});
    assert_eq!(ask(&runtime, Method::POST, "/v1/memories", nested).await.0, 200);

    runtime.kill9();
    let runtime = bundle.start(&llm);
    let (_, listed) = ask(&runtime, Method::GET, "/v1/memories", Value::Null).await;
    let texts: Vec<_> =
        listed["data"]["memories"].as_array().unwrap().iter().map(|it| &it["content"]).collect();
    assert_eq!(texts, ["lives in Köln", "Prefers Tea"]);
    assert_eq!(listed["data"]["memories"][0]["metadata"], json!({"by": "cli"}));
    let search = "/v1/memories?query=k%C3%96ln&scopes=user,group";
    let (_, found) = ask(&runtime, Method::GET, search, Value::Null).await;
    assert_eq!(found["data"]["count"], 1);
    assert_eq!(found["data"]["memories"][0]["scope_id"], "alice");

    let path = format!("/v1/memories/{id}?user_id=alice");
    let (_, deleted) = ask(&runtime, Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        (&deleted["type"], &deleted["data"]["deleted"]),
        (&json!("memory.deleted"), &json!(true))
    );
    let (status, gone) = ask(&runtime, Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn what_cannot_be_remembered_is_refused_with_its_reason() {
    let bundle = Bundle::new(&manifest("input_limits: {max_memory_entry_size: 20}\n"));
    let llm = FakeLlm::start().await;
    let runtime = bundle.start(&llm);
    let post = |body: Value| ask(&runtime, Method::POST, "/v1/memories", body);
    for (body, field) in [
        (json!({"content": "x".repeat(21)}), "content"),
        (json!({"type": "fact"}), "content"),
        (json!({"content": " "}), "content"),
        (json!({"content": "x", "scope": "world"}), "scope"),
        (json!({"content": "x", "source_id": "1"}), "source"),
    ] {
        let (status, answer) = post(body).await;
        let fault = &answer["error"]["data"]["validation_errors"][0]["field"];
        assert_eq!((status, fault), (422, &json!(field)));
    }
    for scope in ["group", "formation"] {
        let (status, refused) = post(json!({"content": "x", "scope": scope})).await;
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("FORBIDDEN")), "{scope}");
    }
    for query in ["limit=0", "limit=101", "scopes=world"] {
        let path = format!("/v1/memories?{query}");
        assert_eq!(ask(&runtime, Method::GET, &path, Value::Null).await.0, 422, "{query}");
    }
    for path in
        ["/v1/memory/rebuild", "/v1/memory/backfill", "/v1/memory/lint", "/v1/memories/distilled"]
    {
        let (status, unbuilt) = admin(&runtime, Method::POST, path, json!({})).await;
        assert_eq!((status, &unbuilt["error"]["code"]), (501, &json!("NOT_IMPLEMENTED")));
    }
    // What the operator writes for all is read by all, and deleted by the operator only.
    let for_all = json!({"content": "we close at 5", "scope": "formation"});
    let (_, made) = admin(&runtime, Method::POST, "/v1/memories", for_all).await;
    assert_eq!(made["data"]["scope_id"], "under-test");
    let key = ("X-Muxi-Client-Key", CLIENT_KEY);
    let (_, read) = ask_as(&runtime, "bob", key, Method::GET, "/v1/memories", Value::Null).await;
    assert_eq!(read["data"]["count"], 1);
    let path = format!("/v1/memories/{}", made["data"]["id"].as_str().unwrap());
    assert_eq!(ask(&runtime, Method::DELETE, &path, Value::Null).await.0, 404);
    assert_eq!(admin(&runtime, Method::DELETE, &path, Value::Null).await.0, 200);
}

#[tokio::test]
async fn what_a_source_brings_is_taken_once_and_its_origin_is_told() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let entry = json!({"content": "signed", "source": "crm", "source_id": "7",
        "subject": "Acme", "timestamp": "2026-01-01T00:00:00Z"});
    let (status, first) = ask(&runtime, Method::POST, "/v1/memories", entry.clone()).await;
    assert_eq!((status, &first["type"]), (202, &json!("memory.ingestion.accepted")));
    let event = first["data"]["event_id"].clone();
    let (status, again) = ask(&runtime, Method::POST, "/v1/memories", entry).await;
    assert_eq!((status, &again["data"]["duplicate"]), (200, &json!(true)), "{again}");
    assert_eq!(again["data"]["event_id"], event);

    let items = json!({"items": [
        {"content": "renewed", "source": "crm", "source_id": "8"},
        {"content": "signed", "source": "crm", "source_id": "7"},
        {"content": "nobody's"}, 5,
        {"content": "theirs", "source": "crm", "scope": "group"},
    ]});
    let (status, batch) = ask(&runtime, Method::POST, "/v1/memories/batch", items).await;
    let told: Vec<_> =
        batch["data"]["items"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(status, 200);
    assert_eq!(told, ["accepted", "duplicate", "invalid", "invalid", "invalid"]);
    let counts = json!({"total": 5, "accepted": 1, "duplicate": 1, "invalid": 3});
    assert_eq!(batch["data"]["counts"], counts);
    let path = batch["data"]["status_url"].as_str().unwrap().to_owned();
    let (_, report) = ask(&runtime, Method::GET, &path, Value::Null).await;
    assert_eq!(
        (&report["data"]["status"], &report["data"]["counts"]),
        (&json!("completed"), &counts)
    );
    assert_eq!(report["data"]["items"], batch["data"]["items"]);
    let key = ("X-Muxi-Client-Key", CLIENT_KEY);
    let (status, _) = ask_as(&runtime, "bob", key, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 403);
    let nowhere = "/v1/memories/ingestion/ing_0";
    assert_eq!(ask(&runtime, Method::GET, nowhere, Value::Null).await.0, 404);
    let too_many = json!({"items": vec![json!({"content": "x", "source": "y"}); 101]});
    assert_eq!(ask(&runtime, Method::POST, "/v1/memories/batch", too_many).await.0, 422);

    for query in [format!("event_id={}", event.as_str().unwrap()), "entity=ACME".to_owned()] {
        let path = format!("/v1/memories/provenance?{query}");
        let (_, origin) = ask(&runtime, Method::GET, &path, Value::Null).await;
        let origin = &origin["data"]["events"][0];
        assert_eq!(
            (&origin["source_id"], &origin["timestamp"]),
            (&json!("7"), &json!("2026-01-01T00:00:00Z"))
        );
        let (status, _) = ask_as(&runtime, "bob", key, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 404);
    }
    let neither = "/v1/memories/provenance";
    assert_eq!(ask(&runtime, Method::GET, neither, Value::Null).await.0, 422);
}

#[tokio::test]
async fn the_operator_forgets_and_the_history_tells_what_is_left() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    runtime.say("hello").await;
    for (source, id) in [("crm", "1"), ("crm", "2"), ("web", "1")] {
        let entry = json!({"content": format!("{source} {id}"), "source": source, "source_id": id});
        assert_eq!(ask(&runtime, Method::POST, "/v1/memories", entry).await.0, 202);
    }
    let forget = |body: Value| admin(&runtime, Method::POST, "/v1/memory/forget", body);
    let (status, job) =
        forget(json!({"user_id": "alice", "source": "crm", "reason": "asked"})).await;
    assert_eq!((status, &job["type"]), (202, &json!("memory.deleted")), "{job}");
    assert_eq!(
        (&job["data"]["deleted_events"], &job["data"]["reason"]),
        (&json!(2), &json!("asked"))
    );
    let path = job["data"]["status_url"].as_str().unwrap().to_owned();
    let (_, again) = admin(&runtime, Method::GET, &path, Value::Null).await;
    assert_eq!(again["data"], job["data"]);
    let audit = "/v1/audit?action=memory.forgotten";
    let (_, audit) = admin(&runtime, Method::GET, audit, Value::Null).await;
    assert_eq!(audit["data"]["entries"][0]["outcome"], "succeeded", "{audit}");
    assert_eq!(forget(json!({"reason": "whim"})).await.0, 422);
    assert_eq!(forget(json!({"user_id": "alice", "rebuild": true})).await.0, 501);
    assert_eq!(admin(&runtime, Method::GET, "/v1/memory/forget/x", Value::Null).await.0, 404);
    assert_eq!(ask(&runtime, Method::POST, "/v1/memory/forget", json!({})).await.0, 401);

    let (_, history) =
        ask(&runtime, Method::GET, "/v1/history?include_sources=true", Value::Null).await;
    let entries = history["data"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{history}");
    assert_eq!(entries[0]["memory"]["content"], "web 1");
    assert_eq!(entries[0]["sources"][0]["source"], "web");
    assert_eq!(
        (&entries[1]["question"], &entries[1]["answer"]),
        (&json!("hello"), &json!("fake model: hello"))
    );
    let (_, none) = ask(&runtime, Method::GET, "/v1/history?date_to=2000-01-01", Value::Null).await;
    assert_eq!(none["data"]["count"], 0);
    let bad = "/v1/history?date_from=yesterday&limit=500";
    assert_eq!(ask(&runtime, Method::GET, bad, Value::Null).await.0, 422);
}

#[tokio::test]
async fn a_user_may_have_so_many_memories_and_the_key_is_named() {
    let limits = "input_limits: {max_memories_per_user: 2}";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(limits)));
    let runtime = bundle.start(&llm);
    let item = |id: &str| json!({"content": id, "source": "crm", "source_id": id});
    let items = json!({"items": [item("a"), item("b"), item("c")]});
    let refused = ask(&runtime, Method::POST, "/v1/memories/batch", items).await;
    for content in ["a", "b"] {
        let entry = json!({"content": content});
        assert_eq!(ask(&runtime, Method::POST, "/v1/memories", entry).await.0, 200);
    }
    let one = ask(&runtime, Method::POST, "/v1/memories", json!({"content": "c"})).await;
    let brought = json!({"content": "c", "source": "crm", "source_id": "1"});
    let brought = ask(&runtime, Method::POST, "/v1/memories", brought).await;
    for (status, answer) in [refused, one, brought] {
        assert_eq!((status, &answer["error"]["code"]), (422, &json!("UNPROCESSABLE_ENTITY")));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("input_limits.max_memories_per_user"), "{message}");
    }
    let bob = ask_as(
        &runtime,
        "bob",
        ("X-Muxi-Client-Key", CLIENT_KEY),
        Method::POST,
        "/v1/memories",
        json!({"content": "mine"}),
    );
    assert_eq!(bob.await.0, 200);
}
