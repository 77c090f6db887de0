//! Tools on both wires, over real connections to the scripted fake model.

use std::sync::Arc;

use futures_util::StreamExt;
use muxi_llm::{
    Attachment, AttachmentKind, Chunk, CompletionRequest, Endpoint, FinishReason, HttpClients, Llm,
    LlmError, LlmErrorKind, Message, RetryPolicy, Target, ToolCall, ToolSpec, connect,
};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

const WIRES: [&str; 2] = ["acme", "anthropic"];

fn llm(name: &str, fake: &FakeLlm) -> Llm {
    let endpoint = Endpoint::at(fake.base_url());
    let provider = connect(name, endpoint, &HttpClients::default()).expect("a usable endpoint");
    let retry = RetryPolicy { retries_max: 0, ..RetryPolicy::default() };
    Llm::new(Target { provider, model: "m".to_owned() }, None, retry)
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("does {name}"),
        parameters: Arc::new(json!({"type": "object", "properties": {"q": {"type": "string"}}})),
    }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

fn asking(calls: Vec<ToolCall>) -> Message {
    Message { tool_calls: calls, ..Message::assistant("") }
}

fn question() -> CompletionRequest {
    CompletionRequest {
        messages: vec![Message::user("look it up")],
        tools: vec![tool("look"), tool("look_up")],
        ..CompletionRequest::default()
    }
}

#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    calls: Vec<ToolCall>,
    reason: Option<FinishReason>,
}

async fn ask(name: &str, fake: &FakeLlm, request: &CompletionRequest) -> Result<Heard, LlmError> {
    let mut heard = Heard::default();
    let (mut stream, _) = llm(name, fake).stream(request).await?;
    while let Some(chunk) = stream.next().await {
        assert_eq!(heard.reason, None, "nothing follows the end");
        match chunk? {
            Chunk::Text(text) => {
                assert!(heard.calls.is_empty(), "calls come last");
                heard.text.push_str(&text);
            }
            Chunk::ToolCall(call) => heard.calls.push(call),
            Chunk::Finished { reason, .. } => heard.reason = Some(reason),
            other @ (Chunk::Thinking(_) | Chunk::File(_)) => panic!("{other:?}"),
        }
    }
    assert!(heard.reason.is_some(), "no stream ends without saying so");
    Ok(heard)
}

async fn answer(name: &str, reply: Value) -> Result<Heard, LlmError> {
    let fake = FakeLlm::start().await;
    fake.script(json!([{ "reply": reply }]));
    ask(name, &fake, &question()).await
}

#[tokio::test]
async fn calls_come_once_and_whole_however_they_are_cut() {
    let arguments = r#"{"q":"Grüße \"aus\" 日本 🎌","n":[1,{}]}"#;
    let expected = Heard {
        text: "Let me see.".to_owned(),
        calls: vec![
            call("c1", "look_up", arguments),
            call("c2", "look", ""),
            call("call_fake_2", "look_up", "{}"),
        ],
        reason: Some(FinishReason::ToolCalls),
    };
    for name in WIRES {
        for split in [json!("whole"), json!("byte"), json!(2), json!(7)] {
            for text in ["Let me see.", ""] {
                let reply = json!({
                    "text": text, "split": split,
                    "tool_calls": [
                        {"id": "c1", "name": "look_up", "arguments": arguments},
                        {"id": "c2", "name": "look"},
                        {"name": "look_up", "arguments": {}},
                    ],
                });
                let heard = answer(name, reply).await.unwrap();
                assert_eq!(heard.text, text, "{name} {split}");
                assert_eq!(heard.calls, expected.calls, "{name} {split}");
                assert_eq!(heard.reason, expected.reason, "{name} {split}");
            }
        }
    }
}

/// The two pieces of a text for each place where it can be cut.
fn cuts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).map(|at| text.split_at(at))
}

fn frames(deltas: impl IntoIterator<Item = Value>, reason: &str) -> Vec<String> {
    let frame = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({ "choices": [choice] }))
    };
    let deltas = deltas.into_iter().map(|call| frame(json!({"tool_calls": [call]}), Value::Null));
    let end = [frame(json!({}), json!(reason)), "data: [DONE]\n\n".to_owned()];
    deltas.chain(end).collect()
}

#[tokio::test]
async fn id_name_and_arguments_may_be_cut_at_every_place() {
    let fake = FakeLlm::start().await;
    let arguments = r#"{"q":"ß🎌"}"#;
    let part = |id: &str, name: &str, arguments: &str| {
        json!({"index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    let id = cuts("call_9").map(|(a, b)| [part(a, "", ""), part(b, "look_up", arguments)]);
    let name = cuts("look_up").map(|(a, b)| [part("call_9", a, ""), part("", b, arguments)]);
    let texts = cuts(arguments).map(|(a, b)| [part("call_9", "look_up", a), part("", "", b)]);
    let repeated =
        cuts(arguments).map(|(a, b)| [part("call_9", "look_up", a), part("call_9", "look_up", b)]);
    for pieces in id.chain(name).chain(texts).chain(repeated) {
        let shown = format!("{pieces:?}");
        for reason in ["tool_calls", "stop"] {
            fake.script(json!([{"reply": {"raw_chunks": frames(pieces.clone(), reason)}}]));
            let heard = ask("acme", &fake, &question()).await.unwrap();
            assert_eq!(heard.calls, [call("call_9", "look_up", arguments)], "{shown}");
            assert_eq!(heard.reason, Some(FinishReason::ToolCalls), "{shown}");
        }
    }
}

#[tokio::test]
async fn whole_calls_in_one_frame_and_made_ids() {
    let delta = json!({"content": null, "tool_calls": [
        {"function": {"name": "look", "arguments": {"q": 1}}},
        {"function": {"name": "look", "arguments": "{\"q\":2}"}},
    ]});
    let message = json!({"role": "assistant", "tool_calls": delta["tool_calls"]});
    for choice in [
        json!({"delta": delta, "finish_reason": "tool_calls", "message": message}),
        json!({"delta": {}, "finish_reason": "stop", "message": message}),
    ] {
        let frame = format!("data: {}\n\n", json!({ "choices": [choice] }));
        let heard = answer("acme", json!({"raw_chunks": [frame]})).await.unwrap();
        let arguments: Vec<_> = heard.calls.iter().map(|it| it.arguments.as_str()).collect();
        assert_eq!(arguments, [r#"{"q":1}"#, r#"{"q":2}"#]);
        let [first, second] = &heard.calls[..] else { panic!("{heard:?}") };
        assert!(!first.id.is_empty() && !second.id.is_empty() && first.id != second.id);
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_come_as_they_were_written() {
    for name in WIRES {
        for arguments in ["{\"q\": oops", "look it up, please", "[1", "{'q': 1}", " "] {
            let reply =
                json!({"tool_calls": [{"id": "c1", "name": "look", "arguments": arguments}]});
            let heard = answer(name, reply).await.unwrap();
            assert_eq!(heard.calls, [call("c1", "look", arguments)], "{name}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_call_is_cut_off() {
    for name in WIRES {
        for (field, kind) in [
            ("end_after_chunks", LlmErrorKind::CutOff),
            ("cut_after_chunks", LlmErrorKind::Interrupted),
        ] {
            for after in 1..6 {
                let mut reply = json!({"split": 3, "tool_calls": [
                    {"name": "look", "arguments": {"q": 1}},
                    {"name": "look", "arguments": {"q": 2}},
                ]});
                reply[field] = after.into();
                let error = answer(name, reply).await.unwrap_err();
                assert_eq!(error.kind, kind, "{name} {field} {after}");
            }
        }
    }
}

#[tokio::test]
async fn a_call_that_the_limit_cut_is_no_call() {
    for (name, word) in [("acme", "length"), ("anthropic", "max_tokens")] {
        let reply = json!({"finish_reason": word, "tool_calls": [
            {"id": "c1", "name": "look", "arguments": {}},
            {"id": "c2", "name": "look", "arguments": "{\"q\":\"half"},
        ]});
        let heard = answer(name, reply).await.unwrap();
        assert_eq!(heard.calls, [call("c1", "look", "{}")], "{name}");
        assert_eq!(heard.reason, Some(FinishReason::Length), "{name}");
    }
}

#[tokio::test]
async fn too_many_calls_are_refused() {
    for name in WIRES {
        let many = |count| {
            let call = |_| json!({"name": "look", "arguments": {}});
            json!({"tool_calls": (0..count).map(call).collect::<Value>()})
        };
        assert_eq!(answer(name, many(64)).await.unwrap().calls.len(), 64, "{name}");
        let error = answer(name, many(65)).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::Protocol, "{name}");
        assert!(error.to_string().contains("more than 64 tools"), "{error}");
    }
}

#[tokio::test]
async fn each_wire_writes_tools_calls_and_results_as_its_provider_documents_it() {
    let fake = FakeLlm::start().await;
    let picture = Attachment {
        kind: AttachmentKind::Image,
        name: "x.png".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: "hi".into(),
    };
    let request = CompletionRequest {
        messages: vec![
            Message::system(""),
            Message::user("look"),
            asking(vec![call("a:1", "look", r#"{"q":1}"#), call("b", "no such.tool", "{oops")]),
            Message::tool("a:1", "found"),
            Message { attachments: vec![picture], ..Message::tool("b", "") },
            Message::assistant(" "),
            Message { content: "Once more.".to_owned(), ..asking(vec![call("c", "look", "")]) },
            Message::failed_tool("c", "nothing"),
        ],
        tools: vec![tool("look")],
        shape: Some(Arc::new(json!({"type": "object"}))),
        ..CompletionRequest::default()
    };
    for name in WIRES {
        ask(name, &fake, &request).await.unwrap();
    }
    let [openai, anthropic] = &fake.journal()[..] else { panic!("two calls") };
    let parameters = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    let function = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}});
    assert_eq!(
        openai.body["messages"],
        json!([
            {"role": "system", "content": ""},
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": null, "tool_calls": [
                function("a_1", "look", r#"{"q":1}"#),
                function("b", "no_such_tool", r#"{"not_an_object":"{oops"}"#),
            ]},
            {"role": "tool", "tool_call_id": "a_1", "content": "found"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "user", "content": [
                image, {"type": "text", "text": "(what the tools returned)"},
            ]},
            {"role": "assistant", "content": " "},
            {"role": "assistant", "content": "Once more.", "tool_calls": [
                function("c", "look", "{}"),
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "nothing"},
        ])
    );
    assert_eq!(
        openai.body["tools"],
        json!([{"type": "function", "function": {
            "name": "look", "description": "does look", "parameters": parameters,
        }}])
    );
    assert_eq!(
        openai.body["response_format"],
        json!({"type": "json_schema", "json_schema": {
            "name": "answer", "strict": false, "schema": {"type": "object"},
        }})
    );
    let used = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let image = json!({"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": "aGk=",
    }});
    assert_eq!(
        anthropic.body["messages"],
        json!([
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [
                used("a_1", "look", json!({"q": 1})),
                used("b", "no_such_tool", json!({"not_an_object": "{oops"})),
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a_1", "content": "found"},
                {"type": "tool_result", "tool_use_id": "b", "content": [image]},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Once more."}, used("c", "look", json!({})),
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "nothing", "is_error": true},
            ]},
        ])
    );
    assert_eq!(
        anthropic.body["tools"],
        json!([{"name": "look", "description": "does look", "input_schema": parameters}])
    );
    assert_eq!(
        (&anthropic.body["system"], &anthropic.body["response_format"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_last_answer_without_tools_still_names_those_that_were_called() {
    let fake = FakeLlm::start().await;
    let mut request = question();
    request.messages.extend([asking(vec![call("c1", "look", "{}")]), Message::tool("c1", "found")]);
    request.tools.clear();
    for name in WIRES {
        ask(name, &fake, &request).await.unwrap();
    }
    let [openai, anthropic] = &fake.journal()[..] else { panic!("two calls") };
    assert_eq!(openai.body["tools"], Value::Null);
    assert_eq!(
        anthropic.body["tools"],
        json!([{"name": "look", "input_schema": {"type": "object"}}])
    );
    assert_eq!(anthropic.body["tool_choice"], json!({"type": "none"}));
}

#[tokio::test]
async fn a_server_without_tools_is_told_so_and_one_without_shapes_asked_again() {
    let refuse = |status: u16, message: &str| json!({"status": status, "error_body": {"error": {"message": message}}});
    for (name, status, message) in [
        ("acme", 400, "registry.example/library/tiny does not support tools"),
        ("acme", 404, "No endpoints found that support tool use."),
        ("acme", 400, "\"auto\" tool choice requires --enable-auto-tool-choice to be set"),
        ("anthropic", 400, "tools: this model does not support tool use"),
    ] {
        let error = answer(name, refuse(status, message)).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::BadRequest, "{message}");
        let text = error.to_string();
        assert!(text.contains("takes no tools") && text.contains(message), "{text}");
    }
    let schema = "tools.0: the schema is not supported";
    let error = answer("acme", refuse(400, schema)).await.unwrap_err().to_string();
    assert!(!error.contains("takes no tools"), "{error}");

    for message in ["response_format: unknown", "This model does not support response format"] {
        let fake = FakeLlm::start().await;
        fake.script(json!([
            {"match": {"nth": 1}, "reply": refuse(400, message)},
            {"reply": {"text": "{}"}},
        ]));
        let request = CompletionRequest { shape: Some(Arc::new(json!({}))), ..question() };
        assert_eq!(ask("acme", &fake, &request).await.unwrap().text, "{}");
        let journal = fake.journal();
        assert!(journal[0].body["response_format"].is_object());
        assert!(
            journal[1].body["response_format"].is_null() && journal[1].body["tools"].is_array()
        );
    }
}

#[tokio::test]
async fn a_script_can_play_a_loop_of_tools_and_objects_to_a_broken_one() {
    for name in WIRES {
        let fake = FakeLlm::start().await;
        fake.script(json!([
            {"match": {"has_tool_result": true, "any_contains": "found it"}, "reply": {"text": "Done."}},
            {"match": {"offers_tool": "look", "system_contains": "curious", "contains": "look it up"},
             "reply": {"tool_calls": [{"id": "c1", "name": "look", "arguments": {"q": "x"}}]}},
        ]));
        let mut request = question();
        request.messages.insert(0, Message::system("be curious"));
        let first = ask(name, &fake, &request).await.unwrap();
        assert_eq!(first.calls, [call("c1", "look", r#"{"q":"x"}"#)], "{name}");
        request.messages.push(asking(first.calls));
        let open = ask(name, &fake, &request).await.unwrap_err();
        assert_eq!(open.kind, LlmErrorKind::BadRequest, "{name}: a call without a result");
        request.messages.push(Message::tool("c1", "found it"));
        assert_eq!(ask(name, &fake, &request).await.unwrap().text, "Done.", "{name}");
        request.messages.push(Message::tool("c2", "found it"));
        let stray = ask(name, &fake, &request).await.unwrap_err();
        assert_eq!(stray.kind, LlmErrorKind::BadRequest, "{name}: a result without a call");

        let plain = CompletionRequest { tools: Vec::new(), ..question() };
        assert_eq!(ask(name, &fake, &plain).await.unwrap().text, "fake model: look it up");
        assert_eq!(fake.journal()[0].body["tools"].as_array().unwrap().len(), 2);
    }
}
