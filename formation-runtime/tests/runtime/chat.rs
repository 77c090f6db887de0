//! Messages and their answers.

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use serde_json::{Value, json};

use crate::harness::{Bundle, CLIENT_KEY, Frames, manifest};

#[tokio::test]
async fn a_json_answer_is_the_documented_envelope_and_one_model_call() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {
        "text": "Hello Alice", "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "request_id": "r-1", "sesion_id": "x"});
    let response = runtime.chat(&body).send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "r-1");
    let mut body: Value = response.json().await.unwrap();
    let timestamp = body["timestamp"].take();
    assert!(timestamp.as_i64().unwrap() > 1_700_000_000_000);
    let took = body["data"]["message"]["metadata"]["processing_time_ms"].take();
    assert!(took.is_i64());
    let expected = json!({
        "object": "chat_response", "timestamp": null, "type": "chat.completed",
        "request": {"id": "r-1", "idempotency_key": null}, "success": true, "error": null,
        "data": {
            "message": {
                "role": "assistant", "content": "Hello Alice", "artifacts": null,
                "metadata": {
                    "session_id": "s", "agent_id": "helper", "model": "fake/model-1",
                    "finish_reason": "stop", "processing_time_ms": null,
                    "agents_used": ["helper"], "model_calls": ["answer"],
                    "decisions": [{
                        "step": "agent", "choice": "helper",
                        "reason": "it is the only agent that may answer",
                    }],
                },
            },
            "response": [{"type": "text", "text": "Hello Alice"}],
            "status": "completed", "processing_mode": "sync",
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
            "user_id": "alice", "session_id": "s", "request_id": "r-1",
            "warnings": [
                "the field `sesion_id` is not known and was ignored; did you mean `session_id`?"
            ],
        },
    });
    assert_eq!(body, expected);

    let journal = llm.journal();
    assert_eq!(journal.len(), 1);
    let messages = &journal[0].body["messages"];
    assert!(messages[0]["content"].as_str().unwrap().ends_with("\n\nBe brief."));
    assert_eq!(messages[1], json!({"role": "user", "content": "hi"}));
}

#[tokio::test]
async fn the_next_message_continues_the_session() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest("memory: {buffer: {size: 2}}\n"));
    let runtime = bundle.start(&llm);
    for message in ["one", "two", "three"] {
        runtime.say(message).await;
    }
    let journal = llm.journal();
    let texts: Vec<_> = journal[2].body["messages"].as_array().unwrap()[1..]
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    // The buffer holds two messages, so the first turn is out of sight by now.
    assert_eq!(texts, ["two", "fake model: two", "three"]);
}

#[tokio::test]
async fn a_stream_of_events_reaches_the_caller_while_the_model_still_writes() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {
        "chunks": ["Grüße ", "🦀"], "gate": "more", "gate_after_chunks": 1,
    }}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true, "request_id": "r-1"});
    let response = runtime.chat(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["x-request-id"], "r-1");
    let mut frames = Frames::of(response);
    let (_, progress) = frames.next().await.unwrap();
    assert_eq!(progress["token"]["type"], "progress");
    let (name, first) = frames.next().await.unwrap();
    assert_eq!(name, "message");
    let token = &first["token"];
    assert!(token["timestamp"].is_f64());
    for (field, value) in [
        ("type", "content"),
        ("content", "Grüße "),
        ("stage", "response_generation"),
        ("request_id", "r-1"),
        ("session_id", "s"),
        ("user_id", "alice"),
    ] {
        assert_eq!(token[field], value);
    }
    // The model has not said more than this yet.
    assert_eq!(llm.journal()[0].outcome, None);
    llm.open_gate("more");

    let rest = frames.rest().await;
    let [(_, second), (_, completed), (done, finished)] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!(second["token"]["content"], "🦀");
    assert_eq!(completed["token"]["type"], "completed");
    assert_eq!(completed["token"]["content"], "Grüße 🦀");
    assert_eq!(completed["token"]["status"], "success");
    assert_eq!(completed["token"]["agent_used"], "helper");
    assert_eq!((done.as_str(), finished), ("done", &json!({"finished": true})));
}

#[tokio::test]
async fn the_accept_header_alone_gives_plain_tokens() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"chunks": ["Once", " upon"]}}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let request = runtime.chat(&json!({"message": "hi"}));
    // One published client sends the header twice.
    let request =
        request.header("Accept", "application/json").header("Accept", "text/event-stream");
    let frames = Frames::of(request.send().await.unwrap()).rest().await;
    let message = |text: &str| ("message".to_owned(), json!({"token": text}));
    let done = ("done".to_owned(), json!({"finished": true}));
    assert_eq!(frames, [message("Once"), message(" upon"), done]);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_model_call_and_keeps_the_text_so_far() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"nth": 1}, "reply": {
            "chunks": ["Once ", "upon"], "gate": "never", "gate_after_chunks": 1,
        }},
    ]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "tell", "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    frames.next().await.unwrap();
    assert_eq!(frames.next().await.unwrap().1["token"]["content"], "Once ");
    drop(frames);
    llm.wait_for(1, Some(Outcome::ClientGone)).await;

    runtime.say("again").await;
    let cancelled = "cancelled".to_owned();
    let transcript = runtime.transcript().await;
    assert_eq!(transcript[0], ("tell".to_owned(), cancelled.clone()));
    assert_eq!(transcript[1], ("Once ".to_owned(), cancelled));
    assert_eq!(transcript[3].0, "fake model: again");
    assert_eq!(llm.journal()[1].body["messages"][2]["content"], "Once ");
}

#[tokio::test]
async fn a_caller_of_json_that_leaves_ends_the_model_call() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "late", "gate": "never"}}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let request = runtime.chat(&json!({"message": "hi"}));
    let asking = tokio::time::timeout(std::time::Duration::from_millis(500), request.send());
    assert!(asking.await.is_err());
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
}

#[tokio::test]
async fn a_failing_model_is_an_honest_error() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "early"}, "reply": {"status": 500}},
        {"match": {"contains": "midway"}, "reply": {"chunks": ["Once ", "upon"], "cut_after_chunks": 1}},
    ]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    for stream in [false, true] {
        let body = json!({"message": "early", "stream": stream});
        let response = runtime.chat(&body).send().await.unwrap();
        assert_eq!(response.status(), 502);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["object"], "error");
        assert_eq!(body["type"], "error.processing");
        assert_eq!(body["error"]["code"], "LLM_ERROR");
        assert_eq!(body["error"]["data"]["retryable"], true);
        assert_eq!(body["data"], json!({}));
    }
    let body = json!({"message": "midway", "stream": true});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    let (name, error) = frames.last().unwrap();
    assert_eq!(name, "error");
    assert_eq!((&error["type"], &error["code"]), (&json!("LLM_ERROR"), &json!("LLM_ERROR")));
    assert!(error["error"].is_string() && error["message"].is_string());
    // Who reads tokens alone learns of it, too.
    let token = &frames[frames.len() - 2].1["token"];
    assert_eq!((&token["type"], &token["code"]), (&json!("failed"), &json!("LLM_ERROR")));
    let failed = "failed".to_owned();
    assert_eq!(runtime.transcript().await.last().unwrap(), &("Once ".to_owned(), failed));
}

#[tokio::test]
async fn a_slow_model_does_not_hold_the_head_of_a_stream() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "late", "gate": "speak"}}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true, "stream_format": "tokens"});
    let response = runtime.chat(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    llm.open_gate("speak");
    let frames = Frames::of(response).rest().await;
    assert_eq!(frames[0].1, json!({"token": "late"}));
}

#[tokio::test]
async fn messages_of_one_session_are_answered_in_a_row() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "first"}, "reply": {"text": "one", "gate": "go"}},
    ]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let (first, second) = (json!({"message": "first"}), json!({"message": "second"}));
    let first = runtime.chat(&first).send();
    let later = async {
        llm.wait_for(1, None).await;
        let second = runtime.chat(&second).send();
        let open = async {
            // Another session is not held up by this one.
            let other = runtime.chat(&json!({"message": "aside", "session_id": "t"}));
            assert_eq!(other.send().await.unwrap().status(), 200);
            llm.open_gate("go");
        };
        futures_util::future::join(second, open).await.0
    };
    let (first, second) = futures_util::future::join(first, later).await;
    assert_eq!((first.unwrap().status().as_u16(), second.unwrap().status().as_u16()), (200, 200));
    let texts: Vec<_> = runtime.transcript().await.into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["first", "one", "second", "fake model: second"]);
}

#[tokio::test]
async fn faults_of_a_request_are_told_by_name() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(
        "input_limits: {max_message_length: 20, max_file_size_bytes: 1000}\n",
    ));
    let runtime = bundle.start(&llm);
    let post = async |body: &'static str| {
        let request = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY);
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let code = body["error"]["code"].as_str().unwrap().to_owned();
        (status, code, body["error"].clone())
    };
    for (body, status, code) in [
        ("{", 400, "PARSE_ERROR"),
        ("", 422, "VALIDATION_ERROR"),
        ("[]", 422, "VALIDATION_ERROR"),
        (r#"{"message": "this is longer than allowed"}"#, 422, "VALIDATION_ERROR"),
        (r#"{"message": "hi", "ui_response": {"id": "ui_1"}}"#, 422, "VALIDATION_ERROR"),
        (r#"{"message": "hi", "files": [{}]}"#, 422, "VALIDATION_ERROR"),
        (r#"{"message": "hi", "agent_id": "nobody"}"#, 404, "AGENT_NOT_FOUND"),
    ] {
        let answer = post(body).await;
        assert_eq!((answer.0, answer.1.as_str()), (status, code), "{body}");
    }
    let request = runtime.chat(&json!({"request_id": "r-9"})).send().await.unwrap();
    assert_eq!(request.headers()["x-request-id"], "r-9");
    let body: Value = request.json().await.unwrap();
    assert_eq!((&body["request"]["id"], &body["success"]), (&json!("r-9"), &json!(false)));
    let (_, _, error) = post(r#"{"message": 1, "stream": "x"}"#).await;
    assert_eq!(error["message"], "Validation failed: 2 error(s)");
    assert_eq!(error["data"]["validation_errors"][1]["field"], "stream");
    let huge = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY);
    let huge = huge.body(" ".repeat(2 * 1024 * 1024)).send().await.unwrap();
    assert_eq!(huge.status(), 413);
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn a_message_as_long_as_the_bundle_allows_fits_in_any_spelling() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest("input_limits: {max_message_length: 200000}\n"));
    let runtime = bundle.start(&llm);
    let message = "\\ud83e\\udd80".repeat(200_000);
    let request = runtime.chat(&json!({})).body(format!(r#"{{"message": "{message}"}}"#));
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_of_a_shape_is_checked_and_asked_for_once_more() {
    let llm = FakeLlm::start().await;
    let reply = |nth: u64, text: &str| {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 2});
        json!({"match": {"nth": nth}, "reply": {"chunks": [text], "usage": usage}})
    };
    llm.script(json!([
        reply(1, r#"{"age": "old"}"#),
        reply(2, r#"{"age": 36}"#),
        reply(3, "none"),
        reply(4, "of it"),
    ]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let body = json!({"message": "How old?", "output_schema": schema});
    let response = runtime.chat(&body).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"]["structured"], json!({"age": 36}), "{answer}");
    assert_eq!(answer["data"]["usage"]["total_tokens"], 14);
    let journal = llm.journal();
    assert!(journal[0].body["messages"][0]["content"].as_str().unwrap().contains("JSON Schema"));
    let corrected = journal[1].body["messages"].as_array().unwrap().last().unwrap().clone();
    assert!(corrected["content"].as_str().unwrap().contains("/age"), "{corrected}");

    let hopeless = runtime.chat(&body).send().await.unwrap();
    assert_eq!(hopeless.status(), 502);
    assert_eq!(llm.journal().len(), 4);
    for bad in [json!({"type": "person"}), json!(5)] {
        let body = json!({"message": "hi", "output_schema": bad});
        assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 422);
    }
}

#[tokio::test]
async fn thoughts_are_told_apart_from_the_answer_and_forgotten() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"thinking": ["Hm", "…"], "text": "Yes"}}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    let told: Vec<_> = frames
        .iter()
        .filter_map(|(_, data)| Some((data["token"]["type"].as_str()?, &data["token"]["content"])))
        .collect();
    let (progress, thought) = (json!("helper is answering"), [json!("Hm"), json!("…")]);
    let yes = json!("Yes");
    assert_eq!(
        told,
        [
            ("progress", &progress),
            ("thinking", &thought[0]),
            ("thinking", &thought[1]),
            ("content", &yes),
            ("completed", &yes),
        ]
    );
    let plain = runtime.chat(&json!({"message": "hi"})).header("Accept", "text/event-stream");
    let frames = Frames::of(plain.send().await.unwrap()).rest().await;
    assert_eq!((&frames[0].1["token"], frames.len()), (&yes, 2));
    let answer = runtime.say("hi").await;
    assert_eq!(answer["data"]["message"]["content"], "Yes");
    assert!(!llm.journal()[2].body.to_string().contains("Hm"));
}

#[tokio::test]
async fn a_formation_may_show_the_answer_alone() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"thinking": ["Hm"], "chunks": ["Once", " upon"]}}]));
    let response = "overlord: {response: {stream_tokens: false, progress: false}}\n";
    let bundle = Bundle::new(&manifest(response));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    assert_eq!((&frames[0].1["token"]["type"], frames.len()), (&json!("completed"), 2));
    let plain = runtime.chat(&json!({"message": "hi"})).header("Accept", "text/event-stream");
    let frames = Frames::of(plain.send().await.unwrap()).rest().await;
    assert_eq!((&frames[0].1["token"], frames.len()), (&json!("Once upon"), 2));
}
