use serde_json::json;

use super::*;

fn candidate(id: &str, description: &str, specialties: &[&str], tools: &[&str]) -> Candidate {
    Candidate {
        id: id.to_owned(),
        name: id.to_owned(),
        description: description.to_owned(),
        specialties: specialties.iter().map(ToString::to_string).collect(),
        tools: tools.iter().map(ToString::to_string).collect(),
        ..Candidate::default()
    }
}

fn shop() -> Vec<Candidate> {
    let mut generalist = candidate(
        "assistant",
        "Answers anything about the shop: orders, invoices, returns",
        &[],
        &[],
    );
    generalist.role = "generalist".to_owned();
    vec![
        generalist,
        candidate("billing", "Answers about invoices", &["refunds", "credit card"], &[]),
        candidate("logistics", "Knows where a parcel is", &["shipping"], &["track_parcel"]),
    ]
}

fn best(message: &str, last_agent: Option<&str>) -> String {
    score(message, &shop(), last_agent).remove(0).id
}

#[test]
fn words_specialties_tools_and_the_agent_before_choose() {
    for (message, last_agent, expected) in [
        ("When will my REFUND arrive?", None, "billing"),
        ("My invoices are wrong", None, "billing"),
        ("Please track order 7", None, "logistics"),
        ("Parcels", None, "logistics"),
        ("Tell me a joke", None, "assistant"),
        ("Tell me a joke", Some("logistics"), "logistics"),
        ("and the other one?", Some("billing"), "billing"),
        // It leans on what was said, but says whose it is.
        ("Also, about refunds on my credit card", Some("logistics"), "billing"),
        ("where is my parcel and what does shipping cost", Some("billing"), "logistics"),
        ("", None, "assistant"),
    ] {
        assert_eq!(best(message, last_agent), expected, "{message} after {last_agent:?}");
    }
    assert_eq!(score("anything", &[], None), []);
}

#[test]
fn the_reason_is_told() {
    let scored = score("Refund to my credit card", &shop(), Some("billing"));
    assert_eq!(
        scored[0].because,
        "is for credit card; words refund, credit, card; answered before"
    );
    assert_eq!(scored[1].because, "nothing speaks for it");
}

#[test]
fn an_agent_is_named_by_its_exact_id() {
    let agents = shop();
    for (message, expected) in [
        ("@billing what do I owe", Some("billing")),
        ("please, @billing: what do I owe", Some("billing")),
        ("ask (@logistics)", Some("logistics")),
        ("@billing.", Some("billing")),
        ("@nobody or @billing", Some("billing")),
        ("mail me@billing now", None),
        ("@billing.example.com", None),
        ("@billing-team", None),
        ("@Billing", None),
        ("@", None),
        ("billing", None),
    ] {
        assert_eq!(mention(message, &agents), expected, "{message}");
    }
    // One that is denied is not in the list, and looks like a word.
    assert_eq!(mention("@billing", &agents[..1]), None);
}

#[test]
fn only_greetings_and_thanks_are_small_talk() {
    for message in [
        "hi",
        "Hello!",
        "Hey there",
        "good morning team",
        "Thanks!",
        "Thank you so much 🙏",
        "thanks, bye",
        "ok thanks",
        "Guten Tag",
        "Vielen Dank für die Hilfe",
        "merci beaucoup !",
        "¡Hola!",
        "привет",
        "你好",
        "ありがとうございます",
        "شكرا",
        "नमस्ते",
        "Grüß Gott",
    ] {
        assert!(small_talk(message), "{message}");
    }
    for message in [
        "",
        "ok",
        "hi, where is my parcel",
        "how are you?",
        "hello?",
        "thanks for the refund of 5",
        "yes",
        "hi @billing",
        "good",
        "bye the book",
        "hello world program in rust",
        "/help",
        "thanks, and what now",
        "thank you but no",
    ] {
        assert!(!small_talk(message), "{message}");
    }
}

// === the question and its answer ===

fn procedures() -> Vec<Procedure> {
    vec![Procedure {
        id: "return-goods".into(),
        name: "Return goods".into(),
        description: "Takes a parcel back".into(),
    }]
}

fn asking<'a>(
    candidates: &'a [Candidate],
    procedures: &'a [Procedure],
    limits: &'a Limits,
) -> Asking<'a> {
    Asking {
        message: "Where is my parcel?",
        candidates,
        procedures,
        history: "user: hi\nassistant: \"hello\"",
        last_agent: Some("billing"),
        voice: "You are \"Ada\". Be dry.",
        question_style: " briefly",
        may_split: true,
        may_clarify: true,
        limits,
    }
}

#[test]
fn the_question_shows_who_there_is_and_what_to_answer() {
    let (agents, procedures, limits) = (shop(), procedures(), Limits::default());
    let question = question(&asking(&agents, &procedures, &limits));
    insta::assert_snapshot!(question.system);
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(question.schema) });
    assert!(jsonschema::meta::is_valid(&question.schema));
}

#[test]
fn what_is_switched_off_is_not_offered() {
    let (agents, limits) = (shop(), Limits::default());
    let asking = Asking { may_split: false, may_clarify: false, ..asking(&agents, &[], &limits) };
    let question = question(&asking);
    assert_eq!(question.schema["properties"]["kind"]["enum"], json!(["direct", "agent"]));
    for word in ["workflow", "clarify", "procedure"] {
        assert!(!question.system.contains(word), "{word}");
    }
}

#[test]
fn of_many_agents_the_best_are_shown_and_what_is_shown_is_bounded() {
    let mut agents: Vec<Candidate> = (0..500)
        .map(|n| candidate(&format!("agent{n}"), &"long\n".repeat(10_000), &[], &[]))
        .collect();
    agents[333].specialties = vec!["parcel".into()];
    let limits = Limits { candidates: 5, ..Limits::default() };
    let history = "é".repeat(50_000);
    let asking =
        Asking { last_agent: Some("agent400"), history: &history, ..asking(&agents, &[], &limits) };
    let question = question(&asking);
    let listed = question.schema["properties"]["agent"]["enum"].as_array().unwrap();
    assert!(listed.contains(&json!("agent333")) && listed.contains(&json!("agent400")));
    assert!(listed.contains(&json!("agent0")) && listed.len() <= 7, "{listed:?}");
    assert!(question.system.len() < 12_000, "{}", question.system.len());
}

fn decide(answer: &str) -> Result<Decision, Fault> {
    let (agents, procedures, limits) = (shop(), procedures(), Limits::default());
    read(answer, &Asking { last_agent: None, ..asking(&agents, &procedures, &limits) })
}

fn agent(id: &str) -> Route {
    Route::Agent { id: id.to_owned() }
}

#[test]
fn an_answer_is_found_among_prose_fences_and_thoughts() {
    let object = r#"{"kind": "agent", "agent": "billing", "complexity": 3, "topics": ["Late Invoice!", "late-invoice", "money"]}"#;
    for answer in [
        object.to_owned(),
        format!("```json\n{object}\n```"),
        format!("Sure! {{not json}} Here it is: {object} Hope that helps {{}}."),
        format!("<think>{{\"kind\": \"direct\", \"answer\": \"hm\"}}</think>\n{object}"),
    ] {
        let decision = decide(&answer).unwrap();
        assert_eq!(decision.route, agent("billing"), "{answer}");
        assert_eq!(decision.complexity, Some(3.0));
        assert_eq!(decision.topics, ["late-invoice", "money"]);
        assert_eq!(decision.because, "model: billing");
    }
}

#[test]
fn what_does_not_hold_is_decided_by_the_scorer_and_told() {
    for (answer, because) in [
        (
            json!({"kind": "agent", "agent": "root"}),
            "model named the agent `root`, which is not there; scorer: ",
        ),
        (json!({"kind": "agent"}), "model named no agent; scorer: "),
        (
            json!({"kind": "procedure", "procedure": "x"}),
            "model named the procedure `x`, which is not there; ",
        ),
        (json!({"kind": "direct", "answer": " "}), "model said direct without an answer; "),
        (
            json!({"kind": "direct", "answer": "It is at…", "complexity": "6"}),
            "model said direct of something that is work; ",
        ),
        (
            json!({"kind": "direct", "answer": "a".repeat(2_000)}),
            "model said direct with an answer too long for one; ",
        ),
        (
            json!({"kind": "clarify", "clarification": {"question": ""}}),
            "model wants to ask without a question; ",
        ),
        (
            json!({"kind": "workflow", "tasks": []}),
            "model's plan does not hold: the plan has no task",
        ),
        (
            json!({"kind": "workflow", "tasks": [
                {"id": 1, "instruction": "a", "agent": "billing", "depends_on": [2]},
                {"id": 2, "instruction": "b", "agent": "billing", "depends_on": ["1"]},
            ]}),
            "model's plan does not hold: tasks `1`, `2` wait for each other in a circle; ",
        ),
    ] {
        let decision = decide(&answer.to_string()).unwrap();
        assert_eq!(decision.route, agent("logistics"), "{answer}");
        assert!(decision.because.starts_with(because), "{} for {answer}", decision.because);
    }
}

#[test]
fn an_answer_that_is_none_is_a_fault() {
    assert_eq!(decide(""), Err(Fault::NoObject));
    assert_eq!(decide("I think billing."), Err(Fault::NoObject));
    assert_eq!(decide(r#"{"agent": "billing"}"#), Err(Fault::NoObject));
    assert_eq!(decide(r#"{"kind": "agent", "agent": "bil"#), Err(Fault::NoObject));
    assert_eq!(decide(&"{".repeat(60_000)), Err(Fault::NoObject));
    assert_eq!(decide(&"[".repeat(100_000)), Err(Fault::TooLong(65_536)));
    assert_eq!(decide(r#"{"kind": "shutdown"}"#), Err(Fault::Kind("shutdown".into())));
    assert_eq!(decide(r#"{"kind": 7}"#), Err(Fault::Kind(String::new())));
}

#[test]
fn a_plan_is_read_with_the_mistakes_that_models_make() {
    let answer = json!({"kind": "workflow", "complexity": 99, "tasks": [
        {"id": 1, "instruction": "Find the parcel", "agent": "nobody"},
        {"id": "step 2", "instruction": "Refund it", "agent": "@Billing", "depends_on": [1]},
        "nonsense",
    ]});
    let decision = decide(&answer.to_string()).unwrap();
    let Route::Workflow { plan } = decision.route else { panic!("{decision:?}") };
    assert_eq!(plan.to_text(), "1. Find the parcel (logistics)\n2. Refund it (billing, after 1)");
    assert_eq!(decision.complexity, Some(10.0));
    let single =
        json!({"kind": "workflow", "tasks": [{"instruction": "Refund", "agent": "billing"}]});
    assert_eq!(decide(&single.to_string()).unwrap().route, agent("billing"));
}

#[test]
fn a_question_has_options_to_choose_from_or_none() {
    let clarify = |options: serde_json::Value| {
        let answer = json!({"kind": "clarify", "clarification": {
            "about": "planning", "question": " Which one? ", "options": options,
        }});
        let decision = decide(&answer.to_string()).unwrap();
        let Route::Clarify { about, question, options } = decision.route else {
            panic!("{decision:?}")
        };
        assert_eq!(about, Kind::Planning);
        assert_eq!(question, "Which one?");
        options
    };
    assert_eq!(clarify(json!(["a", "b", "a", 3, ""])), ["a", "b"]);
    assert_eq!(clarify(json!(["a"])), [""; 0]);
    assert_eq!(clarify(json!(null)), [""; 0]);
    assert_eq!(clarify(json!((0..30).map(|n| n.to_string()).collect::<Vec<_>>())).len(), 8);
}

#[test]
fn a_kind_that_is_switched_off_is_left_to_the_scorer() {
    let (agents, limits) = (shop(), Limits::default());
    let asking = Asking {
        message: "refund",
        may_split: false,
        may_clarify: false,
        ..asking(&agents, &[], &limits)
    };
    let decision = read(r#"{"kind": "workflow", "complexity": 8}"#, &asking).unwrap();
    assert_eq!((decision.route, decision.complexity), (agent("billing"), Some(8.0)));
    assert!(decision.because.starts_with("model said workflow, which is switched off; scorer:"));
    let nobody = Asking { candidates: &[], ..asking };
    assert_eq!(read(r#"{"kind": "agent"}"#, &nobody), Err(Fault::NoCandidate));
    assert_eq!(fallback("refund", &[], None), None);
}

// === the cache ===

fn choice(id: &str) -> Decision {
    Decision { route: agent(id), complexity: None, topics: Vec::new(), because: String::new() }
}

#[test]
fn a_choice_is_kept_for_a_time_and_for_those_who_have_the_same_agents() {
    let agents = shop();
    let key = |message: &str, agents: &[Candidate], last: Option<&str>| {
        Key::of(message, agents, &[], last).unwrap()
    };
    let mut cache = Cache::new(10, 1_000);
    let asked = key("Where is the parcel?", &agents, None);
    cache.put(asked.clone(), &choice("logistics"), 0);
    assert_eq!(
        cache.get(&key("where is  THE parcel", &agents, None), 999),
        Some(&choice("logistics"))
    );
    assert_eq!(cache.get(&asked, 1_000), None);
    assert_eq!(cache.get(&key("where is the parcel", &agents[..2], None), 0), None);
    assert_eq!(cache.get(&key("where is the parcel", &agents, Some("billing")), 0), None);
    assert_eq!(Key::of("and the other?", &agents, &[], None), None);
    assert_eq!(Key::of("?!", &agents, &[], None), None);
    assert_eq!(Key::of(&"word ".repeat(1_000), &agents, &[], None), None);
}

#[test]
fn the_cache_is_bounded_and_keeps_choices_only() {
    let agents = shop();
    let key = |n: u64| Key::of(&format!("parcel number {n}"), &agents, &[], None).unwrap();
    let mut cache = Cache::new(3, 1_000);
    for n in 0..10 {
        cache.put(key(n), &choice("logistics"), n);
    }
    assert_eq!(cache.len(), 3);
    assert!(cache.get(&key(6), 10).is_none() && cache.get(&key(7), 10).is_some());
    let direct = Decision { route: Route::Direct { answer: "hi".into() }, ..choice("x") };
    let mut cache = Cache::new(3, 1_000);
    cache.put(key(0), &direct, 0);
    assert!(cache.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_answer_is_trusted(answer in r#"[ -~\n{}":\[\],]{0,300}"#) {
        if let Ok(Decision { route: Route::Agent { id }, .. }) = decide(&answer) {
            proptest::prop_assert!(shop().iter().any(|it| it.id == id));
        }
    }

    #[test]
    fn no_message_breaks_the_rules(message in ".{0,300}") {
        let scored = score(&message, &shop(), Some("billing"));
        proptest::prop_assert_eq!(scored.len(), 3);
        mention(&message, &shop());
        small_talk(&message);
        crate::approval::reply(&message);
    }
}
