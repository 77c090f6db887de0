//! Plans of accepted requests that are cut off in the middle: the next process goes on with them, and no
//! task that is done is done again.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::approving::{BEGINS, bundle_of_team, decide, routed_to_plan};
use crate::harness::{CLIENT_KEY, Runtime};
use crate::later::{RECEIVERS_HERE, Receiver, Reply, ask as api, ended};
use crate::tools::{calling, heard};
use crate::turns::{ask, metadata};

/// How often a model was asked to do what the words say.
fn asked_for(llm: &FakeLlm, words: &str) -> usize {
    let instruction = |entry: &Value| {
        let last = entry["messages"].as_array().unwrap().iter().rev();
        let mut said = last.filter(|it| it["role"] == "user");
        said.next().is_some_and(|it| it["content"].to_string().starts_with(&format!("\"{words}")))
    };
    llm.journal().iter().filter(|it| instruction(&it.body)).count()
}

async fn accepted(runtime: &Runtime, id: &str, message: &str, url: &str) {
    let body = json!({
        "message": message, "mode": "async", "request_id": id, "webhook_url": url,
    });
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
}

/// The plan's second task is at work until its gate is opened.
fn stuck_in_the_second_task() -> Value {
    json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"contains": "Write about"}, "reply": {"text": "Tea, they say", "gate": "write"}},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant"}},
        {"reply": {"text": "Other"}},
    ])
}

/// That nothing more was told than what the test has read.
async fn nothing_more_is_told(runtime: &Runtime, receiver: &mut Receiver) {
    accepted(runtime, "r-last", "@general hi", &receiver.url).await;
    assert_eq!(receiver.next().await.1["id"], "r-last");
}

async fn explanation(runtime: &Runtime, id: &str) -> Value {
    let path = format!("/v1/requests/{id}/explanation");
    api(runtime, Method::GET, &path, "alice").await.1["data"].clone()
}

#[tokio::test]
async fn a_plan_goes_on_in_one_process_after_the_other_and_repeats_no_finished_task() {
    let bundle = bundle_of_team(&format!("{BEGINS}\n{RECEIVERS_HERE}"));
    let (llm, mut receiver) =
        (FakeLlm::start().await, Receiver::start(vec![Reply::Status(200)]).await);
    llm.script(stuck_in_the_second_task());
    let mut runtime = bundle.start(&llm);
    accepted(&runtime, "r-1", "All of tea", &receiver.url).await;
    for calls in [3, 4, 5] {
        llm.wait_for(calls, None).await;
        runtime.kill9();
        runtime = bundle.start(&llm);
    }
    llm.wait_for(6, None).await;
    llm.open_gate("write");
    let request = ended(&runtime, "r-1").await;
    assert_eq!(request["status"], "completed", "{request}");
    assert!(request.to_string().contains("All about tea"), "{request}");
    let counts = ["All of tea", "Find facts", "Write about"].map(|it| asked_for(&llm, it));
    assert_eq!(counts, [1, 1, 4]);
    assert_eq!(llm.journal().len(), 7);
    let (_, told) = receiver.next().await;
    assert_eq!((&told["id"], &told["status"]), (&json!("r-1"), &json!("completed")));
    nothing_more_is_told(&runtime, &mut receiver).await;
    let explained = explanation(&runtime, "r-1").await;
    let tasks: Vec<_> = explained["tasks"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(tasks, ["find", "tell"], "{explained}");
    // What each process decided is told, that of those that died, too.
    let decisions = explained["decisions"].as_array().unwrap();
    let choices = |step: &str| -> Vec<&str> {
        let of_step = decisions.iter().filter(|it| it["step"] == step);
        of_step.map(|it| it["choice"].as_str().unwrap()).collect()
    };
    assert_eq!(choices("plan")[..2], ["workflow", "taken over"], "{explained}");
}

#[tokio::test]
async fn a_plan_that_was_approved_goes_on_too_and_both_requests_are_told() {
    let asks = BEGINS.replace("never", "8");
    for through_api in [true, false] {
        let bundle = bundle_of_team(&format!("{asks}\n{RECEIVERS_HERE}"));
        let (llm, mut receiver) =
            (FakeLlm::start().await, Receiver::start(vec![Reply::Status(200)]).await);
        llm.script(stuck_in_the_second_task());
        let runtime = bundle.start(&llm);
        accepted(&runtime, "r-1", "All of tea", &receiver.url).await;
        let (_, told) = receiver.next().await;
        assert_eq!(told["status"], "awaiting_clarification", "{told}");
        let (_, listed) = api(&runtime, Method::GET, "/v1/approvals", "alice").await;
        let id = listed["data"]["approvals"][0]["id"].as_str().unwrap();
        if through_api {
            let approve = json!({"decision": "approve"});
            assert_eq!(decide(&runtime, id, "alice", &approve).await.0, 202);
        } else {
            accepted(&runtime, "r-2", "yes", &receiver.url).await;
        }
        llm.wait_for(3, None).await;
        runtime.kill9();

        let runtime = bundle.start(&llm);
        llm.wait_for(4, None).await;
        llm.open_gate("write");
        let mut both = vec![receiver.next().await.1];
        if !through_api {
            both.push(receiver.next().await.1);
        }
        both.sort_by_key(|it| it["id"].to_string());
        let expected = if through_api { &["r-1"][..] } else { &["r-1", "r-2"] };
        assert_eq!(both.iter().map(|it| &it["id"]).collect::<Vec<_>>(), expected);
        assert!(both.iter().all(|it| it["status"] == "completed"), "{both:?}");
        for id in expected {
            assert_eq!(ended(&runtime, id).await["status"], "completed");
        }
        let counts = ["All of tea", "Find facts", "Write about"].map(|it| asked_for(&llm, it));
        assert_eq!(counts, [1, 1, 2]);
        nothing_more_is_told(&runtime, &mut receiver).await;
    }
}

#[tokio::test]
async fn a_call_that_was_allowed_once_is_not_made_again_by_the_process_that_takes_over() {
    let (llm, bundle) = (FakeLlm::start().await, bundle_of_team(BEGINS));
    llm.script(json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"has_tool_result": true}, "reply": {"text": "Tea, they say", "gate": "write"}},
        {"match": {"contains": "Write about"}, "reply": calling("fake__delete", &json!({"text": "old"}))},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant"}},
    ]));
    let runtime = bundle.start(&llm);
    let asked = ask(&runtime, &json!({"message": "All of tea", "request_id": "r-1"})).await;
    let first = metadata(&asked)["pending"]["id"].as_str().unwrap();
    let approve = json!({"decision": "approve"});
    assert_eq!(decide(&runtime, first, "alice", &approve).await.0, 202);
    // The call is made, and its task is not done yet.
    llm.wait_for(4, None).await;
    assert_eq!(heard(&bundle, "tools/call"), 1);
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let waits = ended(&runtime, "r-1").await;
    assert_eq!(waits["status"], "awaiting_clarification", "{waits}");
    let second = waits["waits_for"]["id"].as_str().unwrap();
    assert_ne!(first, second);
    assert_eq!(heard(&bundle, "tools/call"), 1);
    assert_eq!(asked_for(&llm, "Find facts"), 1);
    let deny = json!({"decision": "deny"});
    assert_eq!(decide(&runtime, second, "alice", &deny).await.0, 202);
    llm.open_gate("write");
    assert_eq!(ended(&runtime, "r-1").await["status"], "completed");
    assert_eq!(heard(&bundle, "tools/call"), 1);
}

#[tokio::test]
async fn a_caller_that_waited_begins_again_and_who_asked_first_is_told_so() {
    let asks = BEGINS.replace("never", "8");
    let bundle = bundle_of_team(&format!("{asks}\n{RECEIVERS_HERE}"));
    let (llm, mut receiver) =
        (FakeLlm::start().await, Receiver::start(vec![Reply::Status(200)]).await);
    llm.script(stuck_in_the_second_task());
    let runtime = bundle.start(&llm);
    accepted(&runtime, "r-1", "All of tea", &receiver.url).await;
    assert_eq!(receiver.next().await.1["status"], "awaiting_clarification");
    let yes = json!({"message": "yes", "request_id": "r-2", "stream": false});
    let answer = tokio::select! {
        _ = llm.wait_for(3, None) => None,
        answer = runtime.chat(&yes).send() => Some(answer),
    };
    assert!(answer.is_none(), "{answer:?}");
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let (_, told) = receiver.next().await;
    assert_eq!((&told["id"], &told["status"]), (&json!("r-1"), &json!("failed")), "{told}");
    for id in ["r-1", "r-2"] {
        assert_eq!(ended(&runtime, id).await["status"], "failed");
    }
    nothing_more_is_told(&runtime, &mut receiver).await;
}

#[tokio::test]
async fn a_task_that_waits_for_its_user_does_not_use_up_its_time() {
    let workflow = BEGINS.replace(
        "plan_approval",
        "timeouts: {task_timeout: 1}, error_recovery: skip_and_continue, plan_approval",
    );
    let (llm, bundle) = (FakeLlm::start().await, bundle_of_team(&workflow));
    let mut routes = routed_to_plan();
    let mut decision: Value =
        serde_json::from_str(routes["reply"]["text"].as_str().unwrap()).unwrap();
    decision["tasks"][1]["depends_on"] = json!([]);
    routes["reply"]["text"] = json!(decision.to_string());
    llm.script(json!([
        routes,
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"has_tool_result": true}, "reply": {"text": "Tea, they say"}},
        {"match": {"contains": "Write about"}, "reply": calling("fake__delete", &json!({"text": "old"}))},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant", "gate": "find"}},
    ]));
    let runtime = bundle.start(&llm);
    // The other task runs out of its own time meanwhile.
    let asked = ask(&runtime, &json!({"message": "All of tea"})).await;
    assert_eq!(metadata(&asked)["approval_required"], true, "{asked}");
    llm.open_gate("find");
    let done = ask(&runtime, &json!({"message": "yes"})).await;
    assert_eq!(crate::turns::content(&done), "All about tea", "{done}");
    assert!(done["data"]["warnings"].as_array().is_none_or(Vec::is_empty), "{done}");
    assert_eq!(heard(&bundle, "tools/call"), 1);
    let request = runtime.get("/v1/requests?user_id=alice").header("X-Muxi-Client-Key", CLIENT_KEY);
    let listed: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"]["count"], 2, "{listed}");
}
