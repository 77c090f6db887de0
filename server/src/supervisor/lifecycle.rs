//! The life of one formation as a pure machine: `(state, event, now) → (state, effects)`.
//!
//! A start, a restart, an update and a rollback are one thing: a wish for another target. While an
//! instance serves, the one that fulfils the wish is started beside it and takes over when it is
//! healthy; a failure before that leaves the old one serving, and a failure on trial goes back.
//!
//! Invariants: no I/O and no clock; at most one instance is routed, and only a healthy one;
//! `Removed` is final and comes when no process is left. The actor performs the effects and feeds
//! back what it sees.

mod state;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backoff::RestartPolicy;

pub use self::state::{
    Desired, DesiredState, Effect, Event, Instance, InstanceNumber, Leaving, Moment, Phase, Policy,
    StartFault, Target,
};

/// The machine's whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub desired: Desired,
    pub phase: Phase,
    /// Processes that no longer belong to the phase and have not ended yet.
    pub leaving: BTreeMap<InstanceNumber, Leaving>,
    /// Deaths since the last stable run.
    pub deaths: u32,
    /// The newest instance's number.
    pub newest: InstanceNumber,
    /// The newest target that was tried, so that only another one is tried at once.
    pub tried: Target,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// A formation that has nothing running yet.
    pub fn new(desired: Desired, newest: InstanceNumber) -> Self {
        Self {
            desired,
            phase: Phase::Stopped,
            leaving: BTreeMap::new(),
            deaths: 0,
            newest,
            tried: Target::default(),
        }
    }

    /// One step. Events of instances that are gone change nothing.
    pub fn step(mut self, event: &Event, at: Moment, policy: &Policy) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let step = &mut Step { at, policy, effects: &mut effects };
        match *event {
            Event::Desired(desired) => {
                self.desired = desired;
                self.reconcile(step);
            }
            Event::SpawnFailed { instance } => self.gone(instance, StartFault::Spawn, step),
            Event::Exited { instance } => self.gone(instance, StartFault::Exited, step),
            Event::Healthy { instance } => self.became_healthy(instance, step),
            Event::Unresponsive { instance } => self.unresponsive(instance, step),
            Event::Drained { instance } => {
                if matches!(self.leaving.get(&instance), Some(Leaving::Draining { .. })) {
                    self.end(instance, step);
                }
            }
            Event::TimePassed => self.time_passed(step),
        }
        (self, effects)
    }

    /// The instance that gets the formation's traffic, and since when it is healthy.
    pub fn serving(&self) -> Option<(Instance, Timestamp)> {
        match self.phase {
            Phase::Running { instance, since }
            | Phase::Trial { instance, since, .. }
            | Phase::Replacing { serving: instance, since, .. } => Some((instance, since)),
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => None,
        }
    }

    /// The instance whose start is awaited.
    pub fn awaited(&self) -> Option<Instance> {
        match self.phase {
            Phase::Starting { instance, .. } | Phase::Replacing { new: instance, .. } => {
                Some(instance)
            }
            Phase::Stopped
            | Phase::Running { .. }
            | Phase::Trial { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => None,
        }
    }

    /// When the machine must look again, if nothing happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let phase = match self.phase {
            Phase::Starting { deadline, .. } | Phase::Replacing { deadline, .. } => Some(deadline),
            Phase::Trial { until, .. } | Phase::Waiting { until } => Some(until),
            Phase::Stopped
            | Phase::Running { .. }
            | Phase::Stopping
            | Phase::CrashLoop
            | Phase::Removed => None,
        };
        self.leaving.values().filter_map(Leaving::wake_at).chain(phase).min()
    }

    /// Brings what is closer to what should be. Idempotent.
    fn reconcile(&mut self, step: &mut Step<'_>) {
        match self.desired.state {
            DesiredState::Running => self.reconcile_running(step),
            DesiredState::Stopped | DesiredState::Removed => self.reconcile_down(step),
        }
    }

    fn reconcile_running(&mut self, step: &mut Step<'_>) {
        let target = self.desired.target;
        let untried = target != self.tried;
        match self.phase.clone() {
            Phase::Stopped => self.start(step),
            Phase::Waiting { .. } | Phase::CrashLoop if untried => {
                self.deaths = 0;
                self.start(step);
            }
            Phase::Starting { instance, .. } if instance.target != target => {
                self.end(instance.number, step);
                self.start(step);
            }
            Phase::Running { instance, since } if instance.target != target && untried => {
                self.replace(instance, since, step);
            }
            Phase::Replacing { serving, since, new, .. } if new.target != target => {
                self.end(new.number, step);
                self.return_to(serving, since, step);
            }
            Phase::Trial { instance, since, standby, .. } if instance.target != target => {
                let fits = |standby: &Instance| standby.target.generation == target.generation;
                if let Some(standby) = standby.filter(fits) {
                    self.drain(instance.number, step);
                    step.effects.push(Effect::Route { instance: standby.number });
                    self.return_to(standby, step.at.now, step);
                } else {
                    if let Some(standby) = standby {
                        self.drain(standby.number, step);
                    }
                    self.replace(instance, since, step);
                }
            }
            Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Trial { .. }
            | Phase::Stopping
            | Phase::Removed => {}
        }
    }

    /// The wish left what was started for it: `serving` goes on, and stands for the wish if it is
    /// of the wished generation.
    fn return_to(&mut self, mut serving: Instance, since: Timestamp, step: &mut Step<'_>) {
        if serving.target.generation == self.desired.target.generation {
            serving.target = self.desired.target;
            self.tried = serving.target;
            self.phase = Phase::Running { instance: serving, since };
        } else {
            self.replace(serving, since, step);
        }
    }

    fn reconcile_down(&mut self, step: &mut Step<'_>) {
        match self.phase.clone() {
            Phase::Removed => return,
            Phase::Stopped | Phase::Waiting { .. } | Phase::CrashLoop | Phase::Stopping => {}
            Phase::Starting { instance, .. } => self.end(instance.number, step),
            Phase::Running { instance, .. } => {
                step.effects.push(Effect::Unroute);
                self.end(instance.number, step);
            }
            Phase::Replacing { serving, new, .. } => {
                step.effects.push(Effect::Unroute);
                self.end(serving.number, step);
                self.end(new.number, step);
            }
            Phase::Trial { instance, standby, .. } => {
                step.effects.push(Effect::Unroute);
                self.end(instance.number, step);
                if let Some(standby) = standby {
                    self.end(standby.number, step);
                }
            }
        }
        let draining: Vec<InstanceNumber> = self
            .leaving
            .iter()
            .filter(|(_, leaving)| matches!(leaving, Leaving::Draining { .. }))
            .map(|(number, _)| *number)
            .collect();
        for number in draining {
            self.end(number, step);
        }
        self.phase = Phase::Stopping;
        self.settle_down(step);
    }

    /// Down once the last process is gone.
    fn settle_down(&mut self, step: &mut Step<'_>) {
        if self.phase != Phase::Stopping || !self.leaving.is_empty() {
            return;
        }
        match self.desired.state {
            DesiredState::Removed => {
                self.phase = Phase::Removed;
                step.effects.push(Effect::Remove);
            }
            DesiredState::Stopped => self.phase = Phase::Stopped,
            DesiredState::Running => {
                self.phase = Phase::Stopped;
                self.start(step);
            }
        }
    }

    fn spawn(&mut self, step: &mut Step<'_>) -> (Instance, Timestamp) {
        self.newest += 1;
        self.tried = self.desired.target;
        let instance = Instance { number: self.newest, target: self.desired.target };
        step.effects.push(Effect::Spawn { instance });
        (instance, step.at.now + step.policy.start_deadline)
    }

    fn start(&mut self, step: &mut Step<'_>) {
        let (instance, deadline) = self.spawn(step);
        self.phase = Phase::Starting { instance, deadline };
    }

    fn replace(&mut self, serving: Instance, since: Timestamp, step: &mut Step<'_>) {
        let (new, deadline) = self.spawn(step);
        self.phase = Phase::Replacing { serving, since, new, deadline };
    }

    /// The process finishes what it has, and is then told to end.
    fn drain(&mut self, number: InstanceNumber, step: &mut Step<'_>) {
        let until = step.at.now + step.policy.drain;
        self.leaving.insert(number, Leaving::Draining { until });
        step.effects.push(Effect::Drain { instance: number });
    }

    /// The process is told to end now.
    fn end(&mut self, number: InstanceNumber, step: &mut Step<'_>) {
        let kill_at = step.at.now + step.policy.stop_grace;
        self.leaving.insert(number, Leaving::Ending { kill_at, killed: false });
        step.effects.push(Effect::Terminate { instance: number });
    }

    fn became_healthy(&mut self, number: InstanceNumber, step: &mut Step<'_>) {
        let (instance, old) = match self.phase {
            Phase::Starting { instance, .. } => (instance, None),
            Phase::Replacing { serving, new, .. } => (new, Some(serving)),
            Phase::Stopped
            | Phase::Running { .. }
            | Phase::Trial { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => return,
        };
        if instance.number != number {
            return;
        }
        let since = step.at.now;
        step.effects.push(Effect::Route { instance: number });
        if self.desired.on_trial {
            if let Some(old) = old {
                step.effects.push(Effect::Retire { instance: old.number });
            }
            let until = since + step.policy.trial;
            self.phase = Phase::Trial { instance, since, standby: old, until };
        } else {
            self.phase = Phase::Running { instance, since };
            if let Some(old) = old {
                self.drain(old.number, step);
            }
        }
    }

    fn unresponsive(&mut self, number: InstanceNumber, step: &mut Step<'_>) {
        if self.serving().is_some_and(|(serving, _)| serving.number == number) {
            self.end(number, step);
            self.lost(number, StartFault::Unresponsive, step);
        }
    }

    /// A process ended, or never began.
    fn gone(&mut self, number: InstanceNumber, fault: StartFault, step: &mut Step<'_>) {
        if self.leaving.remove(&number).is_some() {
            self.settle_down(step);
        } else {
            self.lost(number, fault, step);
        }
    }

    /// The phase has to do without this instance.
    fn lost(&mut self, number: InstanceNumber, fault: StartFault, step: &mut Step<'_>) {
        match self.phase.clone() {
            Phase::Starting { instance, .. } if instance.number == number => {
                step.start_failed(instance, fault, None);
                // What never ran is not tried again at once: a new deploy may be given up first.
                self.died(1, step);
            }
            Phase::Running { instance, since } if instance.number == number => {
                step.effects.push(Effect::Unroute);
                let ran = step.at.now.duration_since(since).unsigned_abs();
                if ran >= step.policy.restart.stable_after {
                    self.deaths = 0;
                }
                self.died(0, step);
            }
            Phase::Replacing { serving, new, deadline, .. } if serving.number == number => {
                step.effects.push(Effect::Unroute);
                self.phase = Phase::Starting { instance: new, deadline };
            }
            Phase::Replacing { serving, since, new, .. } if new.number == number => {
                self.keep(serving, since, new, fault, step);
            }
            Phase::Trial { instance, standby: Some(standby), .. } if instance.number == number => {
                step.effects.push(Effect::Route { instance: standby.number });
                self.keep(standby, step.at.now, instance, StartFault::OnTrial, step);
            }
            Phase::Trial { instance, standby: None, .. } if instance.number == number => {
                step.effects.push(Effect::Unroute);
                step.start_failed(instance, StartFault::OnTrial, None);
                self.died(1, step);
            }
            Phase::Trial { instance, since, standby: Some(standby), until }
                if standby.number == number =>
            {
                // From now on there is nothing to go back to at once.
                self.phase = Phase::Trial { instance, since, standby: None, until };
            }
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Trial { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => {}
        }
    }

    /// What was wished did not come to be; `kept` serves, and the wish counts as tried.
    fn keep(
        &mut self,
        mut kept: Instance,
        since: Timestamp,
        failed: Instance,
        fault: StartFault,
        step: &mut Step<'_>,
    ) {
        kept.target.epoch = self.desired.target.epoch;
        self.phase = Phase::Running { instance: kept, since };
        step.start_failed(failed, fault, Some(kept));
    }

    /// One more death in a row: wait, or give up. The wait is that after at least
    /// `deaths_before` + 1 deaths.
    fn died(&mut self, deaths_before: u32, step: &mut Step<'_>) {
        self.deaths = self.deaths.saturating_add(1);
        let deaths = self.deaths.max(deaths_before + 1);
        match step.policy.restart.delay(deaths, step.at.jitter) {
            Some(delay) if delay.is_zero() => self.start(step),
            Some(delay) => self.phase = Phase::Waiting { until: step.at.now + delay },
            None => self.phase = Phase::CrashLoop,
        }
    }

    fn time_passed(&mut self, step: &mut Step<'_>) {
        let now = step.at.now;
        for (number, leaving) in self.leaving.clone() {
            match leaving {
                Leaving::Draining { until } if now >= until => self.end(number, step),
                Leaving::Ending { kill_at, killed: false } if now >= kill_at => {
                    self.leaving.insert(number, Leaving::Ending { kill_at, killed: true });
                    step.effects.push(Effect::Kill { instance: number });
                }
                Leaving::Draining { .. } | Leaving::Ending { .. } => {}
            }
        }
        match self.phase.clone() {
            Phase::Starting { instance, deadline }
            | Phase::Replacing { new: instance, deadline, .. }
                if now >= deadline =>
            {
                self.end(instance.number, step);
                self.lost(instance.number, StartFault::NotHealthyInTime, step);
            }
            Phase::Trial { instance, since, standby, until } if now >= until => {
                self.desired.on_trial = false;
                self.phase = Phase::Running { instance, since };
                if let Some(standby) = standby {
                    self.drain(standby.number, step);
                }
            }
            Phase::Waiting { until } if now >= until => self.start(step),
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Replacing { .. }
            | Phase::Running { .. }
            | Phase::Trial { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => {}
        }
    }
}

/// What one step was given, and the effects that it has so far.
struct Step<'a> {
    at: Moment,
    policy: &'a Policy,
    effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    fn start_failed(&mut self, instance: Instance, fault: StartFault, kept: Option<Instance>) {
        self.effects.push(Effect::StartFailed { instance, fault, kept });
    }
}

#[cfg(test)]
mod tests;
