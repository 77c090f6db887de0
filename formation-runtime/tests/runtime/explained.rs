//! `/explanation` tells what came of a request while it runs, after its end, and after a `kill -9`.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::approving::{BEGINS, asked_for, bundle_of_team, decide, routed_to_plan};
use crate::harness::{ADMIN_KEY, Runtime};
use crate::later::{ask as api, ended};
use crate::tools::{calling, heard, serving};
use crate::turns::{ask, content};

async fn explained(runtime: &Runtime, id: &str) -> Value {
    let path = format!("/v1/requests/{id}/explanation");
    api(runtime, Method::GET, &path, "alice").await.1["data"].clone()
}

/// Each of the list's values under this name.
fn each<'a>(explained: &'a Value, list: &str, name: &str) -> Vec<&'a str> {
    explained[list].as_array().unwrap().iter().map(|it| it[name].as_str().unwrap()).collect()
}

/// What is asked for until it is as it is to be; the test's time ends a wait that never does.
async fn explained_until(runtime: &Runtime, id: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    loop {
        let explained = explained(runtime, id).await;
        if explained.is_object() && is_right(&explained) {
            return explained;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_plan_is_told_while_it_runs_and_with_all_its_ends_and_callers_later() {
    let skips = BEGINS.replace("plan_approval", "error_recovery: skip_and_continue, plan_approval");
    let (llm, bundle) = (FakeLlm::start().await, bundle_of_team(&skips));
    llm.script(json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "Half of tea"}},
        {"match": {"contains": "Write about"}, "reply": {"text": ""}},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant", "gate": "find"}},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "All of tea", "request_id": "r-1"});
    let asking = ask(&runtime, &body);
    let looking = async {
        llm.wait_for(2, None).await;
        let is_right =
            |it: &Value| it["model_calls"].as_array().is_some_and(|calls| calls.len() == 1);
        let running = explained_until(&runtime, "r-1", is_right).await;
        assert!(each(&running, "decisions", "choice").contains(&"workflow"), "{running}");
        assert_eq!((&running["status"], &running["tasks"]), (&json!("processing"), &json!([])));
        llm.open_gate("find");
    };
    let (answer, ()) = tokio::join!(asking, looking);
    assert!(content(&answer).starts_with("Half of tea"), "{answer}");

    let explained = explained(&runtime, "r-1").await;
    assert_eq!(each(&explained, "tasks", "id"), ["find", "tell"]);
    assert_eq!(each(&explained, "tasks", "status"), ["completed", "failed"]);
    let callers = each(&explained, "model_calls", "agent_id");
    assert_eq!(callers, ["overlord", "researcher", "writer", "overlord"], "{explained}");
    let times = each(&explained, "decisions", "at");
    assert!(times.is_sorted() && times.first() < times.last(), "{explained}");
    let usage = runtime.get("/v1/usage?group_by=agent").header("X-Muxi-Admin-Key", ADMIN_KEY);
    let usage: Value = usage.send().await.unwrap().json().await.unwrap();
    let mut groups: Vec<_> = usage["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["agent"].as_str().unwrap())
        .collect();
    groups.sort_unstable();
    assert_eq!(groups, ["overlord", "researcher", "writer"], "{usage}");
}

#[tokio::test]
async fn what_was_done_before_a_kill_is_told_after_it() {
    let (llm, bundle) = (FakeLlm::start().await, bundle_of_team(BEGINS));
    llm.script(json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"contains": "Write about"}, "reply": {"text": "Tea, they say", "gate": "write"}},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant"}},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "All of tea", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    llm.wait_for(3, None).await;
    let is_right = |it: &Value| it["model_calls"].as_array().is_some_and(|calls| calls.len() == 2);
    let before = explained_until(&runtime, "r-1", is_right).await;
    runtime.kill9();

    let runtime = bundle.start(&llm);
    llm.open_gate("write");
    let request = ended(&runtime, "r-1").await;
    assert_eq!(request["status"], "completed", "{request}");
    let after = explained(&runtime, "r-1").await;
    let callers = each(&after, "model_calls", "agent_id");
    assert_eq!(callers, ["overlord", "researcher", "writer", "overlord"], "{after}");
    assert!(each(&after, "decisions", "choice").contains(&"workflow"), "{after}");
    let tokens = |it: &Value| it["usage"]["total_tokens"].as_u64().unwrap();
    assert!(tokens(&after) > tokens(&before) && tokens(&before) > 0, "{before} {after}");
    assert_eq!(request["usage"], after["usage"], "{request}");
}

#[tokio::test]
async fn a_call_that_may_change_something_is_told_after_a_kill() {
    let allowed = "approvals: {rules: [{tool: fake/delete, action: allow}]}";
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", allowed));
    llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "So it is.", "gate": "never"}},
        {"reply": calling("fake__delete", &json!({"text": "a.txt"}))},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "Delete it", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    llm.wait_for(2, None).await;
    runtime.kill9();

    let runtime = bundle.start(&llm);
    assert_eq!(ended(&runtime, "r-1").await["status"], "failed");
    let explained = explained(&runtime, "r-1").await;
    assert_eq!(each(&explained, "tools_called", "tool"), ["fake__delete"], "{explained}");
    assert_eq!(heard(&bundle, "tools/call"), 1);
}

#[tokio::test]
async fn what_asked_is_told_with_its_rule_and_the_usage_of_what_goes_on_is_added() {
    let asks = "approvals: {rules: [{tool: fake/delete, action: ask}]}";
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", asks));
    llm.script(crate::approving::deletes());
    let runtime = bundle.start(&llm);
    let asked = ask(&runtime, &json!({"message": "Delete it", "request_id": "r-1"})).await;
    let (_, waits) = api(&runtime, Method::GET, "/v1/requests/r-1", "alice").await;
    let while_waiting = waits["data"]["usage"]["total_tokens"].as_u64().unwrap();
    let id = asked_for(&asked);
    assert_eq!(decide(&runtime, id, "alice", &json!({"decision": "approve"})).await.0, 202);
    let request = ended(&runtime, "r-1").await;
    let explained = explained(&runtime, "r-1").await;
    assert!(request["usage"]["total_tokens"].as_u64().unwrap() > while_waiting, "{request}");
    assert_eq!(request["usage"], explained["usage"], "{request} {explained}");
    let decisions = explained["decisions"].as_array().unwrap();
    let asked = decisions.iter().find(|it| it["step"] == "approval").unwrap();
    assert_eq!(asked["choice"], "asked", "{asked}");
    let why = asked["reason"].as_str().unwrap();
    assert!(
        why.contains("fake__delete") && why.contains("rule 1 (fake/delete) says ask"),
        "{asked}"
    );
    assert_eq!(each(&explained, "tools_called", "outcome"), ["it answered"], "{explained}");
}
