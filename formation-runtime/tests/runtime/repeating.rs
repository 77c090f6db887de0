//! What a task has done is not done again when the task is tried again.

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::approving::{BEGINS, bundle_of_team, routed_to_plan};
use crate::tools::{calling, heard};
use crate::turns::{ask, content};

const MAY_DELETE: &str = "approvals: {rules: [{tool: fake/delete, action: allow}]}";

/// The writer deletes, and the call of its model after that fails once.
fn fails_after_the_call() -> Value {
    json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": {"contains": "Write about", "has_tool_result": true, "nth": 1}, "reply": {"status": 503}},
        {"match": {"contains": "Write about", "has_tool_result": true}, "reply": {"text": "Tea, they say"}},
        {"match": {"contains": "Write about", "offers_tool": "fake__delete"},
         "reply": calling("fake__delete", &json!({"text": "old"}))},
        {"match": {"contains": "Write about"}, "reply": {"text": "I cannot delete"}},
        {"match": {"contains": "Find facts"}, "reply": {"text": "Tea is a plant"}},
    ])
}

#[tokio::test]
async fn a_task_whose_model_failed_goes_on_after_what_it_called() {
    let bundle = bundle_of_team(&format!("{BEGINS}\n{MAY_DELETE}"));
    let llm = FakeLlm::start().await;
    llm.script(fails_after_the_call());
    let runtime = bundle.start(&llm);
    let answer = ask(&runtime, &json!({"message": "All of tea"})).await;
    assert_eq!((content(&answer), &answer["data"]["warnings"]), ("All about tea", &Value::Null));
    assert_eq!(heard(&bundle, "tools/call"), 1);
    let journal = llm.journal();
    let told = journal.last().unwrap().body["messages"].to_string();
    assert!(told.contains("Tea, they say"), "{told}");
    // Routing, two tasks of which one took three calls, and the answer.
    assert_eq!(journal.len(), 6);
}

#[tokio::test]
async fn another_agent_does_not_begin_what_has_changed_something() {
    let alternate =
        BEGINS.replace("plan_approval", "error_recovery: retry_with_alternate, plan_approval");
    let bundle = bundle_of_team(&format!("{alternate}\n{MAY_DELETE}"));
    let llm = FakeLlm::start().await;
    llm.script(fails_after_the_call());
    let runtime = bundle.start(&llm);
    let answer = ask(&runtime, &json!({"message": "All of tea"})).await;
    let words = content(&answer);
    assert!(words.starts_with("All about tea\n\nNot everything could be done:"), "{answer}");
    assert!(words.contains("it had called fake__delete already"), "{answer}");
    assert_eq!(heard(&bundle, "tools/call"), 1);
}
