//! What counts as a yes, to what, and what holds after it.

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::approving::{asked_for, decide, deletes};
use crate::harness::Runtime;
use crate::later::ended;
use crate::tainting::team_serving;
use crate::tools::{calling, heard, results, serving};
use crate::turns::{ask, content};

async fn say(runtime: &Runtime, message: &str, more: &Value) -> Value {
    let mut body = json!({"message": message});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask(runtime, &body).await
}

#[tokio::test]
async fn a_yes_is_meant_for_the_question_that_was_asked_last() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    llm.script(deletes());
    let runtime = bundle.start(&llm);
    let asked = say(&runtime, "Delete it", &json!({"request_id": "r-1"})).await;
    let id = asked_for(&asked);
    // Somebody else asks something in between.
    assert_eq!(content(&say(&runtime, "And you?", &json!({"agent_id": "helper"})).await), "What?");
    assert_eq!(content(&say(&runtime, "yes", &json!({})).await), "What?");
    assert_eq!(heard(&bundle, "tools/call"), 0);
    assert_eq!(decide(&runtime, id, "alice", &json!({"decision": "approve"})).await.0, 202);
    assert_eq!(ended(&runtime, "r-1").await["status"], "completed");
    assert_eq!(heard(&bundle, "tools/call"), 1);
}

#[tokio::test]
async fn what_a_skill_allows_still_counts_after_a_yes() {
    let more = "skills: [careful]";
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete, echo", more));
    let skill = bundle.path().join("skills/careful");
    std::fs::create_dir_all(&skill).unwrap();
    let text = "---\nname: careful\ndescription: Be careful\nallowed-tools: fake/delete\n---\nBe careful.\n";
    std::fs::write(skill.join("SKILL.md"), text).unwrap();
    llm.script(json!([
        {"match": {"nth": 1}, "reply": calling("activate_skill", &json!({"name": "careful"}))},
        {"match": {"nth": 2}, "reply": calling("fake__delete", &json!({"text": "a.txt"}))},
        {"match": {"nth": 3}, "reply": calling("fake__echo", &json!({"text": "after"}))},
        {"reply": {"text": "End"}},
    ]));
    let runtime = bundle.start(&llm);
    asked_for(&say(&runtime, "Go", &json!({})).await);
    assert_eq!(content(&say(&runtime, "yes", &json!({})).await), "End");
    assert_eq!(heard(&bundle, "tools/call"), 1);
    let read = results(&llm, 3);
    assert!(read.contains("the skill `careful` does not list it"), "{read}");
}

#[tokio::test]
async fn what_a_colleague_wants_to_do_is_asked_for_and_done_after_a_yes_over_a_restart() {
    let (llm, bundle) = (FakeLlm::start().await, team_serving("delete", ""));
    llm.script(json!([
        {"match": {"system_contains": "I am writer.", "has_tool_result": false},
         "reply": calling("fake__delete", &json!({"text": "a.txt"}))},
        {"match": {"system_contains": "I am writer."}, "reply": {"text": "It is gone"}},
        {"match": {"has_tool_result": false}, "reply": calling("ask_writer", &json!({"task": "Delete it"}))},
        {"reply": {"text": "The writer says so."}},
    ]));
    for (verdict, calls) in [("yes", 1), ("no", 1)] {
        let runtime = bundle.start(&llm);
        let more = json!({"agent_id": "researcher", "session_id": verdict});
        let asked = say(&runtime, "Have it deleted", &more).await;
        asked_for(&asked);
        let question = content(&asked);
        assert!(question.contains("`fake__delete`") && question.contains("a.txt"), "{question}");
        assert!(question.contains("writer"), "{question}");
        runtime.kill9();
        let runtime = bundle.start(&llm);
        let done = say(&runtime, verdict, &json!({"session_id": verdict})).await;
        assert_eq!(content(&done), "The writer says so.", "{done}");
        assert_eq!(heard(&bundle, "tools/call"), calls);
        let read = results(&llm, llm.journal().len() - 2);
        assert_eq!(read.contains("did not allow this call"), verdict == "no", "{read}");
    }
}
