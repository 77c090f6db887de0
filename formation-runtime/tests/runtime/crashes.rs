//! What a `kill -9` leaves: nothing that was acknowledged is lost, and what is done again says so.

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use muxi_testkit::postgres::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};
use crate::later::{RECEIVERS_HERE, Receiver, Reply, ask, ended};

const HALF: &str = "one ";

/// A model that says half of an answer and stops.
fn stuck() -> Value {
    json!([{"reply": {"chunks": [HALF, "two"], "gate": "never", "gate_after_chunks": 1}}])
}

fn on(server: &Postgres) -> String {
    format!("memory: {{persistent: {{connection_string: '{}'}}}}\n", server.url())
}

async fn accepted(runtime: &Runtime, id: &str, url: &str) {
    let body = json!({
        "message": "hi", "mode": "async", "request_id": id, "session_id": id, "webhook_url": url,
    });
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_caller_that_waited_finds_its_question_and_may_ask_again_under_its_key() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(stuck());
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": false, "request_id": "r-1"});
    let asked =
        |runtime: &Runtime| runtime.chat(&body).header("X-Muxi-Idempotency-Key", "k-1").send();
    let waiting = asked(&runtime);
    let killing = async {
        llm.wait_for(1, None).await;
        runtime.signal("-KILL");
    };
    let (answer, ()) = tokio::join!(waiting, killing);
    assert!(answer.is_err());
    runtime.kill9();
    llm.wait_for(1, Some(Outcome::ClientGone)).await;

    llm.script(json!([{"reply": {"text": "at last"}}]));
    let runtime = bundle.start(&llm);
    let request = ended(&runtime, "r-1").await;
    assert_eq!(request["status"], "failed");
    assert!(request["error"].as_str().unwrap().contains("stopped"), "{request}");
    assert_eq!(runtime.transcript().await, [("hi".to_owned(), "interrupted".to_owned())]);
    let again = json!({"message": "hi", "stream": false, "request_id": "r-1"});
    let again = runtime.chat(&again).header("X-Muxi-Idempotency-Key", "k-1").send().await.unwrap();
    let (status, again) = (again.status(), again.json::<Value>().await.unwrap());
    assert_eq!((status.as_u16(), &again["data"]["message"]["content"]), (200, &json!("at last")));
}

#[tokio::test]
async fn a_stream_that_was_cut_off_has_an_end_for_those_who_come_back() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(stuck());
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true, "request_id": "r-1"});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    while frames.next().await.unwrap().1["token"]["content"] != HALF {}
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let follow = runtime.get("/v1/events/s/r-1").header("X-Muxi-Client-Key", CLIENT_KEY);
    let follow = follow.header("X-Muxi-User-ID", "alice").send().await.unwrap();
    let told = Frames::of(follow).rest().await;
    let kinds: Vec<_> = told.iter().map(|(_, data)| data["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stream_open", "failed", "stream_completed"]);
    assert_eq!(ended(&runtime, "r-1").await["status"], "failed");
}

#[tokio::test]
async fn a_request_that_was_accepted_is_done_by_the_next_process_in_a_file() {
    an_accepted_request_is_done_by_the_next_process("").await;
}

#[tokio::test]
async fn a_request_that_was_accepted_is_done_by_the_next_process_on_a_server() {
    an_accepted_request_is_done_by_the_next_process(&on(&Postgres::start())).await;
}

async fn an_accepted_request_is_done_by_the_next_process(memory: &str) {
    let (llm, bundle) =
        (FakeLlm::start().await, Bundle::new(&manifest(&format!("{memory}{RECEIVERS_HERE}"))));
    llm.script(stuck());
    let mut receiver = Receiver::start(vec![Reply::Status(200)]).await;
    let runtime = bundle.start(&llm);
    // The second waits for the first, in the queue of their session.
    for id in ["cut", "waits"] {
        let body = json!({
            "message": id, "mode": "async", "request_id": id, "webhook_url": receiver.url,
        });
        assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
        llm.wait_for(1, None).await;
    }
    runtime.kill9();

    llm.script(json!([{"reply": {"text": "at last"}}]));
    let runtime = bundle.start(&llm);
    assert_eq!(ended(&runtime, "cut").await["status"], "failed");
    assert_eq!(ended(&runtime, "waits").await["result"], "at last");
    let mut told = [receiver.next().await.1, receiver.next().await.1];
    told.sort_by_key(|it| it["id"].to_string());
    assert_eq!((&told[0]["id"], &told[0]["status"]), (&json!("cut"), &json!("failed")));
    assert_eq!((&told[1]["id"], &told[1]["status"]), (&json!("waits"), &json!("completed")));
}

#[tokio::test]
async fn a_webhook_whose_answer_was_lost_comes_again_under_its_name_from_a_file() {
    a_webhook_whose_answer_was_lost_comes_again("").await;
}

#[tokio::test]
async fn a_webhook_whose_answer_was_lost_comes_again_under_its_name_from_a_server() {
    a_webhook_whose_answer_was_lost_comes_again(&on(&Postgres::start())).await;
}

async fn a_webhook_whose_answer_was_lost_comes_again(memory: &str) {
    let (llm, bundle) =
        (FakeLlm::start().await, Bundle::new(&manifest(&format!("{memory}{RECEIVERS_HERE}"))));
    let mut receiver = Receiver::start(vec![Reply::Silence, Reply::Status(200)]).await;
    let runtime = bundle.start(&llm);
    accepted(&runtime, "r-1", &receiver.url).await;
    let (first, told) = receiver.next().await;
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let (second, again) = receiver.next().await;
    assert_eq!(told, again);
    assert_eq!(first["x-muxi-delivery"], second["x-muxi-delivery"]);
    assert_eq!(ended(&runtime, "r-1").await["status"], "completed");
}

#[tokio::test]
async fn a_webhook_that_was_refused_is_tried_again_by_the_next_process_and_never_after_it_was_taken()
 {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(RECEIVERS_HERE)));
    let mut receiver = Receiver::start(vec![Reply::Status(503), Reply::Status(200)]).await;
    let runtime = bundle.start(&llm);
    let mut events = follow(&runtime).await;
    accepted(&runtime, "r-1", &receiver.url).await;
    let (first, _) = receiver.next().await;
    heard(&mut events, "webhook.failed").await;
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let mut events = follow(&runtime).await;
    let (second, _) = receiver.next().await;
    assert_eq!(first["x-muxi-delivery"], second["x-muxi-delivery"]);
    heard(&mut events, "webhook.delivered").await;
    // It is told when it is noted. A stop would wait for who follows.
    drop(events);
    runtime.signal("-TERM");
    assert!(tokio::task::spawn_blocking(|| runtime.wait()).await.unwrap().success());

    let runtime = bundle.start(&llm);
    accepted(&runtime, "r-2", &receiver.url).await;
    let (third, told) = receiver.next().await;
    assert_eq!(told["id"], "r-2");
    assert_ne!(third["x-muxi-delivery"], first["x-muxi-delivery"]);
    assert_eq!(ask(&runtime, Method::GET, "/v1/requests", "alice").await.1["data"]["count"], 2);
}

/// From the beginning of what the process knows.
async fn follow(runtime: &Runtime) -> Frames {
    let logs = runtime.get("/v1/logs?event_type=webhook.*").header("X-Muxi-Admin-Key", ADMIN_KEY);
    Frames::of(logs.header("Last-Event-ID", "1").send().await.unwrap())
}

async fn heard(events: &mut Frames, kind: &str) {
    while events.next().await.unwrap().1["event_type"] != kind {}
}
