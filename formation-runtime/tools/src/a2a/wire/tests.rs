use super::*;

fn told(pieces: &[Value]) -> Told {
    let mut told = Told::default();
    for piece in pieces {
        told.take(piece).unwrap();
    }
    told
}

fn text(told: Told) -> String {
    texts(&told.into_content())
}

#[test]
fn both_versions_are_read_alike() {
    let old = [
        json!({"kind": "task", "id": "t", "contextId": "c", "status": {"state": "submitted"}}),
        json!({"kind": "artifact-update", "taskId": "t", "contextId": "c",
            "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": "Hel"}]}}),
        json!({"kind": "artifact-update", "taskId": "t", "append": true,
            "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": "lo"}]}}),
        json!({"kind": "status-update", "taskId": "t", "status": {"state": "completed"}, "final": true}),
    ];
    let new = [
        json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}}),
        json!({"artifactUpdate": {"taskId": "t", "contextId": "c",
            "artifact": {"artifactId": "a", "parts": [{"text": "Hel"}]}}}),
        json!({"artifactUpdate": {"taskId": "t", "append": true,
            "artifact": {"artifactId": "a", "parts": [{"text": "lo"}]}}}),
        json!({"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_COMPLETED"}}}),
    ];
    for pieces in [old, new] {
        let told = told(&pieces);
        assert_eq!((told.task.as_deref(), told.context.as_deref()), (Some("t"), Some("c")));
        assert_eq!(told.state, Some(State::Completed));
        assert_eq!(text(told), "Hello");
    }
    for message in [
        json!({"kind": "message", "contextId": "c", "parts": [{"kind": "text", "text": "Hi"}]}),
        json!({"message": {"contextId": "c", "role": "ROLE_AGENT", "parts": [{"text": "Hi"}]}}),
    ] {
        let told = told(&[message]);
        assert_eq!((told.state, told.task.clone()), (Some(State::Completed), None));
        assert_eq!(text(told), "Hi");
    }
}

#[test]
fn a_task_takes_the_place_of_its_pieces_and_a_question_is_read_from_its_status() {
    let piece =
        json!({"artifactUpdate": {"artifact": {"artifactId": "a", "parts": [{"text": "x"}]}}});
    let task = json!({"id": "t", "status": {"state": "completed"},
        "artifacts": [{"artifactId": "a", "parts": [{"kind": "data", "data": {"n": 1}}]}]});
    assert_eq!(text(told(&[piece, task])), r#"{"n":1}"#);
    let asks = json!({"id": "t", "status": {"state": "input-required",
        "message": {"parts": [{"kind": "text", "text": "Which city?"}]}}});
    let told = told(&[asks]);
    assert_eq!(told.state, Some(State::Waiting));
    assert_eq!(text(told), "Which city?");
}

#[test]
fn files_come_as_bytes_and_are_never_fetched() {
    let encoded = BASE64_STANDARD.encode("a,b");
    for part in [
        json!({"kind": "file", "file": {"bytes": encoded, "name": "t.csv", "mimeType": "text/csv"}}),
        json!({"raw": encoded, "filename": "t.csv", "mediaType": "text/csv"}),
    ] {
        let told = told(&[json!({"message": {"parts": [part]}})]);
        let file = Content::File {
            name: "t.csv".to_owned(),
            media_type: "text/csv".to_owned(),
            bytes: Bytes::from_static(b"a,b"),
        };
        assert_eq!(told.into_content(), [file]);
    }
    let linked = told(&[json!({"message": {"parts": [{"url": "http://x.test/f"}]}})]);
    assert!(text(linked).contains("not fetched"));
}

#[test]
fn what_is_no_answer_is_refused() {
    for wrong in [
        json!({}),
        json!({"kind": "song"}),
        json!({"id": "t", "status": {"state": "dancing"}}),
        json!({"task": 7}),
        json!({"statusUpdate": {"status": {}}}),
    ] {
        assert!(Told::default().take(&wrong).is_err(), "{wrong}");
    }
    let mut told = Told::default();
    let piece = json!({"artifactUpdate": {"append": true, "artifact": {"artifactId": "a",
        "parts": [{"text": "x".repeat(1024 * 1024)}]}}});
    let taken = (0..10).map(|_| told.take(&piece)).find(Result::is_err);
    assert!(matches!(taken, Some(Err(RemoteError::TooLarge(_)))));
}
