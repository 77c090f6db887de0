use super::*;

fn step(text: &str, agent: Option<&str>, is_parallel: bool) -> Step {
    Step { text: text.into(), agent: agent.map(Into::into), is_parallel, ..Step::default() }
}

fn candidates() -> Vec<Candidate> {
    let candidate = |id: &str, description: &str| Candidate {
        id: id.into(),
        description: description.into(),
        ..Candidate::default()
    };
    vec![candidate("writer", "Writes texts"), candidate("finance", "Checks budgets and invoices")]
}

fn shown(steps: &[Step]) -> String {
    template(steps, &candidates(), Limits::default()).unwrap().plan.to_text()
}

#[test]
fn steps_follow_each_other_and_parallel_neighbours_run_together() {
    let steps = |parallel: &str| -> Vec<Step> {
        let mark = |(at, mark): (usize, char)| step(&format!("Step {at}"), None, mark == 'p');
        parallel.chars().enumerate().map(mark).collect()
    };
    let dependencies = |parallel: &str| -> Vec<Vec<String>> {
        let template = template(&steps(parallel), &candidates(), Limits::default()).unwrap();
        template.plan.tasks().iter().map(|task| task.depends_on.clone()).collect()
    };
    let expected = |lists: &[&[usize]]| -> Vec<Vec<String>> {
        lists.iter().map(|list| list.iter().map(|at| format!("step-{at}")).collect()).collect()
    };
    assert_eq!(dependencies("..."), expected(&[&[], &[1], &[2]]));
    assert_eq!(dependencies("ppp"), expected(&[&[], &[], &[]]));
    assert_eq!(dependencies(".pp."), expected(&[&[], &[1], &[1], &[2, 3]]));
    assert_eq!(dependencies("pp.pp"), expected(&[&[], &[], &[1, 2], &[3], &[3]]));
    // Alone, the mark has nobody to run beside.
    assert_eq!(dependencies(".p."), expected(&[&[], &[1], &[2]]));
}

#[test]
fn a_step_has_its_agent_or_the_one_that_fits() {
    let mut steps = vec![
        step("Check the invoices", None, true),
        step("Check the budget", Some("writer"), true),
        step("Say hello", None, false),
    ];
    steps[2].is_critical = true;
    steps[2].title = Some("Welcome".into());
    assert_eq!(
        shown(&steps),
        "1. Check the invoices (finance)\n2. Check the budget (writer)\n\
         3. Welcome (writer, after 1 and 2, must succeed)"
    );
    let template = template(&steps, &candidates(), Limits::default()).unwrap();
    assert_eq!(template.plan.tasks()[2].instruction, "Welcome\n\nSay hello");
    assert_eq!(template.step("step-2"), Some(&steps[1]));
    for unknown in ["step-0", "step-4", "step-x", "2", "step--1"] {
        assert_eq!(template.step(unknown), None);
    }
}

#[test]
fn a_procedure_that_cannot_be_followed_says_why() {
    let faults =
        |steps: &[Step]| template(steps, &candidates(), Limits::default()).unwrap_err().to_string();
    assert_eq!(faults(&[]), "the plan has no task; give at least one");
    assert_eq!(
        faults(&[step("Pay", Some("boss"), false), step(" ", None, false)]),
        "task `step-1`: there is no agent `boss`; there are `writer`, `finance`; \
         task `step-2` has no instruction"
    );
}

#[test]
fn a_guide_is_one_text() {
    let steps = [
        Step {
            number: 1,
            text: "Look it up\n".into(),
            tools: vec![("web".into(), Some("search".into()))],
            ..Step::default()
        },
        Step {
            number: 2,
            title: Some("Pay".into()),
            text: "Pay the invoice".into(),
            agent: Some("finance".into()),
            skills: vec![("billing".into(), None)],
            is_critical: true,
            ..Step::default()
        },
    ];
    let text = guide("Pay invoices", &steps);
    assert!(text.starts_with("Follow the procedure \"Pay invoices\" for this request."), "{text}");
    assert!(
        text.ends_with(
            "\n1. Look it up [use the tool web/search]\n2. Pay: Pay the invoice [must be done] \
             [work for the agent finance] [use the skill billing]"
        ),
        "{text}"
    );
}

// === matching ===

fn entries() -> Vec<Entry> {
    let entry = |id: &str, name: &str, description: &str, tags: &[&str]| Entry {
        id: id.into(),
        name: name.into(),
        description: description.into(),
        tags: tags.iter().map(ToString::to_string).collect(),
    };
    vec![
        entry("onboarding", "customer-onboarding", "Sets up a new customer", &["onboarding"]),
        entry("deploy", "Deploy", "Deploy a service to production", &["deploy", "release"]),
        entry("returns", "Return goods", "Takes a parcel back", &[]),
    ]
}

fn found(message: &str) -> Option<String> {
    match_lexical(message, &entries()).into_iter().find(Match::holds).map(|found| found.id)
}

#[test]
fn words_find_a_procedure_and_chance_does_not() {
    for (message, expected) in [
        ("Onboard a new customer", Some("onboarding")),
        ("customer onboarding for Jane Doe of Example Ltd", Some("onboarding")),
        ("Deploy the billing service to production", Some("deploy")),
        ("I want to return my parcel", Some("returns")),
        ("Returning the goods, please", Some("returns")),
        ("What is a customer?", None),
        ("customer", None),
        ("Write a story about a customer in production", None),
        ("What's the weather?", None),
        ("", None),
    ] {
        assert_eq!(found(message).as_deref(), expected, "{message}");
    }
}

#[test]
fn every_entry_has_its_score_and_the_best_is_first() {
    let matches = match_lexical("Onboard a new customer", &entries());
    assert_eq!(matches.len(), 3);
    assert_eq!((matches[0].id.as_str(), matches[0].method), ("onboarding", Method::Lexical));
    assert!(matches[0].score > 0.9 && matches[1].score < 0.1, "{matches:?}");
    assert!((0.0..=1.0).contains(&matches[0].score));
}

#[test]
fn vectors_match_by_their_angle() {
    let matches = match_vectors(
        &[1.0, 0.0],
        &[
            ("other", &[0.0, 3.0]),
            ("close", &[2.0, 1.0]),
            ("same", &[5.0, 0.0]),
            ("against", &[-1.0, 0.0]),
            ("empty", &[0.0, 0.0]),
            ("short", &[1.0]),
            ("odd", &[f32::NAN, 1.0]),
            ("huge", &[f32::MAX, f32::MAX]),
        ],
    );
    let scores: Vec<(&str, f64)> =
        matches.iter().map(|it| (it.id.as_str(), (it.score * 100.0).round() / 100.0)).collect();
    assert_eq!(
        scores,
        [
            ("same", 1.0),
            ("close", 0.89),
            ("huge", 0.71),
            ("other", 0.0),
            ("against", 0.0),
            ("empty", 0.0),
            ("short", 0.0),
            ("odd", 0.0),
        ]
    );
    assert!(matches[2].holds() && !matches[3].holds());
    assert!(match_vectors(&[], &[("empty", &[])])[0].score < 0.1);
}

#[test]
fn a_slash_names_a_procedure() {
    let read = |message| slash(message).map(|slash| (slash.name, slash.arguments));
    for (message, expected) in [
        ("/deploy billing now", Some(("deploy", "billing now"))),
        (" /deploy\nbilling ", Some(("deploy", "billing"))),
        ("/deploy", Some(("deploy", ""))),
        ("/onboard-new_2", Some(("onboard-new_2", ""))),
        ("/usr/bin is missing", None),
        ("/", None),
        ("/ deploy", None),
        ("//deploy", None),
        ("please /deploy", None),
        ("/größe", None),
    ] {
        assert_eq!(read(message), expected, "{message}");
    }
    assert_eq!(read(&format!("/{}", "a".repeat(65))), None);
}

#[test]
fn what_is_embedded_is_what_it_is_about() {
    assert_eq!(entries()[1].to_embedding_text(), "Deploy a service to production, deploy, release");
    let bare = Entry { name: "Deploy".into(), ..Entry::default() };
    assert_eq!(bare.to_embedding_text(), "Deploy");
}
