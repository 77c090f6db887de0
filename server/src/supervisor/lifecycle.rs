//! The life of one formation as a pure machine: `(state, event, now) → (state, effects)`.
//!
//! Invariants: no I/O and no clock; at most one instance is alive; only a healthy instance is
//! routed; `Removed` is final. The actor performs the effects and feeds back what it sees.

use jiff::Timestamp;

use super::backoff::RestartPolicy;

/// Counts the instances of one formation; never reused.
pub type InstanceNumber = u64;

/// What the operator wants. `epoch` grows with every start or restart that is asked for, so that
/// "restart" is a state to reach and not a message to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desired {
    pub state: DesiredState,
    pub epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredState {
    Running,
    Stopped,
    /// Stopped, and then everything of the formation goes.
    Removed,
}

/// Where the formation is. A state owns exactly its own data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs.
    Stopped,
    /// A process was started and is not healthy yet.
    Starting { instance: InstanceNumber, epoch: u64, deadline: Timestamp },
    /// The process is healthy and routed.
    Running { instance: InstanceNumber, epoch: u64, since: Timestamp },
    /// The process was told to end; at `kill_at` it is made to.
    Stopping { instance: InstanceNumber, kill_at: Timestamp, killed: bool, why: StopReason },
    /// Down; the next try is at `until`.
    Waiting { until: Timestamp },
    /// Down after too many deaths in a row.
    CrashLoop,
    /// Gone for good.
    Removed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The operator wants it stopped, restarted or removed.
    Asked,
    /// It did not become healthy, or no longer answered.
    Unhealthy,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stored intent was read again.
    Desired(Desired),
    /// The process could not be started at all.
    SpawnFailed {
        instance: InstanceNumber,
    },
    Healthy {
        instance: InstanceNumber,
    },
    /// Liveness failed too many times in a row.
    Unresponsive {
        instance: InstanceNumber,
    },
    Exited {
        instance: InstanceNumber,
    },
    /// The moment of [`Lifecycle::wake_at`] has come.
    TimePassed,
}

/// What the actor must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Spawn {
        instance: InstanceNumber,
        epoch: u64,
    },
    /// Send this instance the formation's traffic.
    Route {
        instance: InstanceNumber,
    },
    Unroute,
    Terminate {
        instance: InstanceNumber,
    },
    Kill {
        instance: InstanceNumber,
    },
    /// Remove the formation's files and rows.
    Remove,
    /// The start that `epoch` asked for did not succeed.
    StartFailed {
        epoch: u64,
        fault: StartFault,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFault {
    Spawn,
    Exited,
    NotHealthyInTime,
}

/// Bounds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: RestartPolicy,
    /// From the start of the process to its first healthy answer.
    pub start_deadline: std::time::Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: std::time::Duration,
}

/// The machine's whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub desired: Desired,
    pub phase: Phase,
    /// Deaths since the last stable run.
    pub deaths: u32,
    /// The newest instance's number.
    pub newest: InstanceNumber,
    /// The newest epoch that was tried, so that only a newer one leaves a crash loop.
    pub tried_epoch: u64,
}

/// Time and chance, handed in.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// Of 0.0–1.0.
    pub jitter: f64,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// A formation that has nothing running yet.
    pub fn new(desired: Desired, newest: InstanceNumber) -> Self {
        Self { desired, phase: Phase::Stopped, deaths: 0, newest, tried_epoch: 0 }
    }

    /// One step. Events of instances that are no longer the current one change nothing.
    pub fn step(mut self, event: &Event, at: Moment, policy: &Policy) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        match *event {
            Event::Desired(desired) => self.desired = desired,
            Event::SpawnFailed { instance } | Event::Exited { instance }
                if Some(instance) == self.current() =>
            {
                self.ended(event, at, policy, &mut effects);
            }
            Event::Healthy { instance } => self.became_healthy(instance, at.now, &mut effects),
            Event::Unresponsive { instance } => {
                if matches!(self.phase, Phase::Running { instance: current, .. } if current == instance)
                {
                    effects.push(Effect::Unroute);
                    self.stop(instance, StopReason::Unhealthy, at, policy, &mut effects);
                }
            }
            Event::TimePassed => self.time_passed(at, policy, &mut effects),
            Event::SpawnFailed { .. } | Event::Exited { .. } => {}
        }
        self.reconcile(at, policy, &mut effects);
        (self, effects)
    }

    /// The instance that is alive, as far as is known.
    pub fn current(&self) -> Option<InstanceNumber> {
        match self.phase {
            Phase::Starting { instance, .. }
            | Phase::Running { instance, .. }
            | Phase::Stopping { instance, .. } => Some(instance),
            Phase::Stopped | Phase::Waiting { .. } | Phase::CrashLoop | Phase::Removed => None,
        }
    }

    /// When the machine must look again, if nothing happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Starting { deadline, .. } => Some(deadline),
            Phase::Stopping { kill_at, killed: false, .. } => Some(kill_at),
            Phase::Waiting { until } => Some(until),
            Phase::Stopping { killed: true, .. }
            | Phase::Stopped
            | Phase::Running { .. }
            | Phase::CrashLoop
            | Phase::Removed => None,
        }
    }

    /// Brings what is closer to what should be. Idempotent.
    fn reconcile(&mut self, at: Moment, policy: &Policy, effects: &mut Vec<Effect>) {
        match (self.phase.clone(), self.desired.state) {
            (Phase::Stopped, DesiredState::Running) => self.start(at, policy, effects),
            // Only a newer wish than the one that failed ends the wait or the loop early.
            (Phase::Waiting { .. } | Phase::CrashLoop, DesiredState::Running) => {
                if self.desired.epoch > self.tried_epoch {
                    self.deaths = 0;
                    self.start(at, policy, effects);
                }
            }
            (Phase::Waiting { .. } | Phase::CrashLoop, DesiredState::Stopped) => {
                self.phase = Phase::Stopped;
            }
            (Phase::Starting { instance, .. }, DesiredState::Stopped | DesiredState::Removed) => {
                self.stop(instance, StopReason::Asked, at, policy, effects);
            }
            (Phase::Running { instance, .. }, DesiredState::Stopped | DesiredState::Removed) => {
                effects.push(Effect::Unroute);
                self.stop(instance, StopReason::Asked, at, policy, effects);
            }
            (Phase::Starting { instance, epoch, .. }, DesiredState::Running)
                if epoch < self.desired.epoch =>
            {
                self.stop(instance, StopReason::Asked, at, policy, effects);
            }
            (Phase::Running { instance, epoch, .. }, DesiredState::Running)
                if epoch < self.desired.epoch =>
            {
                effects.push(Effect::Unroute);
                self.stop(instance, StopReason::Asked, at, policy, effects);
            }
            (Phase::Stopped | Phase::Waiting { .. } | Phase::CrashLoop, DesiredState::Removed) => {
                self.phase = Phase::Removed;
                effects.push(Effect::Remove);
            }
            (
                Phase::Stopped
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Stopping { .. }
                | Phase::Removed,
                _,
            ) => {}
        }
    }

    fn start(&mut self, at: Moment, policy: &Policy, effects: &mut Vec<Effect>) {
        self.newest += 1;
        let (instance, epoch) = (self.newest, self.desired.epoch);
        let deadline = at.now + policy.start_deadline;
        self.tried_epoch = epoch;
        self.phase = Phase::Starting { instance, epoch, deadline };
        effects.push(Effect::Spawn { instance, epoch });
    }

    fn stop(
        &mut self,
        instance: InstanceNumber,
        why: StopReason,
        at: Moment,
        policy: &Policy,
        effects: &mut Vec<Effect>,
    ) {
        let kill_at = at.now + policy.stop_grace;
        self.phase = Phase::Stopping { instance, kill_at, killed: false, why };
        effects.push(Effect::Terminate { instance });
    }

    fn became_healthy(
        &mut self,
        instance: InstanceNumber,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Phase::Starting { instance: current, epoch, .. } = self.phase
            && current == instance
        {
            self.phase = Phase::Running { instance, epoch, since: now };
            effects.push(Effect::Route { instance });
        }
    }

    fn ended(&mut self, event: &Event, at: Moment, policy: &Policy, effects: &mut Vec<Effect>) {
        match self.phase.clone() {
            Phase::Starting { epoch, .. } => {
                let spawned = !matches!(event, Event::SpawnFailed { .. });
                let fault = if spawned { StartFault::Exited } else { StartFault::Spawn };
                effects.push(Effect::StartFailed { epoch, fault });
                // What never ran is not tried again at once: a new deploy may be given up first.
                self.died(1, at, policy, effects);
            }
            Phase::Running { since, .. } => {
                effects.push(Effect::Unroute);
                let ran = at.now.duration_since(since);
                if ran.unsigned_abs() >= policy.restart.stable_after {
                    self.deaths = 0;
                }
                self.died(0, at, policy, effects);
            }
            Phase::Stopping { why: StopReason::Asked, .. } => self.phase = Phase::Stopped,
            Phase::Stopping { why: StopReason::Unhealthy, .. } => self.died(0, at, policy, effects),
            Phase::Stopped | Phase::Waiting { .. } | Phase::CrashLoop | Phase::Removed => {}
        }
    }

    /// One more death in a row: wait, or give up. The wait is that after at least
    /// `deaths_before` + 1 deaths.
    fn died(&mut self, deaths_before: u32, at: Moment, policy: &Policy, effects: &mut Vec<Effect>) {
        self.deaths = self.deaths.saturating_add(1);
        let delay = policy.restart.delay(self.deaths.max(deaths_before + 1), at.jitter);
        match delay {
            Some(delay) if delay.is_zero() && self.desired.state == DesiredState::Running => {
                self.start(at, policy, effects);
            }
            Some(delay) => {
                let until = at.now + delay;
                self.phase = Phase::Waiting { until };
            }
            None => self.phase = Phase::CrashLoop,
        }
    }

    fn time_passed(&mut self, at: Moment, policy: &Policy, effects: &mut Vec<Effect>) {
        match self.phase.clone() {
            Phase::Starting { instance, epoch, deadline } if at.now >= deadline => {
                let fault = StartFault::NotHealthyInTime;
                effects.push(Effect::StartFailed { epoch, fault });
                self.stop(instance, StopReason::Unhealthy, at, policy, effects);
            }
            Phase::Stopping { instance, kill_at, killed: false, why } if at.now >= kill_at => {
                self.phase = Phase::Stopping { instance, kill_at, killed: true, why };
                effects.push(Effect::Kill { instance });
            }
            Phase::Waiting { until }
                if at.now >= until && self.desired.state == DesiredState::Running =>
            {
                self.start(at, policy, effects);
            }
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => {}
        }
    }
}

#[cfg(test)]
mod tests;
