use serde_json::json;

use super::*;

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
                messages: vec![(Role::User, "hi".into())],
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
            messages: vec![(Role::System, "be kind".into()), (Role::Assistant, "yes".into())],
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
        ("messages", json!([{ "role": "tool", "content": "x" }]), "messages"),
        (
            "messages",
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]),
            "messages",
        ),
        ("n", json!(2), "n"),
        ("tools", json!([{ "type": "function" }]), "tools"),
        ("response_format", json!({ "type": "json_object" }), "response_format"),
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
