use proptest::prelude::*;

use super::*;

fn task(id: &str, instruction: &str, agent: &str, depends_on: &[&str]) -> Task {
    Task {
        id: id.to_owned(),
        title: None,
        instruction: instruction.to_owned(),
        agent: agent.to_owned(),
        depends_on: depends_on.iter().map(ToString::to_string).collect(),
        critical: false,
    }
}

const AGENTS: [&str; 2] = ["writer", "researcher"];

fn plan(tasks: Vec<Task>) -> Result<Plan, Vec<String>> {
    Plan::new(tasks, &AGENTS, Limits::default())
        .map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

#[test]
fn all_faults_of_a_plan_are_told_at_once() {
    let faults = plan(vec![
        task("a b", "look", "writer", &[]),
        task("x", " ", "nobody", &["y", "z"]),
        task("y", &"long".repeat(3_000), "writer", &["x"]),
    ])
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "task 1: `a b` is no id; take 1–64 letters, digits, `-` or `_`",
            "task `x` has no instruction",
            "task `x`: there is no agent `nobody`; there are `writer`, `researcher`",
            "task `x` depends on `z`, which is no task of the plan",
            "task `y`: its instruction has more than 8000 bytes",
            "tasks `x`, `y` wait for each other in a circle",
        ]
    );
}

#[test]
fn a_plan_has_a_task_and_not_too_many_and_no_two_of_one_name() {
    assert_eq!(plan(vec![]).unwrap_err(), ["the plan has no task; give at least one"]);
    let many = (0..21).map(|number| task(&number.to_string(), "look", "writer", &[])).collect();
    assert_eq!(plan(many).unwrap_err(), ["the plan has 21 tasks; at most 20 are allowed"]);
    let twice = vec![task("a", "look", "writer", &[]), task("a", "write", "writer", &["a"])];
    assert_eq!(plan(twice).unwrap_err(), ["task `a` is there twice; ids must differ"]);
    let itself = vec![task("a", "look", "writer", &["a"])];
    assert_eq!(plan(itself).unwrap_err(), ["tasks `a` wait for each other in a circle"]);
}

#[test]
fn what_is_said_twice_counts_once_and_faults_are_bounded() {
    let doubled = vec![task("a", "look", "writer", &[]), task("b", "look", "writer", &["a", "a"])];
    assert_eq!(plan(doubled).unwrap().tasks()[1].depends_on, ["a"]);
    let unknown: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    assert_eq!(plan(vec![task("a", "look", "writer", &unknown)]).unwrap_err().len(), 50);
}

#[test]
fn a_plan_is_shown_in_the_order_in_which_it_can_be_done() {
    let mut report = task("report", "Write a report\nabout it", "writer", &["tokyo", "paris"]);
    report.critical = true;
    report.title = Some("The report".to_owned());
    let plan = plan(vec![
        report,
        task("tokyo", "Research Tokyo", "researcher", &[]),
        task("paris", "Research Paris", "researcher", &[]),
    ])
    .unwrap();
    assert_eq!(
        plan.to_text(),
        "1. Research Tokyo (researcher)\n2. Research Paris (researcher)\n\
         3. The report (writer, after 1 and 2, must succeed)"
    );
}

#[test]
fn a_plan_is_the_same_after_it_was_written_and_read() {
    let plan = plan(vec![
        task("a", "Look", "researcher", &[]),
        Task { title: Some("B".into()), critical: true, ..task("b", "Write", "writer", &["a"]) },
    ])
    .unwrap();
    let text = plan.to_json().to_string();
    assert_eq!(Plan::from_json(&text, &AGENTS, Limits::default()), Ok(plan));
    let faults = Plan::from_json(&text, &["writer"], Limits::default()).unwrap_err();
    assert_eq!(faults.to_string(), "task `a`: there is no agent `researcher`; there are `writer`");
    let faults = Plan::from_json(r#"{"task": []}"#, &AGENTS, Limits::default()).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "the plan is no JSON object with a list `tasks`: unknown field `task`, expected `tasks` at line 1 \
         column 7"
    );
}

#[test]
fn a_renamed_plan_is_the_same_and_another_one_is_not() {
    let one = plan(vec![
        task("a", "Search the web for prices of flights", "researcher", &[]),
        task("b", "Write a summary of the prices", "writer", &["a"]),
    ])
    .unwrap();
    let renamed = plan(vec![
        task("2", "Write a summary of the prices", "writer", &["1"]),
        task("1", "Search the web for prices of flights", "researcher", &[]),
    ])
    .unwrap();
    let other = plan(vec![task("a", "Ask the user which airline counts", "writer", &[])]).unwrap();
    let handed_over = plan(vec![
        task("a", "Search the web for prices of flights", "writer", &[]),
        task("b", "Write a summary of the prices", "researcher", &["a"]),
    ])
    .unwrap();
    // Below the usual threshold: another agent has other tools.
    assert!(similarity(&one, &handed_over) < 0.7);
    let close = |left: f64, right: f64| (left - right).abs() < 1e-9;
    assert!(close(similarity(&one, &one), 1.0));
    assert!(close(similarity(&one, &renamed), 1.0));
    assert!(similarity(&one, &other) < 0.5, "{}", similarity(&one, &other));
    assert!(close(similarity(&one, &other), similarity(&other, &one)));
}

proptest! {
    #[test]
    fn any_graph_is_refused_or_has_an_order(
        edges in proptest::collection::vec((0..8_usize, 0..8_usize), 0..14),
        count in 1..8_usize,
    ) {
        let tasks: Vec<Task> = (0..count)
            .map(|index| {
                let on: Vec<String> = edges
                    .iter()
                    .filter(|(from, to)| *from == index && *to < count)
                    .map(|(_, to)| to.to_string())
                    .collect();
                let on: Vec<&str> = on.iter().map(String::as_str).collect();
                task(&index.to_string(), "look", "writer", &on)
            })
            .collect();
        match Plan::new(tasks, &AGENTS, Limits::default()) {
            Ok(plan) => {
                let order: Vec<&str> = plan.order().iter().map(|task| task.id.as_str()).collect();
                prop_assert_eq!(order.len(), count);
                for (at, task) in plan.order().iter().enumerate() {
                    for on in &task.depends_on {
                        prop_assert!(order[..at].contains(&on.as_str()));
                    }
                }
            }
            Err(faults) => prop_assert!(matches!(faults.0[..], [Fault::Cycle(_)])),
        }
    }
}
