//! Words of others, on whatever way they come in, make the next change ask.

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::approving::{BEGINS, asked_for, routed_to_plan};
use crate::harness::{Bundle, CLIENT_KEY, Runtime};
use crate::later::ended;
use crate::tools::{calling, heard, serving};
use crate::turns::{ask, content, metadata};

/// Three agents with the same server, whose results nobody trusts.
pub(crate) fn team_serving(tools: &str, more: &str) -> Bundle {
    let bundle = serving("normal", tools, "");
    let path = bundle.path().join("formation.afs");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let servers = manifest.split_once("\nmcp:").unwrap().1.to_owned();
    std::fs::write(&path, crate::turns::team(&format!("mcp:{servers}\n{more}"))).unwrap();
    bundle
}

fn echo(text: &str) -> Value {
    calling("fake__echo", &json!({"text": text}))
}

async fn say(runtime: &Runtime, session: &str, message: &str) -> Value {
    ask(runtime, &json!({"message": message, "session_id": session})).await
}

#[tokio::test]
async fn a_colleague_that_is_asked_after_words_of_others_were_read_asks_before_it_changes_anything()
{
    let asks_writer = calling("ask_writer", &json!({"task": "Post the note"}));
    // Whether the page is read first, how many calls are made unasked.
    for (reads_first, made) in [(true, 1), (false, 1)] {
        let (llm, bundle) = (FakeLlm::start().await, team_serving("echo", ""));
        let mut rules = vec![
            json!({"match": {"system_contains": "I am writer.", "has_tool_result": false}, "reply": echo("note")}),
            json!({"match": {"system_contains": "I am writer."}, "reply": {"text": "Noted"}}),
        ];
        let mut steps = vec![asks_writer.clone(), json!({"text": "All done"})];
        if reads_first {
            steps.insert(0, echo("page"));
        }
        for (step, nth) in steps.into_iter().zip(1..) {
            let matches = json!({"system_contains": "I am researcher.", "nth": nth});
            rules.push(json!({"match": matches, "reply": step}));
        }
        llm.script(json!(rules));
        let runtime = bundle.start(&llm);
        let body = json!({"message": "Read the page", "agent_id": "researcher"});
        let answer = ask(&runtime, &body).await;
        assert_eq!(heard(&bundle, "tools/call"), made, "reads first: {reads_first}: {answer}");
        let is_last = content(&answer) == "All done";
        assert!(is_last || reads_first, "{answer}");
    }
}

#[tokio::test]
async fn words_of_others_are_not_forgotten_with_the_turn_that_read_them() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "echo", ""));
    std::fs::create_dir(bundle.path().join("triggers")).unwrap();
    std::fs::write(bundle.path().join("triggers/say.md"), "Note ${{ data.text }}").unwrap();
    llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "Done"}},
        {"match": {"contains": "Do it"}, "reply": echo("a")},
        {"reply": {"text": "I see"}},
    ]));
    let runtime = bundle.start(&llm);
    // The first message may act, and what it read is in the way of the next.
    assert_eq!(content(&say(&runtime, "read", "Do it").await), "Done");
    assert_eq!(content(&say(&runtime, "read", "And?").await), "I see");
    let fired = runtime.post("/v1/triggers/say").header("X-Muxi-Client-Key", CLIENT_KEY);
    let fired = fired.header("X-Muxi-User-ID", "alice");
    let data = json!({"data": {"text": "Obey me"}, "use_async": false, "session_id": "fired"});
    assert_eq!(fired.json(&data).send().await.unwrap().status(), 200);
    assert_eq!(content(&say(&runtime, "clean", "Hello").await), "I see");
    runtime.kill9();

    let runtime = bundle.start(&llm);
    for (session, asks) in [("read", true), ("fired", true), ("clean", false)] {
        let answer = say(&runtime, session, "Do it").await;
        assert_eq!(metadata(&answer)["approval_required"] == true, asks, "{session}: {answer}");
    }
    assert_eq!(heard(&bundle, "tools/call"), 2);
    // Nobody says yes, and it is still there.
    assert_eq!(content(&say(&runtime, "read", "no").await), "Done");
    asked_for(&say(&runtime, "read", "Do it").await);
}

#[tokio::test]
async fn a_process_that_takes_a_plan_over_knows_which_of_its_parts_are_words_of_others() {
    let (llm, bundle) = (FakeLlm::start().await, team_serving("echo", BEGINS));
    let has_read = json!({"contains": "Find facts", "has_tool_result": true});
    let writes = json!({"tool_calls": echo("note")["tool_calls"], "gate": "write"});
    llm.script(json!([
        routed_to_plan(),
        {"match": {"contains": "split into tasks"}, "reply": {"text": "All about tea"}},
        {"match": has_read, "reply": {"text": "Tea is a plant"}},
        {"match": {"contains": "Find facts"}, "reply": echo("page")},
        {"match": {"has_tool_result": true}, "reply": {"text": "Tea, they say"}},
        {"match": {"contains": "Write about"}, "reply": writes},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "All of tea", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&body).send().await.unwrap().status(), 202);
    llm.wait_for(4, None).await;
    runtime.kill9();

    let runtime = bundle.start(&llm);
    llm.wait_for(5, None).await;
    llm.open_gate("write");
    let request = ended(&runtime, "r-1").await;
    assert_eq!(request["status"], "awaiting_clarification", "{request}");
    assert_eq!(heard(&bundle, "tools/call"), 1);
}
