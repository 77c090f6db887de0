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
};

fn running(epoch: u64) -> Event {
    Event::Desired(Desired { state: DesiredState::Running, epoch })
}

fn desired(state: DesiredState, epoch: u64) -> Event {
    Event::Desired(Desired { state, epoch })
}

/// Plays `(seconds, event)` and gives the effects of each step.
fn play(events: &[(i64, Event)]) -> (Lifecycle, Vec<Vec<Effect>>) {
    let start = Desired { state: DesiredState::Stopped, epoch: 0 };
    let mut life = Lifecycle::new(start, 0);
    let mut all = Vec::new();
    for (second, event) in events {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*second);
        let (next, effects) = life.step(event, Moment { now, jitter: 0.0 }, &POLICY);
        life = next;
        all.push(effects);
    }
    (life, all)
}

use Event::{Exited, Healthy, SpawnFailed, TimePassed, Unresponsive};

#[test]
fn a_deploy_starts_and_routes_one_instance() {
    let (life, effects) = play(&[(0, running(1)), (1, Healthy { instance: 1 })]);
    assert_eq!(
        effects,
        [vec![Effect::Spawn { instance: 1, epoch: 1 }], vec![Effect::Route { instance: 1 }]]
    );
    assert!(matches!(life.phase, Phase::Running { instance: 1, epoch: 1, .. }));
}

#[test]
fn the_same_wish_twice_does_nothing() {
    let (_, effects) = play(&[(0, running(1)), (1, Healthy { instance: 1 }), (2, running(1))]);
    assert!(effects[2].is_empty());
}

#[test]
fn a_restart_is_a_newer_epoch() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, running(2)),
        (3, Exited { instance: 1 }),
        (4, Healthy { instance: 2 }),
    ]);
    assert_eq!(
        effects[2..],
        [
            vec![Effect::Unroute, Effect::Terminate { instance: 1 }],
            vec![Effect::Spawn { instance: 2, epoch: 2 }],
            vec![Effect::Route { instance: 2 }],
        ]
    );
    assert_eq!(life.deaths, 0);
}

#[test]
fn the_first_death_is_mended_at_once_and_later_ones_after_a_wait() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, Exited { instance: 1 }),
        (3, Exited { instance: 2 }),
    ]);
    assert_eq!(effects[2], [Effect::Unroute, Effect::Spawn { instance: 2, epoch: 1 }]);
    assert_eq!(effects[3], [Effect::StartFailed { epoch: 1, fault: StartFault::Exited }]);
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
    assert!(matches!(play(&events).0.phase, Phase::Starting { epoch: 2, .. }));
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
fn a_start_that_takes_too_long_is_stopped_and_then_killed() {
    let (_, effects) = play(&[
        (0, running(1)),
        (30, TimePassed),
        (39, TimePassed),
        (40, TimePassed),
        (41, TimePassed),
    ]);
    let fault = StartFault::NotHealthyInTime;
    assert_eq!(
        effects[1],
        [Effect::StartFailed { epoch: 1, fault }, Effect::Terminate { instance: 1 }]
    );
    assert_eq!(effects[2..], [vec![], vec![Effect::Kill { instance: 1 }], vec![]]);
}

#[test]
fn removal_waits_for_the_process() {
    let (life, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (2, desired(DesiredState::Removed, 1)),
        (3, Exited { instance: 1 }),
        (4, running(2)),
    ]);
    assert_eq!(
        effects[2..],
        [vec![Effect::Unroute, Effect::Terminate { instance: 1 }], vec![Effect::Remove], vec![]]
    );
    assert_eq!(life.phase, Phase::Removed);
}

#[test]
fn a_hung_instance_is_replaced() {
    let (_, effects) = play(&[
        (0, running(1)),
        (1, Healthy { instance: 1 }),
        (5, Unresponsive { instance: 1 }),
        (6, Exited { instance: 1 }),
    ]);
    assert_eq!(effects[2], [Effect::Unroute, Effect::Terminate { instance: 1 }]);
    assert_eq!(effects[3], [Effect::Spawn { instance: 2, epoch: 1 }]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let instance = 0..6u64;
    prop_oneof![
        (0..3u8, 0..4u64).prop_map(|(state, epoch)| {
            let states = [DesiredState::Running, DesiredState::Stopped, DesiredState::Removed];
            desired(states[usize::from(state)], epoch)
        }),
        instance.clone().prop_map(|instance| SpawnFailed { instance }),
        instance.clone().prop_map(|instance| Healthy { instance }),
        instance.clone().prop_map(|instance| Unresponsive { instance }),
        instance.prop_map(|instance| Exited { instance }),
        Just(TimePassed),
    ]
}

proptest! {
    #[test]
    fn a_storm_of_events_keeps_the_invariants(
        storm in proptest::collection::vec((0..20i64, any_event()), 1..200),
    ) {
        let mut life = Lifecycle::new(Desired { state: DesiredState::Stopped, epoch: 0 }, 0);
        let (mut second, mut alive, mut routed) = (0, None, None);
        for (pause, event) in storm {
            second += pause;
            let removed = life.phase == Phase::Removed;
            let before = life.current();
            if let Exited { instance } | SpawnFailed { instance } = event && before == Some(instance) {
                alive = None;
            }
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
            let (next, effects) = life.step(&event, Moment { now, jitter: 0.5 }, &POLICY);
            for effect in &effects {
                match effect {
                    Effect::Spawn { instance, .. } => {
                        prop_assert_eq!(alive, None, "two instances alive");
                        alive = Some(*instance);
                    }
                    Effect::Route { instance } => {
                        prop_assert_eq!(alive, Some(*instance));
                        routed = Some(*instance);
                    }
                    Effect::Unroute => routed = None,
                    Effect::Remove => prop_assert_eq!(alive, None),
                    Effect::Terminate { .. } | Effect::Kill { .. } | Effect::StartFailed { .. } => {}
                }
            }
            if removed {
                prop_assert!(effects.is_empty(), "removed is final");
            }
            prop_assert_eq!(next.current(), alive);
            // A state that waits for time must ask to be woken.
            let waits = matches!(next.phase, Phase::Starting { .. } | Phase::Waiting { .. });
            prop_assert!(!waits || next.wake_at().is_some(), "nothing would wake it");
            prop_assert_eq!(routed.is_some(), matches!(next.phase, Phase::Running { .. }));
            life = next;
        }
    }
}
