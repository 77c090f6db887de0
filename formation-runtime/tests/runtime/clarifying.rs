//! Questions back to the user: how often, how they are shown, and what is no answer to them.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::approving::{asked_for, decide, deletes};
use crate::harness::{Bundle, Frames, Runtime};
use crate::later::ask as api;
use crate::tools::{heard, serving};
use crate::turns::{ask, calls, content, decision, metadata, routes, team};

fn unclear(question: &str) -> Value {
    decision(
        "clarify",
        &json!({"clarification": {"question": question, "options": ["Rome", "Paris"]}}),
    )
}

/// Which city, and then whoever knows about it.
fn weather() -> Value {
    let found = decision("agent", &json!({"agent": "researcher"}));
    json!([
        routes("answered: Rome", &found),
        routes("answered: Paris", &found),
        routes("weather", &unclear("Which city?")),
        routes("poem", &decision("agent", &json!({"agent": "writer"}))),
        {"match": {"system_contains": "\"kind\""},
         "reply": {"text": decision("direct", &json!({"answer": "Hm?"})).to_string()}},
        {"match": {"contains": "answered: Rome", "system_contains": "I am researcher."},
         "reply": {"text": "Sunny"}},
        {"match": {"contains": "answered: Paris", "system_contains": "I am researcher."},
         "reply": {"text": "Rainy"}},
        {"match": {"system_contains": "I am writer."}, "reply": {"text": "A poem"}},
    ])
}

async fn status(runtime: &Runtime, id: &str) -> Value {
    let (_, request) = api(runtime, Method::GET, &format!("/v1/requests/{id}"), "alice").await;
    request["data"]["status"].clone()
}

#[tokio::test]
async fn a_question_is_answered_after_a_restart_and_its_request_ends() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team("")));
    llm.script(weather());
    let mut runtime = bundle.start(&llm);
    for (session, words) in
        [("words", json!({"message": "2"})), ("widget", json!({"message": "that one"}))]
    {
        let body = json!({"message": "How is the weather there?", "session_id": session,
            "request_id": format!("r-{session}")});
        let asked = ask(&runtime, &body).await;
        assert_eq!((content(&asked), calls(&asked)), ("Which city?", vec!["routing"]));
        assert_eq!(status(&runtime, &format!("r-{session}")).await, "awaiting_clarification");
        runtime.kill9();
        runtime = bundle.start(&llm);
        let mut reply = words;
        reply["session_id"] = json!(session);
        let widget = &asked["data"]["message"]["ui"][0]["id"];
        if session == "widget" {
            reply["ui_response"] = json!({"id": widget, "value": "Rome"});
        }
        let said = ask(&runtime, &reply).await;
        let expected = if session == "widget" { "Sunny" } else { "Rainy" };
        assert_eq!((content(&said), calls(&said)), (expected, vec!["routing", "answer"]));
        assert_eq!(status(&runtime, &format!("r-{session}")).await, "completed");
    }
}

#[tokio::test]
async fn so_many_questions_are_enough_and_then_the_work_goes_ahead() {
    for (rounds, answers) in [(2, &["Rome", "the old one"][..]), (0, &[])] {
        let more = format!("overlord: {{clarification: {{max_rounds: {{direct: {rounds}}}}}}}");
        let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team(&more)));
        llm.script(json!([
            {"match": {"system_contains": "\"kind\""}, "reply": {"text": unclear("Which?").to_string()}},
            {"reply": {"text": "I assume the usual"}},
        ]));
        let runtime = bundle.start(&llm);
        let body = json!({"message": "How is the weather there?", "request_id": "r-1"});
        let mut said = ask(&runtime, &body).await;
        for (round, answer) in answers.iter().enumerate() {
            assert_eq!(content(&said), "Which?");
            assert_eq!(metadata(&said)["pending"]["kind"], "clarification");
            assert_eq!(llm.journal().len(), round + 1);
            said = ask(&runtime, &json!({"message": answer})).await;
        }
        assert_eq!(content(&said), "I assume the usual", "{said}");
        assert_eq!(calls(&said), ["routing", "answer"]);
        assert_eq!(status(&runtime, "r-1").await, "completed");
        let last = llm.journal().last().unwrap().body["messages"].to_string();
        for answer in answers {
            assert!(last.contains(answer), "{last}");
        }
        assert_eq!(last.contains("No more questions can be asked"), rounds > 0, "{last}");
    }
}

#[tokio::test]
async fn a_question_is_left_by_a_word_and_by_another_matter() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team("")));
    llm.script(weather());
    let runtime = bundle.start(&llm);
    let poem = "Something else: write a poem about autumn leaves and old trees";
    for (words, said, ends, models) in [
        ("Never mind!", "All right, I leave it at that.", "completed", 0),
        (poem, "A poem", "cancelled", 2),
    ] {
        let (session, id) = (format!("s-{models}"), format!("r-{models}"));
        let body = json!({"message": "How is the weather there?", "session_id": session, "request_id": id});
        ask(&runtime, &body).await;
        let before = llm.journal().len();
        let answer = ask(&runtime, &json!({"message": words, "session_id": session})).await;
        assert_eq!(content(&answer), said, "{answer}");
        assert_eq!(llm.journal().len() - before, models);
        assert_eq!(status(&runtime, &id).await, ends);
        // Nothing waits any more.
        let next = ask(&runtime, &json!({"message": "Rome", "session_id": session})).await;
        assert_eq!(content(&next), "Hm?", "{next}");
    }
}

#[tokio::test]
async fn a_stream_shows_what_can_be_chosen_after_its_last_words() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team("")));
    llm.script(weather());
    let runtime = bundle.start(&llm);
    let body = json!({"message": "How is the weather there?", "stream": true});
    let frames = Frames::of(runtime.chat(&body).send().await.unwrap()).rest().await;
    let kinds: Vec<&str> = frames.iter().map(|(kind, _)| kind.as_str()).collect();
    let at = kinds.iter().position(|kind| *kind == "ui").expect("a frame of widgets");
    assert_eq!(at, frames.len() - 2, "{kinds:?}");
    let said = &frames[at - 1].1;
    assert!(said.to_string().contains("Which city?"), "{said}");
    let widgets = frames[at].1["ui"].as_array().unwrap();
    assert_eq!((widgets.len(), &widgets[0]["type"]), (1, &json!("options")));
    let values: Vec<_> =
        widgets[0]["options"].as_array().unwrap().iter().map(|it| &it["value"]).collect();
    assert_eq!(values, ["Rome", "Paris"]);
    let picked =
        json!({"message": "that one", "ui_response": {"id": widgets[0]["id"], "value": "Rome"}});
    assert_eq!(content(&ask(&runtime, &picked).await), "Sunny");
}

#[tokio::test]
async fn a_choice_of_another_question_is_no_answer_to_this_one() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    llm.script(deletes());
    let runtime = bundle.start(&llm);
    let widget = |asked: &Value| asked["data"]["message"]["ui"][0]["id"].clone();
    let earlier = ask(&runtime, &json!({"message": "Delete it"})).await;
    assert_eq!(content(&ask(&runtime, &json!({"message": "no"})).await), "So it is.");
    let asked = ask(&runtime, &json!({"message": "Delete it"})).await;
    let id = asked_for(&asked);
    for wrong in [widget(&earlier), json!("ui_never")] {
        let body = json!({"message": "yes", "ui_response": {"id": wrong, "value": "yes"}});
        assert_eq!(content(&ask(&runtime, &body).await), "What?");
        assert_eq!(heard(&bundle, "tools/call"), 0);
    }
    // It still waits for its own.
    let body = json!({"message": "Approve", "ui_response": {"id": widget(&asked), "value": "yes"}});
    assert_eq!(content(&ask(&runtime, &body).await), "So it is.");
    assert_eq!(heard(&bundle, "tools/call"), 1);
    assert_eq!(decide(&runtime, id, "alice", &json!({"decision": "approve"})).await.0, 409);

    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team("")));
    llm.script(weather());
    let runtime = bundle.start(&llm);
    ask(&runtime, &json!({"message": "How is the weather there?"})).await;
    let body = json!({"message": "Rome", "ui_response": {"id": "ui_never", "value": "Rome"}});
    assert_eq!(content(&ask(&runtime, &body).await), "Hm?");
    assert_eq!(content(&ask(&runtime, &json!({"message": "Rome"})).await), "Sunny");
}
