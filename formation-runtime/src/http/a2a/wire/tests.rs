use super::*;

fn said(parts: &Value) -> Result<Said, i32> {
    Said::parse(&json!({"message": {"parts": parts, "contextId": "c"}})).map_err(|it| it.code)
}

#[test]
fn both_versions_of_a_message_are_read_alike() {
    let old = json!([
        {"kind": "text", "text": "Hello"},
        {"kind": "file", "file": {"name": "a.txt", "mimeType": "text/plain", "bytes": "aGk="}},
        {"kind": "data", "data": {"n": 1}},
    ]);
    let new = json!([
        {"text": "Hello"},
        {"raw": "aGk=", "filename": "a.txt", "mediaType": "text/plain"},
        {"data": {"n": 1}},
    ]);
    for parts in [old, new] {
        let said = said(&parts).unwrap();
        assert_eq!(said.text, "Hello\n\n```json\n{\n  \"n\": 1\n}\n```");
        let file = json!({"filename": "a.txt", "content_type": "text/plain", "content": "aGk="});
        assert_eq!(said.files, [file]);
        assert_eq!(said.context.unwrap().as_str(), "c");
    }
    for configuration in [json!({"blocking": false}), json!({"returnImmediately": true})] {
        let params = json!({"message": {"parts": [{"text": "x"}]}, "configuration": configuration});
        assert!(Said::parse(&params).unwrap().returns_at_once);
    }
}

#[test]
fn what_cannot_be_taken_is_refused_by_the_protocols_numbers() {
    assert_eq!(said(&json!([])), Err(-32602));
    assert_eq!(said(&json!("text")), Err(-32602));
    assert_eq!(said(&json!([{"url": "http://x.test"}])), Err(-32005));
    assert_eq!(said(&json!([{"kind": "file", "file": {"uri": "http://x.test"}}])), Err(-32005));
    assert_eq!(said(&json!([{"kind": "song"}])), Err(-32005));
    let push = json!({"message": {"parts": [{"text": "x"}]},
        "configuration": {"pushNotificationConfig": {"url": "http://x.test"}}});
    assert_eq!(Said::parse(&push).unwrap_err().code, -32003);
    assert_eq!(Said::parse(&json!({})).unwrap_err().code, -32602);
    assert_eq!(task_id(&json!({})).unwrap_err().code, -32602);
    assert_eq!(task_id(&json!({"id": 7})).unwrap_err().code, -32602);

    let call = |name: Value| Method::read(&json!({"jsonrpc": "2.0", "id": 1, "method": name}));
    for (name, code) in [
        (json!("tasks/pushNotificationConfig/set"), -32003),
        (json!("CreateTaskPushNotificationConfig"), -32003),
        (json!("ListTasks"), -32004),
        (json!("GetExtendedAgentCard"), -32007),
        (json!("agent/getAuthenticatedExtendedCard"), -32007),
        (json!("sing"), -32601),
        (json!(7), -32600),
    ] {
        assert_eq!(call(name.clone()).unwrap_err().code, code, "{name}");
    }
    for call in [
        json!([]),
        json!({"id": 1, "method": "GetTask"}),
        json!({"jsonrpc": "2.0", "method": "GetTask"}),
    ] {
        assert_eq!(Method::read(&call).unwrap_err().code, -32600, "{call}");
    }
    assert_eq!(call(json!("GetTask")), Ok((Method::Get, Version::V1)));
    assert_eq!(call(json!("tasks/get")), Ok((Method::Get, Version::V03)));
}

#[test]
fn tasks_are_told_in_the_words_of_each_version() {
    let names =
        |version| Names { version, task: "req_1".parse().unwrap(), context: "c".parse().unwrap() };
    let made = Made {
        id: "art_1".to_owned(),
        name: "t.csv".to_owned(),
        media_type: "text/csv".to_owned(),
        content: Content::Bytes(b"a,b".to_vec()),
    };
    let told = |version| {
        let names = names(version);
        let status = names.status(RequestStatus::AwaitingClarification, Some("Which?"), "now");
        json!([
            names.whole(names.task(&status, Some("Hi"), std::slice::from_ref(&made))),
            names.status_changed(&status, true),
            names.text_added("Hi", true, false),
        ])
    };
    insta::assert_json_snapshot!("version_0_3", told(Version::V03));
    insta::assert_json_snapshot!("version_1_0", told(Version::V1));
}
