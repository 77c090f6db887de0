//! Each way that a turn can go is told afterwards, with its reason; and a session stays with its agent.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Bundle, Runtime, manifest};
use crate::later::ask as api;
use crate::turns::{BIG, PROCEDURE, ask, content, decision, metadata, routes, team, workflow};

async fn explanation(runtime: &Runtime, id: &str) -> Value {
    let path = format!("/v1/requests/{id}/explanation");
    let (status, answer) = api(runtime, Method::GET, &path, "alice").await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

const BEGINS: &str =
    "overlord: {workflow: {plan_approval_threshold: never, complexity_method: llm}}";

#[tokio::test]
async fn each_way_that_a_turn_can_go_is_explained() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team(BEGINS)));
    std::fs::create_dir(bundle.path().join("sops")).unwrap();
    std::fs::write(bundle.path().join("sops/onboard.md"), PROCEDURE).unwrap();
    let unclear = json!({"clarification": {"question": "Which city?", "options": []}});
    llm.script(json!([
        routes("haiku", &decision("agent", &json!({"agent": "writer"}))),
        routes("Thanks", &decision("direct", &json!({"answer": "You are welcome."}))),
        routes("Research tea", &workflow()),
        routes("weather", &decision("clarify", &unclear)),
        {"match": {"system_contains": "\"kind\""}, "reply": {"text": "I do not know JSON"}},
        {"reply": {"text": "Said"}},
    ]));
    let runtime = bundle.start(&llm);
    let named = json!({"message": "Write", "agent_id": "researcher"});
    let said = |message: &str| json!({"message": message});
    let ways = [
        ("named", named, "agent researcher: the request names this agent", "researcher", 1),
        ("mention", said("@writer hi"), "agent writer: the message begins with", "writer", 1),
        (
            "procedure",
            said("/onboard Ada"),
            "procedure onboard: the message begins with",
            "writer",
            2,
        ),
        (
            "likeness",
            said("Please onboard the new employee Ada in our company"),
            "procedure onboard: ",
            "writer",
            2,
        ),
        ("routed", said("A haiku please"), "agent writer: ", "writer", 2),
        (
            "cached",
            said("a haiku, please!"),
            "agent writer: the same question was routed",
            "writer",
            1,
        ),
        ("scored", said("Find facts in sources about tea"), "agent researcher: ", "researcher", 2),
        ("direct", said("Thanks a lot!"), "agent none: no agent is needed", "", 1),
        ("plan", said(BIG), "plan workflow: the message was split into 2 tasks", "writer", 4),
        ("clarify", said("How is the weather there?"), "clarification asked: ", "", 1),
    ];
    for (way, mut body, expected, agent, models) in ways {
        body["session_id"] = json!(way);
        body["request_id"] = json!(format!("r-{way}"));
        let before = llm.journal().len();
        let answer = ask(&runtime, &body).await;
        assert_eq!(llm.journal().len() - before, models, "{way}: {answer}");
        let explained = explanation(&runtime, &format!("r-{way}")).await;
        let decisions = explained["decisions"].as_array().unwrap();
        let word = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
        let told: Vec<String> = decisions
            .iter()
            .map(|it| {
                format!("{} {}: {}", word(it, "step"), word(it, "choice"), word(it, "reason"))
            })
            .collect();
        assert!(told.iter().any(|it| it.starts_with(expected)), "{way}: {told:#?}");
        assert_eq!(explained["agent_id"].as_str().unwrap_or_default(), agent, "{way}: {explained}");
        // All calls are counted, of whatever agent.
        let used = &explained["usage"]["total_tokens"];
        assert!(used.as_u64().unwrap() > 0, "{way}: {explained}");
        let shown = metadata(&answer)["decisions"].as_array().unwrap();
        assert_eq!(shown.len(), decisions.len(), "{way}: the answer tells the same");
    }
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    ask(&runtime, &json!({"message": "hi", "request_id": "r-only"})).await;
    let explained = explanation(&runtime, "r-only").await;
    let only = &explained["decisions"][0];
    assert_eq!((&only["choice"], &explained["agent_id"]), (&json!("helper"), &json!("helper")));
    assert!(only["reason"].as_str().unwrap().contains("only agent"), "{only}");
}

#[tokio::test]
async fn a_session_stays_with_the_agent_that_answered_last() {
    for stays in [true, false] {
        let more = format!("overlord: {{workflow: {{enable_agent_affinity: {stays}}}}}");
        let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team(&more)));
        llm.script(json!([
            routes("haiku", &decision("agent", &json!({"agent": "writer"}))),
            routes("Thanks", &decision("direct", &json!({"answer": "You are welcome."}))),
            {"match": {"system_contains": "\"kind\""}, "reply": {"status": 500}},
            {"match": {"system_contains": "I am writer."}, "reply": {"text": "Prose"}},
            {"reply": {"text": "Other"}},
        ]));
        let runtime = bundle.start(&llm);
        assert_eq!(content(&ask(&runtime, &json!({"message": "A haiku please"})).await), "Prose");
        // What needs no agent is nobody's turn.
        ask(&runtime, &json!({"message": "Thanks a lot!"})).await;
        let expected = if stays { "Prose" } else { "Other" };
        let next = ask(&runtime, &json!({"message": "And now make it shorter"})).await;
        assert_eq!(content(&next), expected, "{next}");
        let routed = llm.journal()[3].body["messages"][0]["content"].to_string();
        assert_eq!(routed.contains("The agent writer answered last"), stays, "{routed}");
        // Nobody answered last in another session.
        let body = json!({"message": "And now make it shorter", "session_id": "other"});
        assert_eq!(content(&ask(&runtime, &body).await), "Other");
    }
}
