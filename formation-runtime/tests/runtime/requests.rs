//! Requests outlive their callers and their processes: asynchronous ones, cancelled ones, repeated ones.

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, manifest};
use crate::later::{RECEIVERS_HERE, Receiver, Reply, ask, ended};

#[tokio::test]
async fn an_asynchronous_chat_is_answered_later_and_its_webhook_is_signed() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(RECEIVERS_HERE)));
    let runtime = bundle.start(&llm);
    let mut receiver = Receiver::start(vec![Reply::Status(500), Reply::Status(200)]).await;
    let body = json!({
        "message": "hi", "mode": "async", "request_id": "r-1", "webhook_url": receiver.url,
    });
    let response = runtime.chat(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["type"], "request.processing");
    assert_eq!(answer["data"]["message"]["poll_url"], "/v1/requests/r-1");

    let request = ended(&runtime, "r-1").await;
    assert_eq!(
        (&request["status"], &request["result"]),
        (&json!("completed"), &json!("fake model: hi"))
    );
    assert_eq!((&request["agent_id"], &request["error_code"]), (&json!("helper"), &Value::Null));
    let time = |name: &str| request[name].as_f64().unwrap();
    assert!(time("created_at") <= time("started_at") && time("started_at") <= time("completed_at"));
    let tokens = |name: &str| request["usage"][name].as_u64().unwrap();
    assert!(tokens("prompt_tokens") > 0);
    assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"));
    let (first, told) = receiver.next().await;
    let (second, again) = receiver.next().await;
    assert_eq!(told["response"][0]["text"], "fake model: hi");
    assert_eq!(told, again);
    // Told once more, under the same name.
    assert_eq!(first["x-muxi-delivery"], second["x-muxi-delivery"]);
    assert!(first["x-muxi-signature"].to_str().unwrap().starts_with("t="));
    let (_, list) = ask(&runtime, Method::GET, "/v1/requests", "alice").await;
    assert_eq!(list["data"]["count"], 1);
}

#[tokio::test]
async fn what_was_accepted_is_done_by_the_next_process_and_what_was_cut_off_ends_with_a_reason() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(RECEIVERS_HERE)));
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let mut receiver = Receiver::start(vec![Reply::Status(200)]).await;
    let runtime = bundle.start(&llm);
    for (id, webhook) in [("cut", Some(&receiver.url)), ("waits", None)] {
        let body = json!({
            "message": "hi", "mode": "async", "request_id": id, "webhook_url": webhook,
        });
        assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    }
    llm.wait_for(1, None).await;
    runtime.kill9();

    llm.script(json!([{"reply": {"text": "at last"}}]));
    let runtime = bundle.start(&llm);
    let cut = ended(&runtime, "cut").await;
    assert_eq!(cut["status"], "failed");
    assert!(cut["error"].as_str().unwrap().contains("stopped"), "{cut}");
    assert_eq!((&cut["error_code"], &cut["usage"]), (&json!("SERVICE_UNAVAILABLE"), &Value::Null));
    let (_, told) = receiver.next().await;
    assert_eq!((&told["id"], &told["status"]), (&json!("cut"), &json!("failed")));
    assert_eq!(told["error"]["error_code"], "SERVICE_UNAVAILABLE");
    let waits = ended(&runtime, "waits").await;
    assert_eq!((&waits["status"], &waits["result"]), (&json!("completed"), &json!("at last")));
}

#[tokio::test]
async fn a_cancelled_request_ends_the_call_and_keeps_what_was_said() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true, "request_id": "r-1"});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    while frames.next().await.unwrap().1["token"]["content"] != "one " {}
    // One that waits behind it can be cancelled, too.
    let waiting = json!({"message": "me too", "mode": "async", "request_id": "r-2"});
    assert_eq!(runtime.chat(&waiting).send().await.unwrap().status(), 202);
    let operator = |method: Method, path: &str| {
        runtime.request(method, path).header("X-Muxi-Admin-Key", ADMIN_KEY).send()
    };
    let answer = operator(Method::DELETE, "/v1/requests/r-2").await.unwrap();
    assert_eq!(answer.status(), 200);
    let (status, answer) = ask(&runtime, Method::DELETE, "/v1/requests/r-1", "alice").await;
    assert_eq!((status, &answer["data"]["cancellation"]), (200, &json!("immediate")), "{answer}");
    let rest = frames.rest().await;
    assert_eq!(rest[0].1["token"]["type"], "cancelled");
    assert_eq!(rest[0].1["token"]["content"], "one ");
    assert_eq!(rest.last().unwrap().0, "done");
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
    let request = ended(&runtime, "r-1").await;
    assert_eq!(
        (&request["status"], &request["partial_result"]),
        (&json!("cancelled"), &json!("one "))
    );
    assert_eq!(ended(&runtime, "r-2").await["status"], "cancelled");
    let (status, again) = ask(&runtime, Method::DELETE, "/v1/requests/r-1", "alice").await;
    assert_eq!((status, &again["error"]["code"]), (400, &json!("OPERATION_FAILED")));
    // What the operator did is noted, what clients did is not.
    let audit = operator(Method::GET, "/v1/audit?resource_type=request").await.unwrap();
    let audit: Value = audit.json().await.unwrap();
    assert_eq!(audit["data"]["count"], 1, "{audit}");
    let entry = &audit["data"]["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["resource"], &entry["outcome"]),
        (&json!("request.cancelled"), &json!("request/r-2"), &json!("succeeded"))
    );
    let expected =
        [("hi".to_owned(), "cancelled".to_owned()), ("one ".to_owned(), "cancelled".to_owned())];
    assert_eq!(runtime.transcript().await, expected);
}

#[tokio::test]
async fn an_id_is_of_one_open_request_and_free_again_after_its_end() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(json!([{"match": {"nth": 1}, "reply": {"chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1}}]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true, "request_id": "r-1"});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    while frames.next().await.unwrap().1["token"]["content"] != "one " {}
    let again = json!({"message": "me too", "request_id": "r-1", "session_id": "other"});
    let refused = runtime.chat(&again).send().await.unwrap();
    assert_eq!(refused.status(), 409);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "CONFLICT");
    llm.open_gate("more");
    assert_eq!(frames.rest().await.last().unwrap().0, "done");
    // At once: the end was told after the id was free.
    assert_eq!(runtime.chat(&again).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn requests_are_their_users_own() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 200);
    for method in [Method::GET, Method::DELETE] {
        let (status, answer) = ask(&runtime, method.clone(), "/v1/requests/r-1", "bob").await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")));
        let (status, answer) = ask(&runtime, method, "/v1/requests/unknown", "bob").await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("REQUEST_NOT_FOUND")));
    }
    assert_eq!(ask(&runtime, Method::GET, "/v1/requests", "bob").await.1["data"]["count"], 0);
    let admin = runtime.get("/v1/requests/r-1").header("X-Muxi-Admin-Key", ADMIN_KEY);
    let answer: Value = admin.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["user_id"], "alice");
    assert_eq!(runtime.get("/v1/requests").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_repeat_under_one_key_gets_the_first_answer_byte_for_byte() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let keyed = |message: &str| {
        runtime
            .chat(&json!({"message": message, "stream": false}))
            .header("X-Muxi-Idempotency-Key", "k-1")
            .send()
    };
    let (first, concurrent) = tokio::join!(keyed("hi"), keyed("hi"));
    let (first, concurrent) =
        (first.unwrap().text().await.unwrap(), concurrent.unwrap().text().await.unwrap());
    assert_eq!(first, concurrent);
    let envelope: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(envelope["request"]["idempotency_key"], "k-1");
    assert_eq!(llm.journal().len(), 1);
    let other = keyed("something else").await.unwrap();
    assert_eq!(other.status(), 409);
    drop(other);

    runtime.kill9();
    let runtime = bundle.start(&llm);
    let again = runtime
        .chat(&json!({"message": "hi", "stream": false}))
        .header("X-Muxi-Idempotency-Key", "k-1");
    assert_eq!(again.send().await.unwrap().text().await.unwrap(), first);
    // The same key of another user is another key.
    let bob = runtime
        .post("/v1/chat")
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("X-Muxi-User-ID", "bob")
        .header("X-Muxi-Idempotency-Key", "k-1")
        .json(&json!({"message": "hi", "session_id": "s", "stream": false}));
    assert_ne!(bob.send().await.unwrap().text().await.unwrap(), first);
    assert_eq!(llm.journal().len(), 2);
}

#[tokio::test]
async fn a_key_is_free_again_after_a_failure() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(json!([{"match": {"nth": 1}, "reply": {"status": 500, "error_body": {"error": {"message": "broken"}}}}, {"reply": {"text": "Yes"}}]));
    let runtime = bundle.start(&llm);
    for expected in [502, 200, 200] {
        let response = runtime
            .chat(&json!({"message": "hi"}))
            .header("X-Muxi-Idempotency-Key", "k-1")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), expected);
    }
    assert_eq!(llm.journal().len(), 2);
}

#[tokio::test]
async fn clients_have_no_private_address_told_and_the_operator_has() {
    let mut receiver = Receiver::start(vec![Reply::Status(200)]).await;
    let own = format!("async: {{webhook_url: '{}'}}\n", receiver.url);
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(&own)));
    let runtime = bundle.start(&llm);
    for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "169.254.169.254", "10.0.0.1"] {
        let url = format!("http://{host}/hook");
        let body = json!({"message": "hi", "mode": "async", "webhook_url": url});
        let response = runtime.chat(&body).send().await.unwrap();
        assert_eq!(response.status(), 422, "{host}");
        let answer: Value = response.json().await.unwrap();
        let faults = &answer["error"]["data"]["validation_errors"];
        assert_eq!(faults[0]["field"], "webhook_url", "{answer}");
    }
    let body = json!({"message": "hi", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    assert_eq!(receiver.next().await.1["id"], "r-1");
}
