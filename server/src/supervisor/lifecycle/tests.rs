use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    restart: RestartPolicy {
        first_delay: Duration::from_millis(500),
        longest_delay: Duration::from_secs(30),
        stable_after: Duration::from_mins(1),
        deaths_max: 3,
    },
    start_deadline: Duration::from_secs(30),
    stop_grace: Duration::from_secs(10),
    trial: Duration::from_secs(5),
    drain: Duration::from_mins(1),
};

const fn target(epoch: u64, generation: u64) -> Target {
    Target { epoch, generation }
}

fn running(epoch: u64) -> Event {
    desired(DesiredState::Running, epoch)
}

fn desired(state: DesiredState, epoch: u64) -> Event {
    Event::Desired(Desired { state, target: target(epoch, 1), on_trial: false })
}

/// An update or a rollback.
fn rollout(epoch: u64, generation: u64) -> Event {
    let target = target(epoch, generation);
    Event::Desired(Desired { state: DesiredState::Running, target, on_trial: true })
}

/// What the store says once an update has failed or was cancelled.
fn back(epoch: u64, generation: u64) -> Event {
    let target = target(epoch, generation);
    Event::Desired(Desired { state: DesiredState::Running, target, on_trial: false })
}

fn instance(number: InstanceNumber, epoch: u64, generation: u64) -> Instance {
    Instance { number, target: target(epoch, generation) }
}

fn spawn(number: InstanceNumber, epoch: u64, generation: u64) -> Effect {
    Effect::Spawn { instance: instance(number, epoch, generation) }
}

fn idle() -> Lifecycle {
    let nothing =
        Desired { state: DesiredState::Stopped, target: Target::default(), on_trial: false };
    Lifecycle::new(nothing, 0)
}

/// Plays `(seconds, event)` and gives the effects of each step.
fn play(events: &[(i64, Event)]) -> (Lifecycle, Vec<Vec<Effect>>) {
    let mut life = idle();
    let mut all = Vec::new();
    for (second, event) in events {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*second);
        let (next, effects) = life.step(event, Moment { now, jitter: 0.0 }, &POLICY);
        life = next;
        all.push(effects);
    }
    (life, all)
}

use Effect::{Drain, Kill, Remove, Retire, Route, StartFailed, Terminate, Unroute};
use Event::{Drained, Exited, Healthy, SpawnFailed, TimePassed, Unresponsive};

#[test]
fn a_deploy_starts_and_routes_one_instance() {
    let (life, effects) = play(&[(0, running(1)), (1, Healthy { instance: 1 })]);
    assert_eq!(effects, [vec![spawn(1, 1, 1)], vec![Route { instance: 1 }]]);
    assert!(matches!(life.phase, Phase::Running { instance: Instance { number: 1, .. }, .. }));
}

#[test]
fn the_same_wish_twice_does_nothing() {
    let (_, effects) = play(&[(0, running(1)), (1, Healthy { instance: 1 }), (2, running(1))]);
    assert!(effects[2].is_empty());
}

#[test]
fn a_restart_starts_the_new_before_the_old_goes() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, running(2)),
        (3, Healthy { instance: 2 }),
        (4, Drained { instance: 1 }),
        (5, Exited { instance: 1 }),
    ]);
    assert_eq!(
        effects[2..],
        [
            vec![spawn(2, 2, 1)],
            vec![Route { instance: 2 }, Drain { instance: 1 }],
            vec![Terminate { instance: 1 }],
            vec![],
        ]
    );
    assert_eq!((life.deaths, life.leaving.len()), (0, 0));
}

#[test]
fn an_update_has_a_trial_with_the_old_instance_standing_by() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, rollout(2, 2)),
        (3, Healthy { instance: 2 }),
        (7, TimePassed),
        (8, TimePassed),
        (9, Drained { instance: 1 }),
    ]);
    assert_eq!(
        effects[2..],
        [
            vec![spawn(2, 2, 2)],
            vec![Route { instance: 2 }, Retire { instance: 1 }],
            vec![],
            vec![Drain { instance: 1 }],
            vec![Terminate { instance: 1 }],
        ]
    );
    let served = life.serving().map(|(instance, _)| instance);
    assert_eq!(served, Some(instance(2, 2, 2)));
}

#[test]
fn a_new_generation_that_dies_at_its_start_leaves_the_old_one_serving() {
    let events = [
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, rollout(2, 2)),
        (3, Exited { instance: 2 }),
        (3, back(2, 1)),
        (4, TimePassed),
    ];
    let (life, effects) = play(&events);
    let kept = Some(instance(1, 2, 1));
    let failed = instance(2, 2, 2);
    assert_eq!(effects[3], [StartFailed { instance: failed, fault: StartFault::Exited, kept }]);
    assert_eq!(effects[4..], [vec![], vec![]], "nothing is tried again");
    assert_eq!(life.serving().map(|(it, _)| it), kept);
}

#[test]
fn one_that_is_not_healthy_in_time_is_ended_beside_the_old_one() {
    let (_, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, rollout(2, 2)),
        (32, TimePassed),
        (42, TimePassed),
        (43, Exited { instance: 2 }),
    ]);
    let failed = instance(2, 2, 2);
    let (fault, kept) = (StartFault::NotHealthyInTime, Some(instance(1, 2, 1)));
    assert_eq!(
        effects[3..],
        [
            vec![Terminate { instance: 2 }, StartFailed { instance: failed, fault, kept }],
            vec![Kill { instance: 2 }],
            vec![],
        ]
    );
}

#[test]
fn a_failure_on_trial_goes_back_to_the_one_that_stands_by() {
    let before = [
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, rollout(2, 2)),
        (3, Healthy { instance: 2 }),
    ];
    let failed = instance(2, 2, 2);
    let kept = Some(instance(1, 2, 1));
    let goes_back = StartFailed { instance: failed, fault: StartFault::OnTrial, kept };
    for (event, effects) in [
        (Exited { instance: 2 }, vec![Route { instance: 1 }, goes_back.clone()]),
        (
            Unresponsive { instance: 2 },
            vec![Terminate { instance: 2 }, Route { instance: 1 }, goes_back.clone()],
        ),
    ] {
        let events = [&before[..], &[(4, event), (4, back(2, 1)), (9, TimePassed)]].concat();
        let (life, all) = play(&events);
        assert_eq!(all[4], effects);
        assert_eq!(all[5], []);
        assert_eq!(life.serving().map(|(it, _)| it), kept);
    }
}

#[test]
fn a_cancelled_update_returns_at_once_whatever_its_stage() {
    let before = [(0, running(1)), (1, Healthy { instance: 1 }), (2, rollout(2, 2))];
    let (life, effects) = play(&[&before[..], &[(3, back(2, 1))]].concat());
    assert_eq!(effects[3], [Terminate { instance: 2 }]);
    assert_eq!(life.serving().map(|(it, _)| it), Some(instance(1, 2, 1)));

    let (life, effects) =
        play(&[&before[..], &[(3, Healthy { instance: 2 }), (4, back(2, 1))]].concat());
    assert_eq!(effects[4], [Drain { instance: 2 }, Route { instance: 1 }]);
    assert_eq!(life.serving().map(|(it, _)| it), Some(instance(1, 2, 1)));

    // Too late for the process that stood by: another one of its generation takes over.
    let late = [(3, Healthy { instance: 2 }), (9, TimePassed), (10, back(2, 1))];
    let (_, effects) = play(&[&before[..], &late].concat());
    assert_eq!(effects[5], [spawn(3, 2, 1)]);
}

#[test]
fn an_update_of_a_stopped_formation_that_fails_stops_it_again() {
    let stopped = Event::Desired(Desired {
        state: DesiredState::Stopped,
        target: target(2, 1),
        on_trial: false,
    });
    let (life, effects) = play(&[
        (0, desired(DesiredState::Stopped, 1)),
        (1, rollout(2, 2)),
        (2, Exited { instance: 1 }),
        (2, stopped),
    ]);
    let failed = instance(1, 2, 2);
    assert_eq!(
        effects[1..],
        [
            vec![spawn(1, 2, 2)],
            vec![StartFailed { instance: failed, fault: StartFault::Exited, kept: None }],
            vec![],
        ]
    );
    assert_eq!(life.phase, Phase::Stopped);
}

#[test]
fn a_crashed_formation_whose_update_fails_tries_its_old_generation_again() {
    let (_, effects) = play(&[
        (0, running(1)),
        (0, SpawnFailed { instance: 1 }),
        (0, rollout(2, 2)),
        (1, Exited { instance: 2 }),
        (1, back(2, 1)),
    ]);
    assert_eq!(effects[2], [spawn(2, 2, 2)]);
    assert_eq!(effects[4], [spawn(3, 2, 1)]);
}

#[test]
fn the_old_one_may_die_while_the_new_one_starts() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, running(2)),
        (3, Exited { instance: 1 }),
        (4, Healthy { instance: 2 }),
    ]);
    assert_eq!(effects[3..], [vec![Unroute], vec![Route { instance: 2 }]]);
    assert!(matches!(life.phase, Phase::Running { .. }));
}

#[test]
fn a_stop_in_the_middle_of_a_rollout_ends_every_process() {
    for before in [vec![], vec![(3, Healthy { instance: 2 })]] {
        let mut events = vec![(0, running(1)), (1, Healthy { instance: 1 }), (2, rollout(2, 2))];
        events.extend(before);
        events.push((4, desired(DesiredState::Stopped, 2)));
        let (life, effects) = play(&events);
        let last = effects.last().unwrap();
        assert!(
            last.contains(&Terminate { instance: 1 }) && last.contains(&Terminate { instance: 2 })
        );
        assert_eq!((life.phase, life.leaving.len()), (Phase::Stopping, 2));
        events.extend([(5, Exited { instance: 2 }), (6, Exited { instance: 1 })]);
        assert_eq!(play(&events).0.phase, Phase::Stopped);
    }
}

#[test]
fn a_draining_instance_has_a_deadline() {
    let (_, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, running(2)),
        (3, Healthy { instance: 2 }),
        (62, TimePassed),
        (63, TimePassed),
        (73, TimePassed),
    ]);
    assert_eq!(effects[4..], [vec![], vec![Terminate { instance: 1 }], vec![Kill { instance: 1 }]]);
}

#[test]
fn the_first_death_is_mended_at_once_and_later_ones_after_a_wait() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, Exited { instance: 1 }),
        (3, Exited { instance: 2 }),
    ]);
    assert_eq!(effects[2], [Unroute, spawn(2, 1, 1)]);
    let failed = instance(2, 1, 1);
    assert_eq!(
        effects[3],
        [StartFailed { instance: failed, fault: StartFault::Exited, kept: None }]
    );
    assert!(matches!(life.phase, Phase::Waiting { .. }));
}

#[test]
fn too_many_deaths_are_a_crash_loop_that_only_a_newer_wish_leaves() {
    let mut events = vec![(0, running(1)), (0, SpawnFailed { instance: 1 })];
    events.extend([(1, TimePassed), (2, SpawnFailed { instance: 2 }), (9, TimePassed)]);
    events.extend([(10, SpawnFailed { instance: 3 }), (19, TimePassed)]);
    events.push((20, SpawnFailed { instance: 4 }));
    let (life, _) = play(&events);
    assert_eq!(life.phase, Phase::CrashLoop);
    events.extend([(21, running(1)), (99, TimePassed)]);
    assert_eq!(play(&events).0.phase, Phase::CrashLoop);
    events.push((100, running(2)));
    let (life, _) = play(&events);
    assert!(matches!(life.phase, Phase::Starting { instance, .. } if instance.target.epoch == 2));
}

#[test]
fn a_stable_run_forgives() {
    let mut events = vec![(0, running(1))];
    for turn in 0..20u64 {
        let second = i64::try_from(turn).unwrap() * 100;
        events.push((second, Healthy { instance: turn + 1 }));
        events.push((second + 61, Exited { instance: turn + 1 }));
    }
    assert_eq!(play(&events).0.deaths, 1);
}

#[test]
fn a_start_that_takes_too_long_is_ended_and_then_killed() {
    let (_, effects) =
        play(&[(0, running(1)), (30, TimePassed), (39, TimePassed), (40, TimePassed)]);
    let failed = instance(1, 1, 1);
    let fault = StartFault::NotHealthyInTime;
    assert_eq!(
        effects[1],
        [Terminate { instance: 1 }, StartFailed { instance: failed, fault, kept: None }]
    );
    assert!(effects[2].contains(&spawn(2, 1, 1)), "the next try does not wait for the corpse");
    assert_eq!(effects[3], [Kill { instance: 1 }]);
}

#[test]
fn removal_waits_for_every_process() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, running(2)),
        (3, Healthy { instance: 2 }),
        (4, desired(DesiredState::Removed, 2)),
        (5, Exited { instance: 2 }),
        (6, Exited { instance: 1 }),
        (7, running(3)),
    ]);
    assert_eq!(
        effects[4..],
        [
            vec![Unroute, Terminate { instance: 2 }, Terminate { instance: 1 }],
            vec![],
            vec![Remove],
            vec![]
        ]
    );
    assert_eq!(life.phase, Phase::Removed);
}

#[test]
fn a_hung_instance_is_replaced_without_waiting_for_its_end() {
    let (_, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (5, Unresponsive { instance: 1 }),
        (6, Exited { instance: 1 }),
    ]);
    assert_eq!(effects[2], [Terminate { instance: 1 }, Unroute, spawn(2, 1, 1)]);
    assert_eq!(effects[3], []);
}

fn any_event() -> impl Strategy<Value = Event> {
    let instance = 0..8u64;
    prop_oneof![
        (0..3u8, 0..4u64, 1..4u64, any::<bool>()).prop_map(
            |(state, epoch, generation, on_trial)| {
                let states = [DesiredState::Running, DesiredState::Stopped, DesiredState::Removed];
                let state = states[usize::from(state)];
                Event::Desired(Desired { state, target: target(epoch, generation), on_trial })
            }
        ),
        instance.clone().prop_map(|instance| SpawnFailed { instance }),
        instance.clone().prop_map(|instance| Healthy { instance }),
        instance.clone().prop_map(|instance| Unresponsive { instance }),
        instance.clone().prop_map(|instance| Drained { instance }),
        instance.prop_map(|instance| Exited { instance }),
        Just(TimePassed),
    ]
}

/// What a storm of events has made of the world, told by the effects alone.
#[derive(Default)]
struct World {
    alive: BTreeSet<InstanceNumber>,
    /// Told to end, or to drain.
    going: BTreeSet<InstanceNumber>,
    routed: Option<InstanceNumber>,
}

impl World {
    fn see(&mut self, effect: &Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Spawn { instance } => {
                prop_assert!(self.alive.insert(instance.number), "a number was used again");
                let staying = self.alive.difference(&self.going).count();
                prop_assert!(staying <= 2, "more than two instances stay");
            }
            Route { instance } => {
                prop_assert!(self.alive.contains(instance), "the dead are not routed");
                prop_assert!(!self.going.contains(instance), "who goes is not routed");
                self.routed = Some(*instance);
            }
            Unroute => self.routed = None,
            Drain { instance } | Terminate { instance } => {
                prop_assert!(self.alive.contains(instance));
                self.going.insert(*instance);
            }
            Kill { instance } => prop_assert!(self.going.contains(instance)),
            Remove => prop_assert!(self.alive.is_empty(), "something is left"),
            Retire { .. } | StartFailed { .. } => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_storm_of_events_keeps_the_invariants(
        storm in proptest::collection::vec((0..20i64, any_event()), 1..200),
    ) {
        let (mut life, mut second, mut world) = (idle(), 0, World::default());
        for (pause, event) in storm {
            second += pause;
            let removed = life.phase == Phase::Removed;
            if let Exited { instance } | SpawnFailed { instance } = event {
                // Only what is alive can end.
                if !world.alive.remove(&instance) {
                    continue;
                }
                world.going.remove(&instance);
            }
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
            let (next, effects) = life.step(&event, Moment { now, jitter: 0.5 }, &POLICY);
            for effect in &effects {
                world.see(effect)?;
            }
            if removed {
                prop_assert!(effects.is_empty(), "removed is final");
            }
            // A state that waits for time must ask to be woken.
            let waits = next.awaited().is_some() || matches!(next.phase, Phase::Waiting { .. });
            prop_assert!(!waits || next.wake_at().is_some(), "nothing would wake it");
            prop_assert_eq!(world.routed, next.serving().map(|(instance, _)| instance.number));
            let leaving: BTreeSet<InstanceNumber> = next.leaving.keys().copied().collect();
            prop_assert_eq!(&leaving, &world.going);
            life = next;
        }
    }
}
