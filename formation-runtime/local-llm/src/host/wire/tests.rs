use serde_json::json;

use super::*;
use crate::engine::{Message, Role, Tool, ToolCall};

fn parse(body: &Value) -> Result<Call, WireError> {
    Call::parse(body.to_string().as_bytes(), 7)
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({
        "model": "local/smollm2-135m-instruct",
        "messages": [{ "role": "user", "content": "hi" }],
    });
    body[field] = value;
    body
}

#[test]
fn what_a_client_leaves_out_has_a_default() {
    let call = parse(&with("user", json!("somebody"))).unwrap();
    assert_eq!(
        call,
        Call {
            model: "local/smollm2-135m-instruct".parse().unwrap(),
            request: ChatRequest {
                messages: vec![Message::new(Role::User, "hi")],
                tools: vec![],
                max_tokens: 256,
                temperature: 0.2,
                top_p: 0.9,
                seed: 7,
                stop: vec![],
            },
            stream: false,
            include_usage: false,
        }
    );
}

#[test]
fn what_a_client_says_counts() {
    let mut body = with("stream_options", json!({ "include_usage": true }));
    for (field, value) in [
        ("stream", json!(true)),
        ("max_tokens", json!(5)),
        ("max_completion_tokens", json!(9)),
        ("temperature", json!(0)),
        ("top_p", json!(1)),
        ("seed", json!(-1)),
        ("stop", json!("END")),
        (
            "messages",
            json!([
                { "role": "developer", "content": [{ "type": "text", "text": "be " }, { "type": "text", "text": "kind" }] },
                { "role": "assistant", "content": "yes" },
            ]),
        ),
        // Set to what they are anyway, these ask for nothing.
        ("n", json!(1)),
        ("tools", json!([])),
        ("response_format", json!({ "type": "text" })),
        ("presence_penalty", json!(0)),
    ] {
        body[field] = value;
    }
    let call = parse(&body).unwrap();
    assert!(call.stream && call.include_usage);
    assert_eq!(
        call.request,
        ChatRequest {
            messages: vec![
                Message::new(Role::System, "be kind"),
                Message::new(Role::Assistant, "yes"),
            ],
            tools: vec![],
            max_tokens: 9,
            temperature: 0.0,
            top_p: 1.0,
            seed: u64::MAX,
            stop: vec!["END".into()],
        }
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let cases = [
        ("temperature", json!(2.5), "temperature"),
        ("temperature", json!(-1), "temperature"),
        ("top_p", json!(0), "top_p"),
        ("max_tokens", json!(0), "max_tokens"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "stop"),
        ("stop", json!(""), "stop"),
        ("messages", json!([]), "messages"),
        ("messages", json!([{ "role": "function", "content": "x" }]), "messages"),
        ("messages", json!([{ "role": "assistant", "content": null }]), "messages"),
        (
            "messages",
            json!([{ "role": "user", "tool_calls": [{ "function": { "name": "x" } }] }]),
            "messages",
        ),
        ("tool_choice", json!("required"), "tool_choice"),
        (
            "messages",
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]),
            "messages",
        ),
        ("n", json!(2), "n"),
        ("tools", json!([{ "type": "function" }]), "tools"),
        ("response_format", json!({ "type": "json_object" }), "response_format"),
        ("response_format", json!({ "type": "json_schema", "json_schema": {} }), "response_format"),
        ("logprobs", json!(true), "logprobs"),
        ("frequency_penalty", json!(0.5), "frequency_penalty"),
    ];
    for (field, value, param) in cases {
        let error = parse(&with(field, value.clone())).unwrap_err();
        assert_eq!((error.status, error.param), (StatusCode::BAD_REQUEST, Some(param)), "{value}");
    }
}

#[test]
fn a_body_that_is_not_understood_is_refused_with_the_place() {
    for (body, expected) in [("{", "line 1"), ("[]", "line 1"), ("{}", "missing field `model`")] {
        let error = Call::parse(body.as_bytes(), 0).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn an_unknown_model_is_not_found() {
    let error = parse(&with("model", json!("local/gpt-4o"))).unwrap_err();
    assert_eq!((error.status, error.code), (StatusCode::NOT_FOUND, "model_not_found"));
    assert!(error.message.contains("local/smollm2-135m-instruct"), "{}", error.message);
}

#[test]
fn a_busy_engine_says_when_to_come_back() {
    let response = WireError::from(EngineError::Busy { retry_after_s: 3 }).into_response();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[header::RETRY_AFTER], "3");
}

#[test]
fn tools_their_calls_and_their_results_are_taken() {
    let parameters = json!({ "type": "object", "properties": {} });
    let mut body = with(
        "messages",
        json!([
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "2", "type": "function", "function": { "name": "f", "arguments": "{oops" } },
                { "id": "3", "type": "function", "function": { "name": "f", "arguments": "" } },
            ] },
            { "role": "tool", "tool_call_id": "1", "content": "x" },
        ]),
    );
    body["tools"] = json!([
        { "type": "function", "function": { "name": "f", "description": "d", "parameters": parameters } },
        { "type": "function", "function": { "name": "g" } },
    ]);
    let call = |arguments| ToolCall { name: "f".to_owned(), arguments };
    let request = parse(&body).unwrap().request;
    assert_eq!(
        request.messages,
        [
            Message {
                tool_calls: vec![call(json!({ "a": 1 })), call(json!("{oops")), call(json!({}))],
                ..Message::new(Role::Assistant, "")
            },
            Message::new(Role::Tool, "x"),
        ]
    );
    let tool = |name: &str, description: &str, parameters: &Value| Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: parameters.clone(),
    };
    assert_eq!(
        request.tools,
        [tool("f", "d", &parameters), tool("g", "", &json!({ "type": "object" }))]
    );
    body["tool_choice"] = json!("none");
    assert_eq!(parse(&body).unwrap().request.tools, []);
}
