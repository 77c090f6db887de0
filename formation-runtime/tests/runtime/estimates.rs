//! Messages whose answers would take too long to wait for are answered later.

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::harness::{Bundle, Frames, Runtime, manifest};

async fn ask(runtime: &Runtime, body: &Value) -> (u16, Value) {
    let response = runtime.chat(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A formation that has given three slow answers.
async fn slow(more: &str) -> (FakeLlm, Bundle, Runtime) {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "Slow.", "head_delay_ms": 30}}]));
    let bundle = Bundle::new(&manifest(more));
    let runtime = bundle.start(&llm);
    for number in 0..3 {
        let body = json!({"message": "hi", "mode": "sync", "session_id": format!("s-{number}")});
        assert_eq!(ask(&runtime, &body).await.0, 200);
    }
    (llm, bundle, runtime)
}

#[tokio::test]
async fn an_estimate_of_the_last_answers_decides() {
    let (llm, bundle, runtime) = slow("async: {webhook_allow_private: true}\n").await;
    let (status, answer) =
        ask(&runtime, &json!({"message": "hi", "threshold_seconds": 3600})).await;
    assert_eq!(status, 200, "{answer}");
    // The answers before a restart count, too.
    runtime.kill9();
    let runtime = bundle.start(&llm);
    let hook = "http://127.0.0.1:9/hook";
    let body = json!({
        "message": "hi", "threshold_seconds": 0.03, "request_id": "r-1", "webhook_url": hook,
    });
    let (status, answer) = ask(&runtime, &body).await;
    assert_eq!(status, 202, "{answer}");
    let data = &answer["data"];
    assert!(data["estimated_seconds"].as_f64().unwrap() >= 0.03, "{answer}");
    assert_eq!(
        (&data["request_id"], &data["message"]["webhook_url"]),
        (&json!("r-1"), &json!(hook))
    );
    // Who says that it waits does.
    let body = json!({"message": "hi", "threshold_seconds": 0, "mode": "sync"});
    assert_eq!(ask(&runtime, &body).await.0, 200);
    // A stream stays one.
    let body = json!({"message": "hi", "threshold_seconds": 0, "stream": true});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    assert_eq!(frames.last().unwrap().0, "done");
}

#[tokio::test]
async fn nothing_is_estimated_where_nothing_is_known_or_nobody_wants_it() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let (status, answer) =
        ask(&runtime, &json!({"message": "hi", "threshold_seconds": 0.001})).await;
    assert_eq!(status, 200, "{answer}");
    // Nobody waits for nothing.
    let (status, answer) = ask(&runtime, &json!({"message": "hi", "threshold_seconds": 0})).await;
    assert_eq!((status, &answer["data"]["estimated_seconds"]), (202, &Value::Null), "{answer}");
    drop(runtime);

    let (_llm, _bundle, runtime) = slow("async: {enable_estimation: false}\n").await;
    let (status, answer) =
        ask(&runtime, &json!({"message": "hi", "threshold_seconds": 0.001})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn the_formation_has_a_threshold_of_its_own() {
    let (_llm, _bundle, runtime) = slow("async: {threshold_seconds: 0.03}\n").await;
    assert_eq!(ask(&runtime, &json!({"message": "hi"})).await.0, 202);
    let patient = json!({"message": "hi", "threshold_seconds": 3600, "session_id": "t"});
    assert_eq!(ask(&runtime, &patient).await.0, 200);
}
