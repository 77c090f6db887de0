//! Callers that leave while others wait for what they began.

use std::time::Duration;

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use serde_json::json;

use crate::harness::Frames;
use crate::later::ended;
use crate::tools::{calling, heard, serving};

#[tokio::test]
async fn a_request_accepted_for_later_goes_on_without_whoever_said_yes() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "So it is.", "gate": "told"}},
        {"reply": calling("fake__delete", &json!({"text": "a.txt"}))},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "Delete it", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    assert_eq!(ended(&runtime, "r-1").await["status"], "awaiting_clarification");
    let yes = json!({"message": "yes", "stream": true, "request_id": "r-2"});
    let mut frames = Frames::of(runtime.chat(&yes).send().await.unwrap());
    while frames.next().await.unwrap().1["token"]["stage"] != "tool_end" {}
    llm.wait_for(2, None).await;
    drop(frames);
    // Somebody else's caller who leaves is seen to have left, so this one was, too.
    let body = json!({"message": "Delete it", "stream": true, "session_id": "other"});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    while frames.next().await.is_some() {}
    llm.open_gate("told");
    // The first one waits until the second has its answer.
    while ended(&runtime, "r-1").await["status"] == "awaiting_clarification" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for id in ["r-1", "r-2"] {
        let request = ended(&runtime, id).await;
        assert_eq!(
            (&request["status"], &request["result"]),
            (&json!("completed"), &json!("So it is."))
        );
    }
    assert_eq!(heard(&bundle, "tools/call"), 1);
    assert!(llm.journal().iter().all(|it| it.outcome != Some(Outcome::ClientGone)));
}
