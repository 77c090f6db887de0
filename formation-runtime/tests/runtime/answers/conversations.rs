//! Messages, what became of them, and what is kept.

use serde_json::{Value, json};

use crate::audio::{hearing, script, voice};
use crate::document::{Walk, call};

/// A model that never says its second word.
fn stuck() -> Value {
    json!({"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}})
}

#[tokio::test]
async fn messages() {
    let walk = Walk::of(hearing("")).await;
    let message =
        json!({"message": "hi", "session_id": "s", "request_id": "mine", "sesion_id": "x"});
    walk.take(call("chat").client().body(message)).await;
    let later = json!({"message": "hi", "session_id": "s", "mode": "async"});
    let later = walk.pass(call("chat").client().body(later)).await;
    assert_eq!(later["type"], "request.processing");
    script(&walk.llm);
    let said = json!({"session_id": "t", "request_id": "said", "files": [voice("v.ogg")]});
    walk.take(call("audio_chat").client().body(said)).await;
}

#[tokio::test]
async fn sessions() {
    let walk = Walk::start().await;
    walk.runtime.say("hi").await;
    walk.take(call("list_sessions").client()).await;
    walk.take(call("get_session").client().path("s")).await;
    walk.take(call("list_session_messages").client().path("s")).await;
    let messages = json!([
        {"role": "user", "content": "what is two and two?", "timestamp": "2026-01-31T12:00:00Z"},
        {"role": "assistant", "content": "four", "timestamp": 1_769_860_801.5},
    ]);
    let restore = call("restore_session").client().path("s").body(json!({"messages": messages}));
    walk.take(restore).await;
    walk.take(call("delete_session").client().path("s")).await;
}

#[tokio::test]
async fn requests() {
    let walk = Walk::start().await;
    let chat = json!({"message": "hi", "request_id": "mine"});
    walk.runtime.chat(&chat).send().await.unwrap();
    walk.take(call("list_requests").client()).await;
    walk.take(call("get_request").client().path("mine")).await;

    walk.llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let chat = json!({"message": "hi", "mode": "async", "request_id": "long"});
    walk.runtime.chat(&chat).send().await.unwrap();
    walk.llm.wait_for(2, None).await;
    walk.take(call("cancel_request").client().path("long")).await;
}

#[tokio::test]
async fn buffers() {
    let walk = Walk::start().await;
    walk.runtime.say("hi").await;
    walk.take(call("get_buffer").client()).await;
    walk.take(call("list_buffers").admin()).await;
    walk.take(call("get_buffer_stats").admin()).await;
    walk.take(call("clear_session_buffer").client().path("s")).await;
    walk.runtime.say("hi").await;
    walk.take(call("clear_buffer").client()).await;
    walk.runtime.say("hi").await;
    walk.take(call("clear_buffers").admin()).await;
}

#[tokio::test]
async fn events() {
    let walk = Walk::start().await;
    let chat = json!({"message": "hi", "request_id": "mine"});
    walk.runtime.chat(&chat).send().await.unwrap();
    // Read again from the beginning, as a reader that comes back does.
    let from_start = |operation| call(operation).header("Last-Event-ID", "0");
    walk.take_frames(from_start("stream_events").client(), 3).await;
    walk.take_frames(from_start("stream_session_events").client().path("s"), 3).await;
    let logs = from_start("stream_logs").admin().query("event_type=chat.*");
    walk.take_frames(logs, 3).await;

    walk.llm.script(json!([stuck()]));
    let chat = json!({"message": "hi", "mode": "async", "request_id": "long"});
    walk.runtime.chat(&chat).send().await.unwrap();
    walk.take_frames(call("stream_request").client().path("s").path("long"), 3).await;
}
