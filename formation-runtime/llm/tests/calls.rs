//! Calls over real connections to the scripted fake model, on both wires.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muxi_llm::{
    BadFile, Chunk, ChunkStream, CompletionRequest, Endpoint, FinishReason, HttpClients, Llm,
    LlmError, LlmErrorKind, Message, ModelFile, Provider, Recording, RetryPolicy, Target, Usage,
    connect,
};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use secrecy::SecretString;
use serde_json::{Value, json};

const WIRES: [&str; 2] = ["acme", "anthropic"];

fn quick() -> RetryPolicy {
    RetryPolicy { first_delay: Duration::from_millis(1), ..RetryPolicy::default() }
}

fn provider(name: &str, fake: &FakeLlm) -> Arc<dyn Provider> {
    let endpoint = Endpoint {
        api_key: Some(SecretString::from("sk-very-secret")),
        timeout: Duration::from_secs(10),
        ..Endpoint::at(fake.base_url())
    };
    connect(name, endpoint, &HttpClients::default()).expect("a usable endpoint")
}

fn target(name: &str, model: &str, fake: &FakeLlm) -> Target {
    Target { provider: provider(name, fake), model: model.to_owned() }
}

fn llm(name: &str, fake: &FakeLlm) -> Llm {
    Llm::new(target(name, "m", fake), None, quick())
}

fn question() -> CompletionRequest {
    CompletionRequest {
        messages: vec![Message::system("be brief"), Message::user("hello there")],
        temperature: Some(0.7),
        max_tokens: Some(64),
        ..CompletionRequest::default()
    }
}

/// The text that came, and how it ended.
async fn read(mut stream: ChunkStream) -> (Vec<String>, Result<Chunk, LlmError>) {
    let mut texts = Vec::new();
    loop {
        let item = stream.next().await.expect("no stream ends without saying so");
        match item {
            Ok(Chunk::Text(text)) => texts.push(text),
            Ok(Chunk::Thinking(text)) => texts.push(format!("({text})")),
            Ok(Chunk::File(file)) => panic!("no file was asked for: {file:?}"),
            Ok(Chunk::ToolCall(call)) => panic!("no tool was offered: {call:?}"),
            end @ (Ok(Chunk::Finished { .. }) | Err(_)) => {
                assert!(stream.next().await.is_none(), "nothing follows the end");
                return (texts, end);
            }
        }
    }
}

async fn ask(name: &str, rules: Value) -> (Vec<String>, Result<Chunk, LlmError>) {
    let fake = FakeLlm::start().await;
    fake.script(rules);
    match llm(name, &fake).stream(&question()).await {
        Ok((stream, _)) => read(stream).await,
        Err(error) => (Vec::new(), Err(error)),
    }
}

#[tokio::test]
async fn an_answer_arrives_chunk_by_chunk_with_its_usage() {
    for name in WIRES {
        let reply = json!([{ "reply": {
            "chunks": ["Grüße", " aus", " 日本 🎌"],
            "usage": { "prompt_tokens": 12, "completion_tokens": 3 },
        } }]);
        let (texts, end) = ask(name, reply).await;
        assert_eq!(texts, ["Grüße", " aus", " 日本 🎌"], "{name}");
        let usage = Some(Usage { prompt_tokens: 12, completion_tokens: 3 });
        assert_eq!(end.unwrap(), Chunk::Finished { reason: FinishReason::Stop, usage }, "{name}");
    }
}

#[tokio::test]
async fn the_first_text_is_here_while_the_model_still_speaks() {
    for name in WIRES {
        let fake = FakeLlm::start().await;
        fake.script(json!([{ "reply": {
            "chunks": ["one", "two"], "gate": "second", "gate_after_chunks": 1,
        } }]));
        let (mut stream, _) = llm(name, &fake).stream(&question()).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first, Chunk::Text("one".to_owned()), "{name}");
        assert_eq!(fake.journal()[0].outcome, None, "{name}");
        fake.open_gate("second");
        assert_eq!(read(stream).await.0, ["two"], "{name}");
    }
}

#[tokio::test]
async fn each_wire_carries_the_request_as_its_provider_documents_it() {
    let fake = FakeLlm::start().await;
    fake.script(json!({ "api_key": "sk-very-secret" }));
    for name in ["acme", "openai", "anthropic"] {
        let (stream, _) = llm(name, &fake).stream(&question()).await.unwrap();
        assert!(read(stream).await.1.is_ok());
    }
    let bodies: Vec<_> = fake.journal().into_iter().map(|entry| entry.body).collect();
    let talk = json!([
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": "hello there" },
    ]);
    let openai = |limit: &str| {
        json!({ "model": "m", "messages": talk, "stream": true, "temperature": 0.7, limit: 64,
            "stream_options": { "include_usage": true } })
    };
    let anthropic = json!({ "model": "m", "system": "be brief", "messages": [talk[1]],
        "stream": true, "temperature": 0.7, "max_tokens": 64 });
    assert_eq!(bodies, [openai("max_tokens"), openai("max_completion_tokens"), anthropic]);
    assert_eq!(fake.journal()[2].headers["anthropic-version"], "2023-06-01");
}

#[tokio::test]
async fn each_refusal_has_its_kind_and_hides_the_key() {
    let error = |kind: &str, code: &str| json!({ "error": { "message": "no: sk-very-secret", "type": kind, "code": code } });
    let cases = [
        (400, error("invalid_request_error", "x"), LlmErrorKind::BadRequest),
        (400, error("invalid_request_error", "model_not_found"), LlmErrorKind::ModelNotFound),
        (400, error("invalid_request_error", "content_filter"), LlmErrorKind::Refused),
        (401, error("invalid_request_error", "invalid_api_key"), LlmErrorKind::Auth),
        (402, json!("pay sk-very-secret"), LlmErrorKind::QuotaExceeded),
        (403, error("permission_error", "x"), LlmErrorKind::Auth),
        (404, json!({ "detail": "sk-very-secret" }), LlmErrorKind::ModelNotFound),
        (413, json!([{ "error": "sk-very-secret" }]), LlmErrorKind::BadRequest),
        (422, json!({ "message": "sk-very-secret" }), LlmErrorKind::BadRequest),
        (429, error("insufficient_quota", "insufficient_quota"), LlmErrorKind::QuotaExceeded),
        (302, error("moved", "x"), LlmErrorKind::Protocol),
    ];
    for name in WIRES {
        for (status, body, kind) in &cases {
            let fake = FakeLlm::start().await;
            fake.script(json!([{ "reply": { "status": status, "error_body": body } }]));
            let Err(error) = llm(name, &fake).stream(&question()).await else {
                panic!("{name} {status}: answered");
            };
            assert_eq!(error.kind, *kind, "{name} {status}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("very-secret"), "{shown}");
            assert!(shown.contains("[key]"), "{shown}");
            assert!(!error.is_retryable());
            assert_eq!(fake.journal().len(), 1, "{name} {status}: asked again");
        }
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_up_to_the_limit() {
    for name in WIRES {
        for status in [408, 409, 425, 429, 500, 503, 529] {
            let fake = FakeLlm::start().await;
            let fail = json!({ "status": status });
            fake.script(json!([
                { "match": { "nth": 1 }, "reply": fail }, { "match": { "nth": 2 }, "reply": fail },
                { "reply": { "text": "at last" } },
            ]));
            let (stream, served) = llm(name, &fake).stream(&question()).await.unwrap();
            assert_eq!((served.attempts, served.fallback), (3, false), "{name} {status}");
            assert_eq!(read(stream).await.0.concat(), "at last");

            fake.script(json!([{ "reply": fail }]));
            let error = llm(name, &fake).stream(&question()).await.err().unwrap();
            assert!(error.is_retryable(), "{name} {status}: {error}");
            assert_eq!(fake.journal().len(), 3 + 4, "{name} {status}");
        }
    }
}

#[tokio::test]
async fn the_pause_that_a_provider_asks_for_is_kept_or_too_long() {
    let fake = FakeLlm::start().await;
    fake.script(json!([
        { "match": { "nth": 1 }, "reply": { "status": 429, "headers": { "retry-after-ms": "150" } } },
        { "reply": { "text": "now" } },
    ]));
    let (_, served) = llm("acme", &fake).stream(&question()).await.unwrap();
    assert_eq!(served.attempts, 2);
    let journal = fake.journal();
    let waited_us = journal[1].at_us - journal[0].ended_at_us.unwrap();
    assert!(waited_us >= 150_000, "waited {waited_us} us");

    fake.script(json!([{ "reply": { "status": 429, "headers": { "retry-after": "3600" } } }]));
    let error = llm("acme", &fake).stream(&question()).await.err().unwrap();
    let retry_after = Some(Duration::from_hours(1));
    assert_eq!(error.kind, LlmErrorKind::RateLimited { retry_after });
    assert_eq!(fake.journal().len(), 3);
}

#[tokio::test]
async fn the_fallback_answers_when_the_first_model_is_given_up() {
    let cases = [
        (json!({ "status": 500 }), 5),
        (json!({ "status": 401 }), 2),
        (json!({ "cut_after_chunks": 0 }), 5),
        (json!({ "end_after_chunks": 0 }), 5),
        (json!({ "raw_chunks": ["<html>\n\n"] }), 5),
        (json!({ "raw_chunks": ["data: {nonsense\n\n"] }), 2),
    ];
    for (reply, attempts) in cases {
        let fake = FakeLlm::start().await;
        fake.script(json!([
            { "match": { "model": "first" }, "reply": reply },
            { "match": { "model": "second" }, "reply": { "text": "I can" } },
        ]));
        let fallback = Some(target("anthropic", "second", &fake));
        let llm = Llm::new(target("acme", "first", &fake), fallback, quick());
        let (stream, served) = llm.stream(&question()).await.unwrap();
        assert_eq!(read(stream).await.0.concat(), "I can", "{reply}");
        assert_eq!((served.attempts, served.fallback), (attempts, true), "{reply}");
        assert_eq!(served.model, "anthropic/second");
    }
}

#[tokio::test]
async fn both_failures_are_told_and_a_policy_refusal_is_not_shopped_around() {
    let fake = FakeLlm::start().await;
    let fallback = Some(target("acme", "second", &fake));
    let llm = Llm::new(target("acme", "first", &fake), fallback, quick());
    fake.script(json!([
        { "match": { "model": "first" }, "reply": { "status": 401, "error_body": "who are you" } },
        { "reply": { "status": 404, "error_body": "no such thing" } },
    ]));
    let error = llm.stream(&question()).await.err().unwrap();
    assert_eq!((error.kind, error.model.as_str()), (LlmErrorKind::Auth, "first"));
    let text = error.to_string();
    assert!(text.contains("who are you") && text.contains("no such thing"), "{text}");

    let refused = json!({ "error": { "code": "content_policy_violation", "message": "no" } });
    fake.script(json!([{ "reply": { "status": 400, "error_body": refused } }]));
    assert_eq!(llm.stream(&question()).await.err().unwrap().kind, LlmErrorKind::Refused);
    assert_eq!(fake.journal().len(), 3);
}

#[tokio::test]
async fn after_the_first_text_a_failure_is_the_last_item_and_nothing_is_asked_again() {
    let overloaded = json!({ "error": { "type": "overloaded_error", "message": "busy" } });
    let event = json!({ "type": "error", "error": overloaded["error"] });
    let server_error = LlmErrorKind::ServerError { status: 529, retry_after: None };
    let cases = [
        (json!({ "cut_after_chunks": 1 }), LlmErrorKind::Interrupted),
        (json!({ "end_after_chunks": 1 }), LlmErrorKind::CutOff),
        (json!({ "error_after_chunks": 1, "error_body": event }), server_error),
    ];
    for name in WIRES {
        for (ending, kind) in &cases {
            let fake = FakeLlm::start().await;
            let mut reply = json!({ "chunks": ["so", "far"] });
            reply.as_object_mut().unwrap().extend(ending.as_object().unwrap().clone());
            fake.script(json!([{ "reply": reply }]));
            let (stream, _) = llm(name, &fake).stream(&question()).await.unwrap();
            let (texts, end) = read(stream).await;
            assert_eq!(texts, ["so"], "{name} {ending}");
            assert_eq!(end.unwrap_err().kind, *kind, "{name} {ending}");
            assert_eq!(fake.journal().len(), 1);
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline_but_comments_are_life() {
    for name in WIRES {
        for (stalled, texts) in [(0, 0), (1, 1)] {
            let fake = FakeLlm::start().await;
            fake.script(json!([{ "reply": { "text": "a b", "stall_after_chunks": stalled } }]));
            let endpoint =
                Endpoint { timeout: Duration::from_millis(500), ..Endpoint::at(fake.base_url()) };
            let provider = connect(name, endpoint, &HttpClients::default()).unwrap();
            let stream = provider.stream("m", &question()).await.unwrap();
            let (told, end) = read(stream).await;
            assert_eq!(told.len(), texts, "{name}");
            assert_eq!(end.unwrap_err().kind, LlmErrorKind::Timeout, "{name}");
            // The stalled call is given up, not left open.
            fake.wait_for(1, Some(Outcome::ClientGone)).await;
        }
    }
    let fake = FakeLlm::start().await;
    let mut raw = vec![": still thinking\n\n"; 8];
    raw.push(
        "data: {\"choices\":[{\"delta\":{\"content\":\"hm\"},\"finish_reason\":\"stop\"}]}\n\n",
    );
    fake.script(json!([{ "reply": { "raw_chunks": raw, "chunk_delay_ms": 100 } }]));
    let endpoint =
        Endpoint { timeout: Duration::from_millis(600), ..Endpoint::at(fake.base_url()) };
    let provider = connect("acme", endpoint, &HttpClients::default()).unwrap();
    let (texts, end) = read(provider.stream("m", &question()).await.unwrap()).await;
    assert_eq!(texts, ["hm"]);
    assert!(end.is_ok(), "a reason without [DONE] is an end: {end:?}");
}

#[tokio::test]
async fn a_head_that_never_comes_is_a_timeout() {
    let fake = FakeLlm::start().await;
    fake.script(json!([{ "reply": { "text": "late", "head_delay_ms": 60_000 } }]));
    let endpoint =
        Endpoint { timeout: Duration::from_millis(100), ..Endpoint::at(fake.base_url()) };
    let provider = connect("acme", endpoint, &HttpClients::default()).unwrap();
    let error = provider.stream("m", &question()).await.err().unwrap();
    assert_eq!(error.kind, LlmErrorKind::Timeout);
    fake.wait_for(1, Some(Outcome::ClientGone)).await;
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_names_the_place() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let places = [
        (Endpoint::at(format!("http://{address}/v1")), address.to_string()),
        (Endpoint::over_unix_socket("/nowhere/model.sock"), "/nowhere/model.sock".to_owned()),
    ];
    for (endpoint, place) in places {
        let provider = connect("acme", endpoint, &HttpClients::default()).unwrap();
        let error = provider.stream("m", &question()).await.err().unwrap();
        assert_eq!(error.kind, LlmErrorKind::Unreachable);
        assert!(error.to_string().contains(&place), "{error}");
    }
}

#[tokio::test]
async fn dropping_the_stream_or_its_future_aborts_the_model_call() {
    for name in WIRES {
        let fake = FakeLlm::start().await;
        fake.script(json!([
            { "match": { "nth": 1 }, "reply": { "text": "a b", "stall_after_chunks": 1 } },
            { "reply": { "text": "a b", "gate": "never" } },
        ]));
        let llm = llm(name, &fake);
        let (stream, _) = llm.stream(&question()).await.unwrap();
        drop(stream);
        fake.wait_for(1, Some(Outcome::ClientGone)).await;

        let request = question();
        tokio::select! {
            _ = llm.stream(&request) => panic!("the gate is closed"),
            _ = fake.wait_for(2, None) => {}
        }
        fake.wait_for(2, Some(Outcome::ClientGone)).await;
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.sock");
    let fake = FakeLlm::start_on_unix_socket(&path).await;
    fake.script(json!([{ "reply": { "text": "from nearby" } }]));
    // The second one lies deeper than the kernel takes a path to.
    let deep = folder.path().join("d".repeat(120));
    std::os::unix::fs::symlink(folder.path(), &deep).unwrap();
    for path in [path, deep.join("model.sock")] {
        let endpoint = Endpoint::over_unix_socket(&path);
        let provider = connect("local", endpoint, &HttpClients::default()).unwrap();
        let (texts, end) = read(provider.stream("m", &question()).await.unwrap()).await;
        assert_eq!(texts.concat(), "from nearby");
        assert!(end.is_ok());
    }
}

#[tokio::test]
async fn a_field_that_a_server_does_not_take_is_left_out() {
    let fake = FakeLlm::start().await;
    let refuse = |field: &str| json!({ "status": 400, "error_body": { "error": { "message": format!("{field}: unknown") } } });
    fake.script(json!([
        { "match": { "nth": 1 }, "reply": refuse("stream_options") },
        { "match": { "nth": 2 }, "reply": refuse("temperature") },
        { "match": { "nth": 3 }, "reply": { "text": "fine" } },
        // Named again though it is gone: an error like any other.
        { "reply": refuse("temperature") },
    ]));
    let llm = llm("acme", &fake);
    let (stream, served) = llm.stream(&question()).await.unwrap();
    let (texts, end) = read(stream).await;
    assert_eq!(texts, ["fine"]);
    assert_eq!(end.unwrap(), Chunk::Finished { reason: FinishReason::Stop, usage: None });
    assert_eq!(served.attempts, 1);
    assert_eq!(llm.stream(&question()).await.err().unwrap().kind, LlmErrorKind::BadRequest);
    assert_eq!(fake.journal().len(), 5);
}

#[tokio::test]
async fn json_in_place_of_a_stream_is_an_error_with_its_text() {
    let rules = json!([{ "reply": {
        "raw_chunks": ["{\"error\": {\"message\": \"no tokens today\"}}"],
        "headers": { "content-type": "application/json" },
    } }]);
    let error = ask("acme", rules).await.1.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Protocol);
    assert!(error.to_string().contains("no tokens today"), "{error}");
}

#[tokio::test]
async fn an_event_without_end_is_refused_at_the_cap() {
    // 17 MiB in one line.
    let rules = json!([{ "reply": { "raw_chunks": vec!["data: ".to_owned() + &"x".repeat(1 << 20); 17] } }]);
    let error = ask("acme", rules).await.1.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Protocol);
    assert!(error.to_string().contains("16777216"), "{error}");
}

#[tokio::test]
async fn finish_reasons_keep_their_meaning() {
    let cases = [
        ("acme", "length", FinishReason::Length),
        ("acme", "content_filter", FinishReason::ContentFilter),
        ("acme", "tool_calls", FinishReason::Other("tool_calls".to_owned())),
        ("anthropic", "max_tokens", FinishReason::Length),
        ("anthropic", "refusal", FinishReason::ContentFilter),
        ("anthropic", "stop_sequence", FinishReason::Stop),
    ];
    for (name, word, reason) in cases {
        let (_, end) =
            ask(name, json!([{ "reply": { "text": "x", "finish_reason": word } }])).await;
        let Ok(Chunk::Finished { reason: told, .. }) = end else {
            panic!("{name} {word}: {end:?}")
        };
        assert_eq!(told, reason, "{name} {word}");
    }
}

#[tokio::test]
async fn files_come_between_the_words_and_what_is_none_is_told() {
    let fake = FakeLlm::start().await;
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let choice = |choice: Value| format!("data: {}\n\n", json!({ "choices": [choice] }));
    let large = "A".repeat(4 << 20);
    let raw = [
        choice(json!({"delta": {"content": "Here", "images": [
            image("data:image/png;base64,aGk="), image("https://example.com/x.png"),
        ]}})),
        choice(json!({"delta": {"images": null}})),
        choice(json!({"delta": {"images": [image(&format!("data:image/webp;base64,{large}"))]}})),
        choice(json!({
            "delta": {}, "finish_reason": "stop",
            "message": {"content": "Here", "images": [image("data:image/png;base64,aGk=")]},
        })),
        "data: [DONE]\n\n".to_owned(),
    ];
    fake.script(json!([{ "reply": { "raw_chunks": raw } }]));
    let stream = llm("acme", &fake).stream(&question()).await.unwrap().0;
    let chunks: Vec<Chunk> = stream.map(Result::unwrap).collect().await;
    let png = Ok(ModelFile { content_type: "image/png".to_owned(), bytes: "hi".into() });
    let [
        Chunk::Text(text),
        Chunk::File(first),
        Chunk::File(second),
        Chunk::File(Ok(third)),
        Chunk::File(again),
        Chunk::Finished { .. },
    ] = &chunks[..]
    else {
        panic!("{chunks:?}");
    };
    assert_eq!((text.as_str(), first, second), ("Here", &png, &Err(BadFile::Elsewhere)));
    assert_eq!((third.content_type.as_str(), third.bytes.len()), ("image/webp", 3 << 20));
    assert_eq!(again, &png);
}

#[tokio::test]
async fn thoughts_come_apart_from_the_answer() {
    for name in WIRES {
        let reply = json!([{"reply": {"thinking": ["Hm", "so"], "text": "Yes"}}]);
        let (texts, end) = ask(name, reply).await;
        assert_eq!(texts, ["(Hm)", "(so)", "Yes"], "{name}");
        assert!(end.is_ok());
    }
}

#[tokio::test]
async fn a_recording_is_written_down_with_tries_and_fallback() {
    let fake = FakeLlm::start().await;
    fake.script(json!([
        {"match": {"model": "busy"}, "reply": {"status": 503}},
        {"match": {"model": "ears", "nth": 1}, "reply": {"status": 503}},
        {"reply": {"text": "Hello", "usage": {"prompt_tokens": 4, "completion_tokens": 1}}},
    ]));
    let recording = Recording {
        name: "voice.ogg".to_owned(),
        media_type: "audio/ogg".to_owned(),
        bytes: "OggS".into(),
        language: None,
    };
    let ears = Llm::new(target("acme", "ears", &fake), None, quick());
    let (transcript, served) = ears.transcribe(&recording).await.unwrap();
    assert_eq!((transcript.text.as_str(), served.attempts), ("Hello", 2));
    assert_eq!(transcript.usage, Some(Usage { prompt_tokens: 4, completion_tokens: 1 }));

    let once = RetryPolicy { retries_max: 0, ..quick() };
    let second = Some(target("acme", "ears", &fake));
    let busy = Llm::new(target("acme", "busy", &fake), second, once);
    assert!(busy.transcribe(&recording).await.unwrap().1.fallback);
    // The other wire hears nothing, and says so.
    let deaf = llm("anthropic", &fake).transcribe(&recording).await.unwrap_err();
    assert_eq!(deaf.kind, LlmErrorKind::BadRequest);
}
