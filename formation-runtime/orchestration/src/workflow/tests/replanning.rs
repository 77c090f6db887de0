//! Another plan in the place of one that failed.

use super::*;

fn replanning() -> Policy {
    Policy { replanning: Some(Replanning::default()), ..Policy::default() }
}

fn other_plan(tasks: &[(&str, &str, &[&str])], done: &[Task]) -> Plan {
    let task = |(id, instruction, on): &(&str, &str, &[&str])| Task {
        id: (*id).to_owned(),
        title: None,
        instruction: (*instruction).to_owned(),
        agent: "ben".to_owned(),
        depends_on: on.iter().map(ToString::to_string).collect(),
        critical: false,
    };
    let tasks = done.iter().cloned().chain(tasks.iter().map(task)).collect();
    Plan::new(tasks, &AGENTS, Limits::default()).unwrap()
}

#[test]
fn another_plan_takes_over_what_is_done() {
    let mut run = Run::new(plan(&[("a", &[]), ("b", &["a"])]), replanning());
    run.tick(0);
    run.done("a", 1);
    assert_eq!(
        run.failed("b", 1, "no such page", FailureKind::Permanent),
        ["gave up b: no such page", "replan 1 until 30000, done 1, missing 1", "wake 30000"]
    );
    let done = run.workflow.plan().task("a").cloned().unwrap();
    let plan = other_plan(&[("x", "Search an archive", &["a"])], &[done]);
    run.now_ms = 9;
    assert_eq!(
        run.step(Event::Replanned(plan)),
        ["start x ben 1 until 300009 with [\"text of a\"]", "wake 300009"]
    );
    let effects =
        run.workflow.step(Event::TaskDone { id: "x".into(), attempt: 1, text: "found".into() }, 10);
    let [Effect::Finish(outcome)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((outcome.end, outcome.replans, outcome.replaced.len()), (End::Completed, 1, 1));
}

#[test]
fn a_plan_that_is_the_same_is_refused_until_no_attempt_is_left() {
    let mut run = Run::new(plan(&[("a", &[])]), replanning());
    run.tick(0);
    run.failed("a", 1, "no", FailureKind::Permanent);
    assert_eq!(
        run.step(Event::Replanned(plan(&[("a", &[])]))),
        ["replan 2 until 30000, done 0, missing 1", "wake 30000"]
    );
    assert_eq!(run.tick(30_000), ["replan 3 until 60000, done 0, missing 1", "wake 60000"]);
    let effects = run.workflow.step(Event::ReplanFailed { why: "no JSON".into() }, 30_001);
    let [Effect::Finish(outcome)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(
        outcome.notes,
        [
            "plan 2: the other plan was too much like one that failed (1.00)",
            "plan 3: no other plan came in time",
            "plan 4: no JSON",
        ]
    );
    assert_eq!(outcome.end, End::Failed);
}

#[test]
fn no_plan_helps_against_a_missing_right() {
    let mut run = Run::new(plan(&[("a", &[])]), replanning());
    run.tick(0);
    assert_eq!(
        run.failed("a", 1, "401 Unauthorized", FailureKind::Permanent)[1],
        "finish Failed [] missing [\"a\"]"
    );
}

#[test]
fn a_plan_that_comes_uncalled_for_changes_nothing() {
    let mut run = Run::new(plan(&[("a", &[])]), replanning());
    run.tick(0);
    let plan = other_plan(&[("x", "Search an archive", &[])], &[]);
    assert_eq!(run.step(Event::Replanned(plan)), ["wake 300000"]);
    assert_eq!(run.workflow.plan().tasks()[0].id, "a");
    assert_eq!(run.step(Event::ReplanFailed { why: "x".into() }), ["wake 300000"]);
}

#[test]
fn a_plan_of_what_is_done_already_is_none() {
    let mut run = Run::new(plan(&[("a", &[]), ("b", &[])]), replanning());
    run.tick(0);
    run.done("a", 1);
    run.failed("b", 1, "no", FailureKind::Permanent);
    let done = run.workflow.plan().task("a").cloned().unwrap();
    let effects = run.step(Event::Replanned(other_plan(&[], &[done])));
    assert_eq!(effects[0], "replan 2 until 30000, done 1, missing 1");
}

#[test]
fn the_model_is_asked_for_what_is_missing_and_its_plan_is_read() {
    let candidates: Vec<crate::routing::Candidate> = AGENTS
        .iter()
        .map(|id| crate::routing::Candidate { id: (*id).into(), ..Default::default() })
        .collect();
    let limits = crate::routing::Limits::default();
    let mut run = Run::new(plan(&[("a", &[]), ("b", &["a"])]), replanning());
    run.tick(0);
    run.done("a", 1);
    let fault = "no\nsuch page \"x\"";
    let effects = run.workflow.step(
        Event::TaskFailed {
            id: "b".into(),
            attempt: 1,
            fault: fault.into(),
            kind: FailureKind::Permanent,
        },
        0,
    );
    let Effect::AskReplan(replan) = &effects[1] else { panic!("{effects:?}") };
    let question = replan_question(replan, &candidates, &limits, None);
    assert!(question.system.contains("Missing, as data: [{"), "{}", question.system);
    assert!(question.system.contains("no such page \\\"x\\\""), "{}", question.system);
    assert!(jsonschema::meta::is_valid(&question.schema));
    let answer = r#"Here: {"tasks": [{"id": "a", "instruction": "Do a again", "agent": "ben"},
        {"id": "c", "instruction": "Look elsewhere", "agent": "nobody", "depends_on": ["a"]}]}"#;
    let plan = read_replan(answer, replan, &candidates, &limits).unwrap();
    assert_eq!(plan.to_text(), "1. Do a (anna)\n2. Look elsewhere (anna, after 1)");
    assert_eq!(
        run.step(Event::Replanned(plan))[0],
        "start c anna 1 until 300000 with [\"text of a\"]"
    );
    assert_eq!(read_replan("none", replan, &candidates, &limits), Err(ReplanFault::NoObject));
    let circle =
        r#"{"tasks": [{"id": "c", "instruction": "x", "agent": "ben", "depends_on": ["c"]}]}"#;
    assert!(matches!(read_replan(circle, replan, &candidates, &limits), Err(ReplanFault::Plan(_))));
}

#[test]
fn a_plan_is_changed_as_the_user_wants_it() {
    let candidates: Vec<crate::routing::Candidate> = AGENTS
        .iter()
        .map(|id| crate::routing::Candidate { id: (*id).into(), ..Default::default() })
        .collect();
    let limits = crate::routing::Limits::default();
    let plan = plan(&[("a", &[]), ("b", &["a"])]);
    let question = revision_question(&plan, "let \"ben\" do b", &candidates, &limits);
    assert!(question.system.contains(&format!("The plan: {}\n", plan.to_json())));
    assert!(
        question.system.contains(r#"The user's wish: "let \"ben\" do b""#),
        "{}",
        question.system
    );
    assert!(jsonschema::meta::is_valid(&question.schema));
    let answer = r#"```json
        {"tasks": [{"id": "a", "instruction": "Do a", "agent": "anna", "depends_on": []},
        {"id": "b", "instruction": "Do b", "agent": "ben", "depends_on": ["a"]}]}
        ```"#;
    let changed = read_revision(answer, &candidates, &limits).unwrap();
    assert_eq!(changed.to_text(), "1. Do a (anna)\n2. Do b (ben, after 1)");
    let none = read_revision(r#"{"tasks": []}"#, &candidates, &limits);
    assert_eq!(
        none.unwrap_err().to_string(),
        "the other plan does not hold: the plan has no task; give at least one"
    );
}
