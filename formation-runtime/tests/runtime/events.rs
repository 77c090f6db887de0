//! Streams of events: what happens is told as it happens, and a reader that comes back goes on.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

async fn follow(runtime: &Runtime, path: &str, user: &str, after: Option<&str>) -> Response {
    let mut request =
        runtime.get(path).header("X-Muxi-Client-Key", CLIENT_KEY).header("X-Muxi-User-ID", user);
    if let Some(after) = after {
        request = request.header("Last-Event-ID", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn a_user_follows_what_happens_and_comes_back() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let mut alices = Frames::of(follow(&runtime, "/v1/events", "alice", None).await);
    let mut bobs = Frames::of(follow(&runtime, "/v1/events", "bob", None).await);
    runtime.say("one").await;
    let mut ids = Vec::new();
    for expected in ["chat.started", "chat.completed"] {
        let (id, event) = alices.numbered().await;
        assert_eq!(event["type"], expected);
        assert_eq!(event["session_id"], "s");
        ids.push(id);
    }
    drop(alices);
    runtime.say("two").await;
    let mut alices = Frames::of(follow(&runtime, "/v1/events/s", "alice", Some(&ids[0])).await);
    for expected in ["chat.completed", "chat.started", "chat.completed"] {
        assert_eq!(alices.numbered().await.1["type"], expected);
    }
    // Nothing of hers was told to him; his own is the first that he reads.
    let body = json!({"message": "mine", "session_id": "s", "user_id": "bob"});
    let mine = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY).json(&body);
    assert_eq!(mine.send().await.unwrap().status(), 200);
    assert_eq!(bobs.numbered().await.1["user_id"], "bob");
    // Who comes from before the start is told that something may be missing.
    let mut late = Frames::of(follow(&runtime, "/v1/events", "alice", Some("1")).await);
    assert_eq!(late.next().await.unwrap().0, "gap");
    assert_eq!(late.numbered().await.1["type"], "chat.started");
}

#[tokio::test]
async fn one_request_is_followed_from_its_beginning_by_anyone_who_may() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1}}]),
    );
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    let mut early = Frames::of(follow(&runtime, "/v1/events/s/r-1", "alice", None).await);
    let mut kinds = Vec::new();
    let mut id = String::new();
    while kinds.last().is_none_or(|kind| kind != "content") {
        let (number, event) = early.numbered().await;
        kinds.push(event["type"].as_str().unwrap().to_owned());
        id = number;
    }
    assert_eq!(kinds, ["stream_open", "progress", "content"]);
    drop(early);
    llm.open_gate("more");
    let rest =
        Frames::of(follow(&runtime, "/v1/events/s/r-1", "alice", Some(&id)).await).rest().await;
    // The pieces that are left, if it has not ended by now, and the whole answer in any case.
    let (_, completed) = &rest[rest.len() - 2];
    assert_eq!(
        (&completed["type"], &completed["content"]),
        (&json!("completed"), &json!("one two"))
    );
    assert_eq!(rest.last().unwrap().1["type"], "stream_completed");
    // Also when it is over.
    let late = Frames::of(follow(&runtime, "/v1/events/s/r-1", "alice", None).await).rest().await;
    assert_eq!(late[1].1["content"], "one two");
    let stranger = runtime
        .get("/v1/events/s/r-1")
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("X-Muxi-User-ID", "bob");
    assert_eq!(stranger.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_operators_log_is_filtered_and_ends_with_the_process() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(json!([{"match": {"nth": 1}, "reply": {"status": 500, "error_body": {"error": {"message": "broken"}}}}, {"reply": {"text": "Yes"}}]));
    let runtime = bundle.start(&llm);
    let logs = |query: &str| {
        runtime.get(&format!("/v1/logs?{query}")).header("X-Muxi-Admin-Key", ADMIN_KEY).send()
    };
    assert_eq!(logs("").await.unwrap().status(), 400);
    assert_eq!(logs("level=loud").await.unwrap().status(), 422);
    let mut errors = Frames::of(logs("level=error").await.unwrap());
    let mut chats = Frames::of(logs("event_type=chat.*&user_id=alice").await.unwrap());
    assert_eq!(runtime.chat(&json!({"message": "hi"})).send().await.unwrap().status(), 502);
    let (name, event) = errors.next().await.unwrap();
    assert_eq!((name.as_str(), &event["event_type"]), ("log", &json!("chat.failed")));
    assert_eq!(chats.next().await.unwrap().1["event_type"], "chat.started");
    runtime.signal("-TERM");
    assert_eq!(errors.next().await, None::<(String, Value)>);
}
