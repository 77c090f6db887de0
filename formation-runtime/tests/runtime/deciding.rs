//! Questions that are answered through the API of approvals: over a restart, in time, and once.

use muxi_service::Clock;
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::approving::{ASKS, BEGINS, asked_for, bundle_of_team, decide, deletes, routed_to_plan};
use crate::harness::{Bundle, manifest};
use crate::later::{ask as api, ended};
use crate::tools::{calling, heard, serving};
use crate::turns::{ask, content};
use crate::waiting::{WAITING, Waiting, waits};

fn about_tea(writes: &Value) -> Value {
    json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"has_tool_result": true}, "reply": {"text": "Tea, they say"}},
        {"match": {"contains": "Write about"}, "reply": writes},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant"}},
    ])
}

#[tokio::test]
async fn whatever_waits_for_a_yes_is_approved_through_the_api_after_a_restart() {
    let deletes_old = calling("fake__delete", &json!({"text": "old"}));
    for (what, bundle, script, message, said, made, models) in [
        ("a call", serving("normal", "delete", ""), deletes(), "Delete it", "So it is.", 1, 2),
        (
            "a plan",
            bundle_of_team(ASKS),
            about_tea(&json!({"text": "Tea, they say"})),
            "All of tea",
            "All about tea",
            0,
            4,
        ),
        (
            "a task of a plan",
            bundle_of_team(BEGINS),
            about_tea(&deletes_old),
            "All of tea",
            "All about tea",
            1,
            5,
        ),
    ] {
        let llm = FakeLlm::start().await;
        llm.script(script);
        let runtime = bundle.start(&llm);
        let asked = ask(&runtime, &json!({"message": message, "request_id": "r-1"})).await;
        let id = asked_for(&asked);
        runtime.kill9();

        let runtime = bundle.start(&llm);
        assert_eq!(heard(&bundle, "tools/call"), 0, "{what}");
        let (status, answer) = decide(&runtime, id, "alice", &json!({"decision": "approve"})).await;
        assert_eq!(status, 202, "{what}: {answer}");
        let request = ended(&runtime, "r-1").await;
        assert_eq!(request["status"], "completed", "{what}: {request}");
        assert!(request.to_string().contains(said), "{what}: {request}");
        assert_eq!(heard(&bundle, "tools/call"), made, "{what}");
        assert_eq!(llm.journal().len(), models, "{what}");
        let (_, approval) =
            api(&runtime, Method::GET, &format!("/v1/approvals/{id}"), "alice").await;
        assert_eq!(approval["data"]["status"], "approved", "{what}: {approval}");
    }
}

#[tokio::test]
async fn what_was_approved_is_done_once_by_the_next_process_if_this_one_had_not_begun() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    let mut script = deletes().as_array().unwrap().clone();
    script.insert(
        0,
        json!({"match": {"contains": "Take your time"}, "reply": {"text": "x", "gate": "never"}}),
    );
    llm.script(json!(script));
    let runtime = bundle.start(&llm);
    let asked = ask(&runtime, &json!({"message": "Delete it", "request_id": "r-1"})).await;
    // One that names its agent is no answer, and the next turn of the session waits for its end.
    let busy = json!({"message": "Take your time", "agent_id": "helper", "stream": true});
    let busy = runtime.chat(&busy).send().await.unwrap();
    llm.wait_for(2, None).await;
    let approve = json!({"decision": "approve"});
    assert_eq!(decide(&runtime, asked_for(&asked), "alice", &approve).await.0, 202);
    let (_, request) = api(&runtime, Method::GET, "/v1/requests/r-1", "alice").await;
    assert_eq!(request["data"]["status"], "pending", "{request}");
    runtime.kill9();
    drop(busy);

    let runtime = bundle.start(&llm);
    assert_eq!(ended(&runtime, "r-1").await["status"], "completed");
    assert_eq!(heard(&bundle, "tools/call"), 1);
    assert_eq!(decide(&runtime, asked_for(&asked), "alice", &approve).await.0, 409);
}

#[tokio::test]
async fn what_is_over_can_be_approved_by_nobody() {
    let now_ms = Clock::system().now_ms();
    // One was looked at by the process that starts, the other one runs out under its eyes.
    for expires_ms in [now_ms - 1, now_ms + 1_500] {
        let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
        llm.script(json!([{"reply": {"text": "Yes what?"}}]));
        waits(&bundle.store(), &Waiting { expires_ms, ..WAITING }).await;
        let runtime = bundle.start(&llm);
        let approval = || api(&runtime, Method::GET, "/v1/approvals/apv_alice", "alice");
        while approval().await.1["data"]["status"] == "open" {
            tokio::task::yield_now().await;
        }
        let approve = json!({"decision": "approve"});
        let (status, refused) = decide(&runtime, "apv_alice", "alice", &approve).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("CONFLICT")), "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("expired"), "{message}");
        let said = ask(&runtime, &json!({"message": "yes"})).await;
        assert_eq!(content(&said), "Yes what?");
        assert_eq!(llm.journal().len(), 1);
        assert_eq!(approval().await.1["data"]["status"], "expired");
    }
}

#[tokio::test]
async fn of_two_who_approve_at_once_one_is_heard() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    llm.script(deletes());
    let runtime = bundle.start(&llm);
    let approve = json!({"decision": "approve"});
    for round in 1..=4 {
        let (session, request) = (format!("s-{round}"), format!("r-{round}"));
        let body = |message: &str| json!({"message": message, "session_id": session.as_str()});
        let mut first = body("Delete it");
        first["request_id"] = json!(request);
        let asked = ask(&runtime, &first).await;
        let id = asked_for(&asked);
        let post = || decide(&runtime, id, "alice", &approve);
        let one_more = async {
            // Once two through the API, and once one of them in the session.
            if round % 2 == 0 {
                let (status, answer) = post().await;
                assert!(status == 202 || answer["error"]["code"] == "CONFLICT", "{answer}");
                status == 202
            } else {
                let said = ask(&runtime, &body("yes")).await;
                assert!(["So it is.", "What?"].contains(&content(&said)), "{said}");
                content(&said) == "So it is."
            }
        };
        let ((status, answer), other_won) = tokio::join!(post(), one_more);
        assert!(status == 202 || answer["error"]["code"] == "CONFLICT", "{answer}");
        assert_eq!(u32::from(status == 202) + u32::from(other_won), 1, "{round}: {answer}");
        assert_eq!(ended(&runtime, &request).await["status"], "completed");
        assert_eq!(heard(&bundle, "tools/call"), round);
    }
}
