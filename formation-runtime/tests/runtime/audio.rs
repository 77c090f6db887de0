//! What is said is written down first, and is then a message like any other.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

pub(crate) fn hearing(more: &str) -> Bundle {
    let models = "models: [{text: fake/model-1}, {audio: fake/ears, settings: {language: de}}]";
    Bundle::new(&manifest(more).replace("models: [{text: fake/model-1}]", models))
}

pub(crate) fn voice(name: &str) -> Value {
    let content = BASE64_STANDARD.encode(b"OggS");
    json!({"filename": name, "content_type": "audio/ogg", "content": content, "size": 4})
}

fn say(runtime: &Runtime, body: &Value) -> RequestBuilder {
    let mut body = body.clone();
    body.as_object_mut().unwrap().entry("session_id").or_insert("s".into());
    runtime
        .post("/v1/audiochat")
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("X-Muxi-User-ID", "alice")
        .json(&body)
}

/// The recording says "What time is it?", and the model has an answer.
pub(crate) fn script(llm: &FakeLlm) {
    llm.script(json!([
        {"match": {"model": "ears"}, "reply": {
            "text": "What time is it?", "usage": {"prompt_tokens": 40, "completion_tokens": 5},
        }},
        {"reply": {"text": "Noon.", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}},
    ]));
}

#[tokio::test]
async fn what_is_said_is_answered_and_remembered() {
    let (llm, bundle) = (FakeLlm::start().await, hearing(""));
    script(&llm);
    let runtime = bundle.start(&llm);
    let response = say(&runtime, &json!({"files": [voice("v")]})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"]["message"]["content"], "Noon.");
    assert_eq!(answer["data"]["message"]["metadata"]["transcript"], "What time is it?");

    let journal = llm.journal();
    assert_eq!(journal[0].path, "/v1/audio/transcriptions");
    let file = json!({"filename": "v.ogg", "content_type": "audio/ogg", "bytes": 4});
    let form = json!({"model": "ears", "response_format": "json", "language": "de", "file": file});
    assert_eq!(journal[0].body, form);
    assert_eq!(journal[1].body["messages"][1]["content"], "What time is it?");
    let expected = [("What time is it?", "completed"), ("Noon.", "completed")];
    let expected = expected.map(|(text, status)| (text.to_owned(), status.to_owned()));
    assert_eq!(runtime.transcript().await, expected);

    // Both calls are counted, each under its model.
    let used = runtime.get("/v1/usage?group_by=model").header("X-Muxi-Admin-Key", ADMIN_KEY);
    let used: Value = used.send().await.unwrap().json().await.unwrap();
    let groups = used["data"]["groups"].as_array().unwrap();
    let tokens: Vec<_> = groups.iter().map(|it| (&it["model"], &it["total_tokens"])).collect();
    assert_eq!(tokens, [(&json!("fake/ears"), &json!(45)), (&json!("fake/model-1"), &json!(9))]);
    let events = runtime
        .get("/v1/logs?event_type=chat.transcribed")
        .header("X-Muxi-Admin-Key", ADMIN_KEY)
        .header("Last-Event-ID", "0");
    let mut told = Frames::of(events.send().await.unwrap());
    // One that is not told would be waited for in vain.
    while told.next().await.unwrap().1["event_type"] != "chat.transcribed" {}
}

#[tokio::test]
async fn a_stream_tells_what_was_heard_before_the_answer() {
    let (llm, bundle) = (FakeLlm::start().await, hearing(""));
    script(&llm);
    let runtime = bundle.start(&llm);
    let body = json!({"message": "Answer:", "files": [voice("v.ogg")], "stream": true});
    let frames = Frames::of(say(&runtime, &body).send().await.unwrap()).rest().await;
    let heard = &frames[0].1["token"];
    assert_eq!(
        (&heard["type"], &heard["stage"], &heard["content"]),
        (&json!("progress"), &json!("audio_transcription"), &json!("What time is it?"))
    );
    assert_eq!(frames.last().unwrap().0, "done");
    let journal = llm.journal();
    assert_eq!(journal[1].body["messages"][1]["content"], "Answer:\n\nWhat time is it?");
}

#[tokio::test]
async fn only_recordings_are_heard_and_only_where_there_are_ears() {
    let llm = FakeLlm::start().await;
    let (deaf, bundle) = (Bundle::new(&manifest("")), hearing(""));
    let runtime = deaf.start(&llm);
    let response = say(&runtime, &json!({"files": [voice("v.ogg")]})).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "SERVICE_UNAVAILABLE");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`audio`"), "{answer}");
    let without_key = runtime.post("/v1/audiochat").json(&json!({})).send().await.unwrap();
    assert_eq!(without_key.status(), 401);

    let runtime = bundle.start(&llm);
    let text = json!({"filename": "a.txt", "content": "hi"});
    for (body, field) in [
        (json!({"message": "hi"}), "files"),
        (json!({"files": []}), "files"),
        (json!({"files": [text]}), "files.0.content_type"),
    ] {
        let response = say(&runtime, &body).send().await.unwrap();
        assert_eq!(response.status(), 422);
        let answer: Value = response.json().await.unwrap();
        let data = &answer["error"]["data"];
        assert_eq!(
            (&data["field"], data["validation_errors"][0]["field"].as_str()),
            (&json!("files"), Some(field))
        );
    }
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn failures_of_the_ears_are_failures_of_the_request() {
    let (llm, bundle) = (FakeLlm::start().await, hearing(""));
    llm.script(json!([
        {"match": {"model": "ears", "nth": 1}, "reply": {"status": 500}},
        {"match": {"model": "ears", "nth": 2}, "reply": {"text": " "}},
        {"match": {"model": "ears"}, "reply": {"text": "never", "gate": "never"}},
    ]));
    let runtime = bundle.start(&llm);
    for (status, code) in [(502, "LLM_ERROR"), (422, "UNPROCESSABLE_ENTITY")] {
        let body = json!({"files": [voice("v.ogg")], "request_id": format!("r-{status}")});
        let response = say(&runtime, &body).send().await.unwrap();
        assert_eq!(response.status(), status);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["code"], code);
        let path = format!("/v1/requests/r-{status}");
        let request = runtime.get(&path).header("X-Muxi-Admin-Key", ADMIN_KEY);
        let request: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(request["data"]["status"], "failed");
    }
    // A cancelled request ends the call of the ears, too.
    let body = json!({"files": [voice("v.ogg")], "mode": "async", "request_id": "r-1"});
    assert_eq!(say(&runtime, &body).send().await.unwrap().status(), 202);
    llm.wait_for(3, None).await;
    let cancel = runtime.request(reqwest::Method::DELETE, "/v1/requests/r-1");
    let cancel = cancel.header("X-Muxi-Admin-Key", ADMIN_KEY).send().await.unwrap();
    assert_eq!(cancel.status(), 200);
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
}

#[tokio::test]
async fn a_repeat_is_heard_once() {
    let (llm, bundle) = (FakeLlm::start().await, hearing(""));
    script(&llm);
    let runtime = bundle.start(&llm);
    let keyed =
        || say(&runtime, &json!({"files": [voice("v.ogg")]})).header("X-Muxi-Idempotency-Key", "k");
    let first = keyed().send().await.unwrap().text().await.unwrap();
    assert_eq!(keyed().send().await.unwrap().text().await.unwrap(), first);
    assert_eq!(llm.journal().len(), 2);
}

#[tokio::test]
async fn a_recording_that_was_accepted_is_heard_by_the_next_process() {
    let (llm, bundle) = (FakeLlm::start().await, hearing(""));
    llm.script(json!([{"match": {"contains": "first"}, "reply": {"gate": "never", "text": "x"}}]));
    let runtime = bundle.start(&llm);
    let first = json!({"message": "first", "mode": "async"});
    assert_eq!(runtime.chat(&first).send().await.unwrap().status(), 202);
    llm.wait_for(1, None).await;
    let body = json!({"files": [voice("v.ogg")], "mode": "async", "request_id": "r-1"});
    assert_eq!(say(&runtime, &body).send().await.unwrap().status(), 202);
    runtime.kill9();
    script(&llm);
    let runtime = bundle.start(&llm);
    let journal = llm.wait_for(3, None).await;
    assert_eq!(journal[1].path, "/v1/audio/transcriptions");
    assert!(journal[2].body["messages"].to_string().contains("What time is it?"));
    drop(runtime);
}
