//! Whatever happens in whatever order, the invariants hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Blow {
    /// Of the running tasks, the one at that place says so.
    Done(usize),
    Failed(usize, FailureKind),
    /// A task that may not run at all, of an attempt that may never have been.
    Stale(usize, u32, bool),
    /// Of the running tasks, the one at that place needs somebody's yes.
    Held(usize),
    Pass(u64),
    Replanned(Vec<usize>),
    ReplanFailed,
    Cancelled,
}

fn kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        Just(FailureKind::Timeout),
        Just(FailureKind::RateLimit),
        Just(FailureKind::TemporaryFailure),
        Just(FailureKind::Permanent),
    ]
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        6 => (0..6_usize).prop_map(Blow::Done),
        4 => ((0..6_usize), kind()).prop_map(|(at, kind)| Blow::Failed(at, kind)),
        2 => (0..8_usize, 0..4_u32, any::<bool>()).prop_map(|(task, attempt, done)| Blow::Stale(task, attempt, done)),
        1 => proptest::option::weighted(0.2, 0..6_usize).prop_map(|it| it.map_or(Blow::Pass(1), Blow::Held)),
        3 => (1..400_000_u64).prop_map(Blow::Pass),
        2 => proptest::collection::vec(0..8_usize, 1..5).prop_map(Blow::Replanned),
        1 => Just(Blow::ReplanFailed),
        1 => proptest::option::weighted(0.05, Just(())).prop_map(|it| it.map_or(Blow::Pass(1), |()| Blow::Cancelled)),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let recovery = prop_oneof![
        Just(Recovery::FailFast),
        Just(Recovery::RetryWithBackoff),
        Just(Recovery::RetryWithAlternate),
        Just(Recovery::SkipAndContinue),
    ];
    (recovery, 0..4_usize, any::<bool>(), any::<bool>(), 0..3_u32).prop_map(
        |(recovery, max_parallel_tasks, partial_results, replans, attempts)| Policy {
            recovery,
            max_parallel_tasks,
            partial_results,
            replanning: replans
                .then(|| Replanning { max_attempts: attempts, ..Replanning::default() }),
            ..Policy::default()
        },
    )
}

/// A graph without a circle: tasks depend on those before them only.
fn plans() -> impl Strategy<Value = Plan> {
    proptest::collection::vec((proptest::collection::vec(0..8_usize, 0..3), any::<bool>()), 1..8)
        .prop_map(|tasks| {
            let tasks = tasks.into_iter().enumerate().map(|(index, (on, is_vital))| Task {
                id: index.to_string(),
                title: None,
                instruction: format!("Do number {index}"),
                agent: AGENTS[index % 3].to_owned(),
                depends_on: on.iter().filter(|on| **on < index).map(ToString::to_string).collect(),
                critical: is_vital && index == 2,
            });
            Plan::new(tasks.collect(), &AGENTS, Limits::default()).unwrap()
        })
}

/// What an observer knows from events and effects alone.
#[derive(Default)]
struct Observed {
    running: BTreeMap<String, u32>,
    held: BTreeSet<String>,
    done: BTreeSet<String>,
    replans: u32,
    starts: usize,
    finished: Option<Outcome>,
}

impl Observed {
    fn see(
        &mut self,
        workflow: &Workflow,
        effects: &[Effect],
        most: usize,
    ) -> Result<(), TestCaseError> {
        for effect in effects {
            prop_assert!(self.finished.is_none(), "something came after the end");
            match effect {
                Effect::Start(assignment) => {
                    prop_assert!(self.held.is_empty(), "begun beside what is held");
                    let task = &assignment.task;
                    for on in &task.depends_on {
                        prop_assert!(self.done.contains(on), "{} started before {on}", task.id);
                    }
                    prop_assert_eq!(assignment.upstream.len(), task.depends_on.len());
                    let before = self.running.insert(task.id.clone(), assignment.attempt);
                    prop_assert_eq!(before, None, "{} ran twice at once", task.id);
                    prop_assert!(!self.done.contains(&task.id), "{} was done already", task.id);
                    self.starts += 1;
                }
                Effect::Stop { id, attempt } => {
                    prop_assert_eq!(self.running.remove(id), Some(*attempt));
                    self.held.remove(id);
                }
                Effect::AskReplan(replan) => {
                    self.replans += 1;
                    prop_assert_eq!(replan.number, self.replans);
                    prop_assert!(self.running.is_empty());
                }
                Effect::Finish(outcome) => self.finished = Some(outcome.clone()),
                Effect::Retry { .. }
                | Effect::GaveUp { .. }
                | Effect::Skipped { .. }
                | Effect::WakeAt(_) => {}
            }
        }
        prop_assert!(self.running.len() <= most.max(1), "{:?} run", self.running);
        if let Some(outcome) = &self.finished {
            prop_assert!(self.running.is_empty(), "{:?} run after the end", self.running);
            for result in &outcome.results {
                prop_assert!(self.done.contains(&result.task.id), "{} is not done", result.task.id);
                prop_assert!(outcome.missing.iter().all(|missing| missing.id != result.task.id));
            }
            let told = outcome.results.len() + outcome.missing.len();
            prop_assert_eq!(told, workflow.plan().tasks().len(), "a task was not told of");
            prop_assert_eq!(
                outcome.end == End::Completed,
                outcome.missing.is_empty() && outcome.end != End::Cancelled
            );
        }
        Ok(())
    }
}

/// A plan of tasks that are done, and of new ones.
fn new_plan(
    workflow: &Workflow,
    numbers: &[usize],
    done: &BTreeSet<String>,
    salt: u32,
) -> Option<Plan> {
    let kept = workflow.plan().tasks().iter().filter(|task| done.contains(&task.id)).cloned();
    let mut tasks: Vec<Task> = kept.collect();
    let on: Vec<String> = tasks.iter().map(|task| task.id.clone()).take(1).collect();
    for number in numbers {
        tasks.push(Task {
            id: format!("new{salt}-{number}"),
            title: None,
            instruction: format!("word{salt}{number} other{number} thing{salt}"),
            agent: AGENTS[number % 3].to_owned(),
            depends_on: on.clone(),
            critical: false,
        });
    }
    Plan::new(tasks, &AGENTS, Limits { tasks: 60, ..Limits::default() }).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_invariants_hold_in_any_storm(
        plan in plans(),
        policy in policies(),
        blows in proptest::collection::vec(blow(), 0..60),
    ) {
        let most = policy.max_parallel_tasks;
        let mut now_ms = 0;
        let mut workflow = Workflow::new(plan, policy, AGENTS.map(str::to_owned).to_vec(), now_ms);
        let mut observed = Observed::default();
        let effects = workflow.step(Event::Tick, now_ms);
        observed.see(&workflow, &effects, most)?;
        for (salt, blow) in (0..).zip(blows) {
            let event = match blow {
                Blow::Done(at) => {
                    let Some((id, attempt)) = observed.running.iter().nth(at) else { continue };
                    let (id, attempt) = (id.clone(), *attempt);
                    if observed.held.contains(&id) {
                        continue;
                    }
                    observed.running.remove(&id);
                    observed.done.insert(id.clone());
                    Event::TaskDone { text: id.clone(), id, attempt }
                }
                Blow::Failed(at, kind) => {
                    let Some((id, attempt)) = observed.running.iter().nth(at) else { continue };
                    let (id, attempt) = (id.clone(), *attempt);
                    if observed.held.contains(&id) {
                        continue;
                    }
                    observed.running.remove(&id);
                    Event::TaskFailed { id, attempt, fault: "it broke".into(), kind }
                }
                Blow::Held(at) => {
                    let Some((id, attempt)) = observed.running.iter().nth(at) else { continue };
                    let (id, attempt) = (id.clone(), *attempt);
                    observed.held.insert(id.clone());
                    Event::TaskHeld { id, attempt }
                }
                Blow::Stale(task, attempt, is_done) => {
                    let id = task.to_string();
                    if observed.running.get(&id) == Some(&attempt) {
                        continue;
                    }
                    if is_done {
                        Event::TaskDone { id, attempt, text: "late".into() }
                    } else {
                        let fault = "late".to_owned();
                        Event::TaskFailed { id, attempt, fault, kind: FailureKind::Timeout }
                    }
                }
                Blow::Pass(ms) => {
                    now_ms += ms;
                    Event::Tick
                }
                Blow::Replanned(numbers) => {
                    match new_plan(&workflow, &numbers, &observed.done, salt) {
                        Some(plan) => Event::Replanned(plan),
                        None => continue,
                    }
                }
                Blow::ReplanFailed => Event::ReplanFailed { why: "no".into() },
                Blow::Cancelled => Event::Cancelled,
            };
            let effects = workflow.step(event, now_ms);
            observed.see(&workflow, &effects, most)?;
        }
        // Left alone, it ends when its time is over, by the times that it asked to be woken at.
        for _ in 0..200 {
            if observed.finished.is_some() {
                break;
            }
            let effects = workflow.step(Event::Tick, now_ms);
            observed.see(&workflow, &effects, most)?;
            let Some(Effect::WakeAt(at_ms)) = effects.last() else { continue };
            prop_assert!(*at_ms > now_ms, "it wants to be woken in the past");
            now_ms = *at_ms;
        }
        prop_assert!(observed.finished.is_some(), "it did not end");
        prop_assert!(now_ms <= 3_600_000 + 60 * 400_000);
        prop_assert_eq!(workflow.step(Event::Tick, now_ms + 1), vec![]);
    }
}
