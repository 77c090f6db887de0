mod replanning;
mod storms;

use super::*;
use crate::graph::Limits;

const AGENTS: [&str; 3] = ["anna", "ben", "carl"];

fn plan(tasks: &[(&str, &[&str])]) -> Plan {
    let task = |(id, on): &(&str, &[&str])| Task {
        id: (*id).to_owned(),
        title: None,
        instruction: format!("Do {id}"),
        agent: "anna".to_owned(),
        depends_on: on.iter().map(ToString::to_string).collect(),
        critical: *id == "vital",
    };
    Plan::new(tasks.iter().map(task).collect(), &AGENTS, Limits::default()).unwrap()
}

fn policy(recovery: Recovery) -> Policy {
    Policy { recovery, ..Policy::default() }
}

/// Drives a workflow and writes down what it does, one effect a line.
struct Run {
    workflow: Workflow,
    now_ms: u64,
}

impl Run {
    fn new(plan: Plan, policy: Policy) -> Self {
        let workflow = Workflow::new(plan, policy, AGENTS.map(str::to_owned).to_vec(), 0);
        Self { workflow, now_ms: 0 }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.workflow.step(event, self.now_ms).iter().map(told).collect()
    }

    fn tick(&mut self, now_ms: u64) -> Vec<String> {
        self.now_ms = now_ms;
        self.step(Event::Tick)
    }

    fn done(&mut self, id: &str, attempt: u32) -> Vec<String> {
        self.step(Event::TaskDone { id: id.into(), attempt, text: format!("text of {id}") })
    }

    fn failed(&mut self, id: &str, attempt: u32, fault: &str, kind: FailureKind) -> Vec<String> {
        self.step(Event::TaskFailed { id: id.into(), attempt, fault: fault.into(), kind })
    }
}

fn told(effect: &Effect) -> String {
    match effect {
        Effect::Start(assignment) => {
            let upstream: Vec<&str> =
                assignment.upstream.iter().map(|upstream| upstream.text.as_str()).collect();
            let Assignment { task, agent, attempt, deadline_ms, .. } = assignment;
            format!("start {} {agent} {attempt} until {deadline_ms} with {upstream:?}", task.id)
        }
        Effect::Stop { id, attempt } => format!("stop {id} {attempt}"),
        Effect::Retry { id, attempt, at_ms, because } => {
            format!("retry {id} {attempt} at {at_ms}: {because}")
        }
        Effect::GaveUp { id, because } => format!("gave up {id}: {because}"),
        Effect::Skipped { id, because } => format!("skipped {id}: {because}"),
        Effect::AskReplan(replan) => format!(
            "replan {} until {}, done {}, missing {}",
            replan.number,
            replan.deadline_ms,
            replan.done.len(),
            replan.missing.len()
        ),
        Effect::WakeAt(at_ms) => format!("wake {at_ms}"),
        Effect::Finish(outcome) => {
            let results: Vec<&str> =
                outcome.results.iter().map(|result| result.task.id.as_str()).collect();
            let missing: Vec<&str> =
                outcome.missing.iter().map(|missing| missing.id.as_str()).collect();
            format!("finish {:?} {results:?} missing {missing:?}", outcome.end)
        }
    }
}

#[test]
fn tasks_run_together_up_to_the_cap_and_read_what_they_depend_on() {
    let plan = plan(&[("a", &[]), ("b", &[]), ("c", &[]), ("sum", &["b", "a"])]);
    let mut run = Run::new(plan, Policy { max_parallel_tasks: 2, ..Policy::default() });
    assert_eq!(
        run.tick(0),
        [
            "start a anna 1 until 300000 with []",
            "start b anna 1 until 300000 with []",
            "wake 300000"
        ]
    );
    assert_eq!(run.done("b", 1), ["start c anna 1 until 300000 with []", "wake 300000"]);
    run.now_ms = 5;
    assert_eq!(
        run.done("a", 1),
        ["start sum anna 1 until 300005 with [\"text of b\", \"text of a\"]", "wake 300000"]
    );
    assert_eq!(run.done("c", 1), ["wake 300005"]);
    assert_eq!(run.workflow.counts().done, 3);
    assert_eq!(run.done("sum", 1), ["finish Completed [\"a\", \"b\", \"c\", \"sum\"] missing []"]);
    assert_eq!(run.tick(10), [""; 0]);
}

#[test]
fn what_passes_is_tried_again_after_a_growing_wait() {
    let mut run = Run::new(plan(&[("a", &[])]), policy(Recovery::RetryWithBackoff));
    run.tick(0);
    assert_eq!(
        run.failed("a", 1, "too many requests", FailureKind::RateLimit),
        ["retry a 2 at 1000: too many requests", "wake 1000"]
    );
    assert_eq!(run.tick(999), ["wake 1000"]);
    assert_eq!(run.tick(1_000), ["start a anna 2 until 301000 with []", "wake 301000"]);
    // The first attempt comes back after it was given up.
    assert_eq!(run.done("a", 1), ["wake 301000"]);
    assert_eq!(
        run.tick(301_000),
        ["stop a 2", "retry a 3 at 303000: it took more than 300 seconds", "wake 303000"]
    );
    run.tick(303_000);
    assert_eq!(
        run.failed("a", 3, "again", FailureKind::TemporaryFailure),
        ["gave up a: again", "finish Failed [] missing [\"a\"]"]
    );
}

#[test]
fn delays_grow_to_the_most_and_survive_odd_numbers() {
    let delays = |retry: Retry| (0..8).map(|n| retry.delay_ms(n)).collect::<Vec<_>>();
    assert_eq!(
        delays(Retry::default()),
        [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    );
    for factor in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
        let retry = Retry { backoff_factor: factor, ..Retry::default() };
        assert!(delays(retry).into_iter().all(|delay| delay <= 60_000));
    }
    assert_eq!(Retry::default().delay_ms(u32::MAX), 60_000);
}

#[test]
fn what_does_not_pass_is_not_tried_again_and_the_rest_goes_on() {
    for recovery in [Recovery::RetryWithBackoff, Recovery::SkipAndContinue] {
        let mut run = Run::new(plan(&[("a", &[]), ("b", &[]), ("c", &["a"])]), policy(recovery));
        run.tick(0);
        assert_eq!(
            run.failed("a", 1, "no such file", FailureKind::Permanent),
            [
                "gave up a: no such file",
                "skipped c: it needs \"Do a\", which is missing",
                "wake 300000"
            ]
        );
        assert_eq!(run.done("b", 1), ["finish Partial [\"b\"] missing [\"a\", \"c\"]"]);
    }
}

#[test]
fn skipping_does_not_wait_for_what_may_pass() {
    let mut run = Run::new(plan(&[("a", &[])]), policy(Recovery::SkipAndContinue));
    run.tick(0);
    assert_eq!(run.failed("a", 1, "slow", FailureKind::Timeout)[0], "gave up a: slow");
}

#[test]
fn failing_fast_stops_what_runs() {
    let mut run =
        Run::new(plan(&[("a", &[]), ("b", &[]), ("c", &["b"])]), policy(Recovery::FailFast));
    run.tick(0);
    assert_eq!(
        run.failed("a", 1, "slow", FailureKind::Timeout),
        [
            "gave up a: slow",
            "stop b 1",
            "skipped b: \"Do a\" failed, and nothing goes on without it",
            "skipped c: \"Do a\" failed, and nothing goes on without it",
            "finish Failed [] missing [\"a\", \"b\", \"c\"]",
        ]
    );
}

#[test]
fn two_that_are_overdue_are_each_stopped_once() {
    let mut run = Run::new(plan(&[("a", &[]), ("b", &[])]), policy(Recovery::FailFast));
    run.tick(0);
    let effects = run.tick(300_000);
    let stops: Vec<&String> = effects.iter().filter(|told| told.starts_with("stop")).collect();
    assert_eq!(stops, ["stop a 1", "stop b 1"]);
}

#[test]
fn nothing_goes_on_without_a_critical_task() {
    let tasks: [(&str, &[&str]); 3] = [("done", &[]), ("vital", &[]), ("other", &[])];
    let mut run = Run::new(plan(&tasks), policy(Recovery::SkipAndContinue));
    run.tick(0);
    run.done("done", 1);
    let effects = run.failed("vital", 1, "no", FailureKind::Permanent);
    assert_eq!(effects[1], "stop other 1");
    assert_eq!(effects[3], "finish Failed [\"done\"] missing [\"vital\", \"other\"]");
}

#[test]
fn another_agent_takes_over() {
    let mut run = Run::new(plan(&[("a", &[])]), policy(Recovery::RetryWithAlternate));
    run.tick(0);
    assert_eq!(
        run.failed("a", 1, "no", FailureKind::Permanent),
        ["retry a 2 at 0: no", "start a ben 2 until 300000 with []", "wake 300000"]
    );
    assert_eq!(
        run.failed("a", 2, "no", FailureKind::Permanent)[1],
        "start a carl 3 until 300000 with []"
    );
    assert_eq!(run.failed("a", 3, "no", FailureKind::Permanent)[0], "gave up a: no");
    // Alone, the same agent tries what may pass.
    let policy = policy(Recovery::RetryWithAlternate);
    let mut alone = Workflow::new(plan(&[("a", &[])]), policy, vec!["anna".into()], 0);
    alone.step(Event::Tick, 0);
    let failed = Event::TaskFailed {
        id: "a".into(),
        attempt: 1,
        fault: "slow".into(),
        kind: FailureKind::Timeout,
    };
    assert_eq!(told(&alone.step(failed, 0)[0]), "retry a 2 at 1000: slow");
}

#[test]
fn the_time_of_all_of_it_ends() {
    let policy = Policy {
        workflow_timeout_ms: 10_000,
        ceiling_ms: 5_000,
        max_parallel_tasks: 1,
        ..Policy::default()
    };
    let mut run = Run::new(plan(&[("a", &[]), ("b", &[]), ("c", &[])]), policy);
    assert_eq!(run.tick(0)[0], "start a anna 1 until 5000 with []");
    run.done("a", 1);
    assert_eq!(
        run.tick(5_000),
        [
            "stop b 1",
            "gave up b: the time for all of it was over before it was done",
            "skipped c: the time for all of it was over before it started",
            "finish Partial [\"a\"] missing [\"b\", \"c\"]",
        ]
    );
}

#[test]
fn a_retry_that_would_come_too_late_is_given_up() {
    let policy = Policy { workflow_timeout_ms: 500, ..Policy::default() };
    let mut run = Run::new(plan(&[("a", &[])]), policy);
    run.tick(0);
    assert_eq!(run.failed("a", 1, "slow", FailureKind::Timeout)[0], "gave up a: slow");
}

#[test]
fn part_of_it_is_no_answer_when_the_policy_says_so() {
    let policy = Policy { partial_results: false, ..Policy::default() };
    let mut run = Run::new(plan(&[("a", &[]), ("b", &[])]), policy);
    run.tick(0);
    run.done("a", 1);
    let effects = run.failed("b", 1, "no", FailureKind::Permanent);
    assert_eq!(effects[1], "finish Failed [\"a\"] missing [\"b\"]");
}

#[test]
fn it_can_be_cancelled() {
    let mut run = Run::new(plan(&[("a", &[]), ("b", &["a"])]), Policy::default());
    run.tick(0);
    assert_eq!(
        run.step(Event::Cancelled),
        [
            "stop a 1",
            "skipped a: it was cancelled",
            "skipped b: it was cancelled",
            "finish Cancelled [] missing [\"a\", \"b\"]",
        ]
    );
    assert!(run.workflow.is_finished());
}

#[test]
fn after_a_restart_nothing_is_done_twice() {
    let plan = plan(&[("a", &[]), ("b", &["a"])]);
    let agents = AGENTS.map(str::to_owned).to_vec();
    let stored = [("a".to_owned(), "kept".to_owned()), ("gone".to_owned(), "x".to_owned())];
    let workflow = Workflow::new(plan, Policy::default(), agents, 0).resumed(stored, 0);
    let mut run = Run { workflow, now_ms: 0 };
    assert_eq!(run.tick(7)[0], "start b anna 1 until 300007 with [\"kept\"]");
    // What was done before the restart is not done by a late word, either.
    assert_eq!(run.done("a", 1), ["wake 300007"]);
    assert_eq!(run.done("b", 1), ["finish Completed [\"a\", \"b\"] missing []"]);
}

#[test]
fn what_others_read_of_a_result_is_bounded() {
    let policy = Policy { upstream_bytes: 5, ..Policy::default() };
    let mut run = Run::new(plan(&[("a", &[]), ("b", &["a"])]), policy);
    run.tick(0);
    let effects =
        run.workflow.step(Event::TaskDone { id: "a".into(), attempt: 1, text: "é".repeat(10) }, 0);
    let Effect::Start(assignment) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((assignment.upstream[0].text.as_str(), assignment.upstream[0].is_cut), ("éé", true));
}

// === the texts ===

#[test]
fn the_last_result_stays_as_it_is() {
    let mut run = Run::new(plan(&[("b", &["a"]), ("a", &[])]), Policy::default());
    run.tick(0);
    run.done("a", 1);
    let text = " exact\r\n\u{0}bytes ".to_owned();
    let done = Event::TaskDone { id: "b".into(), attempt: 1, text: text.clone() };
    let effects = run.workflow.step(done, 0);
    let [Effect::Finish(outcome)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(outcome.last_text(), Some(text.as_str()));
    let partial = Outcome { end: End::Partial, ..outcome.clone() };
    assert_eq!(partial.last_text(), None);
}

#[test]
fn what_is_missing_is_said() {
    let mut run = Run::new(plan(&[("a", &[]), ("b", &[]), ("c", &["b"])]), Policy::default());
    run.tick(0);
    run.workflow
        .step(Event::TaskDone { id: "a".into(), attempt: 1, text: "It is 20 °C.".into() }, 0);
    let failed = Event::TaskFailed {
        id: "b".into(),
        attempt: 1,
        fault: "the page is gone".into(),
        kind: FailureKind::Permanent,
    };
    let effects = run.workflow.step(failed, 0);
    let Some(Effect::Finish(outcome)) = effects.last() else { panic!("{effects:?}") };
    assert!(outcome.is_partial());
    assert_eq!(
        outcome.to_text(),
        "Not everything could be done.\n\n## Do a\nIt is 20 °C.\n\nMissing:\n\
         - Do b: failed, because the page is gone\n\
         - Do c: not done, because it needs \"Do b\", which is missing"
    );
    assert_eq!(
        outcome.to_afterword().unwrap(),
        "\n\nNot everything could be done:\n- Do b: failed, because the page is gone\n\
         - Do c: not done, because it needs \"Do b\", which is missing"
    );
    let synthesis = outcome.to_synthesis("Weather and news", 9, None);
    assert!(
        synthesis.contains("Request: Weather and news\n\n## Do a (anna)\nIt is 20 \n[cut here]")
    );
    assert!(synthesis.ends_with("which is missing"));
    let whole = Outcome { end: End::Completed, missing: Vec::new(), ..outcome.clone() };
    assert!(!whole.to_synthesis("x", 100, None).contains("missing"));
    assert_eq!(whole.to_afterword(), None);
    let failed = Outcome { end: End::Failed, ..outcome.clone() };
    assert!(!failed.to_text().contains("20 °C"));
}

#[test]
fn the_time_of_a_task_that_is_held_stands_still_and_nothing_is_begun_beside_it() {
    let plan = plan(&[("a", &[]), ("b", &[]), ("c", &[]), ("sum", &["b"])]);
    let mut run = Run::new(plan, Policy { max_parallel_tasks: 2, ..Policy::default() });
    run.tick(0);
    let held = |id: &str, attempt| Event::TaskHeld { id: id.into(), attempt };
    assert_eq!(run.step(held("a", 2)), ["wake 300000"]);
    assert_eq!(run.step(held("a", 1)), ["wake 300000"]);
    assert_eq!(run.workflow.counts().running, 1);
    // Neither what it leaves room for nor what is ready now.
    run.now_ms = 5;
    assert_eq!(run.done("b", 1), ["wake 3600000"]);
    assert_eq!(run.tick(400_000), ["wake 3600000"]);
    assert_eq!(run.done("a", 1), ["wake 3600000"], "it goes on in another run");
    let done: Vec<_> = run.workflow.done().map(|(id, _)| id).collect();
    assert_eq!(done, ["b"]);
    let last = run.step(Event::Cancelled);
    assert_eq!(last[0], "stop a 1");
}
