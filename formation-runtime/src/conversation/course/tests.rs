use super::*;

fn ranked(agents: &[&str]) -> Vec<Ranked> {
    let rank = |(i, agent): (usize, &&str)| Ranked {
        agent: (*agent).to_owned(),
        #[expect(clippy::cast_precision_loss, reason = "a handful of agents")]
        score: 10.0 - i as f64,
        because: "words".to_owned(),
    };
    agents.iter().enumerate().map(rank).collect()
}

fn facts(agents: &[&str]) -> Facts {
    Facts {
        ranked: ranked(agents),
        may_decompose: true,
        may_ask: true,
        complexity_threshold: 7.0,
        ..Facts::default()
    }
}

fn agent(id: &str) -> Step {
    Step::Go(Way::Agent { id: id.to_owned() })
}

fn plan() -> Plan {
    let text = r#"{"tasks": [{"id": "t", "instruction": "Do it", "agent": "a"}]}"#;
    Plan::from_json(text, &["a"], muxi_orchestration::graph::Limits::default()).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "as the machine takes it")]
fn said(route: Route, complexity: f64) -> Result<Routed, String> {
    let because = "because".to_owned();
    let complexity_because = String::new();
    Ok(Routed { route, complexity, complexity_because, topics: Vec::new(), because })
}

#[test]
fn the_order_of_precedence() {
    let all = Facts {
        explicit_agent: Some("e".to_owned()),
        mentioned_agent: Some("m".to_owned()),
        named_procedure: Some("p".to_owned()),
        has_procedures: true,
        remembered: Some(Route::Agent { id: "r".to_owned() }),
        ..facts(&["a", "b"])
    };
    assert_eq!(Course::new(all.clone()).step(), agent("e"));
    let all = Facts { explicit_agent: None, ..all };
    assert_eq!(Course::new(all.clone()).step(), agent("m"));
    let all = Facts { mentioned_agent: None, ..all };
    assert_eq!(Course::new(all.clone()).step(), Step::Go(Way::Procedure { id: "p".to_owned() }));
    let all = Facts { named_procedure: None, ..all };
    let mut course = Course::new(all.clone());
    assert_eq!(course.step(), Step::MatchProcedure);
    assert_eq!(course.matched(None), agent("r"));
    let all = Facts { remembered: None, has_procedures: false, ..all };
    assert_eq!(Course::new(all).step(), Step::Route);
}

#[test]
fn the_only_agent_needs_no_routing_and_nobody_is_told() {
    assert_eq!(Course::new(facts(&["a"])).step(), agent("a"));
    assert_eq!(Course::new(facts(&[])).step(), Step::Go(Way::Nobody));
    let always_one = Facts { may_decompose: false, ..facts(&["a", "b"]) };
    assert_eq!(Course::new(always_one).step(), agent("a"));
}

#[test]
fn a_procedure_must_be_like_the_message() {
    let with = Facts { has_procedures: true, ..facts(&["a"]) };
    let best = |score| Matched {
        procedure: "onboard".to_owned(),
        score,
        threshold: 0.7,
        method: "embedding",
    };
    let mut course = Course::new(with.clone());
    assert_eq!(course.step(), Step::MatchProcedure);
    assert_eq!(course.matched(Some(&best(0.69))), agent("a"));
    let decisions = course.take_decisions();
    assert_eq!(
        (decisions[0].choice.as_str(), &decisions[0].detail["score"]),
        ("none", &0.69.into())
    );
    let mut course = Course::new(with.clone());
    let matched = course.matched(Some(&best(0.7)));
    assert_eq!(matched, Step::Go(Way::Procedure { id: "onboard".to_owned() }));
    // Thanks are for nobody's procedure.
    assert_eq!(Course::new(Facts { is_small_talk: true, ..with }).step(), agent("a"));
}

#[test]
fn the_routing_call_is_believed_within_bounds() {
    let unclear = || Route::Clarify {
        about: Kind::Planning,
        question: "Which?".to_owned(),
        options: Vec::new(),
    };
    let workflow = || Route::Workflow { plan: plan() };
    let chosen = || Route::Agent { id: "b".to_owned() };
    let two = facts(&["a", "b"]);
    let clarify = Step::Go(Way::Clarify {
        about: Kind::Planning,
        question: "Which?".to_owned(),
        options: Vec::new(),
    });
    let working = Step::Go(Way::Workflow { plan: plan(), complexity: 8.0 });
    let nobody_to_ask = Facts { may_ask: false, ..two.clone() };
    for (facts, routed, expected) in [
        (&two, said(chosen(), 2.0), agent("b")),
        (&two, said(unclear(), 2.0), clarify),
        (&nobody_to_ask, said(unclear(), 2.0), agent("a")),
        (&two, said(workflow(), 8.0), working),
        (&two, said(workflow(), 6.9), agent("a")),
        (&two, Err("the model was unreachable".to_owned()), agent("a")),
    ] {
        let mut course = Course::new(facts.clone());
        assert_eq!(course.step(), Step::Route);
        assert_eq!(course.routed(routed), expected);
        assert!(!course.take_decisions().is_empty());
    }
}
