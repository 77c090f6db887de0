//! What the machine of a formation's life is made of.

use std::time::Duration;

use jiff::Timestamp;

use super::RestartPolicy;

/// Counts the instances of one formation; never reused.
pub type InstanceNumber = u64;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desired {
    pub state: DesiredState,
    pub target: Target,
    /// The target is new: should it fail soon, the one before it comes back.
    pub on_trial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredState {
    Running,
    Stopped,
    /// Stopped, and then everything of the formation goes.
    Removed,
}

/// What an instance is started for. The epoch grows with every start, restart, update or rollback
/// that is asked for, so that "restart" is a state to reach and not a message to lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    pub epoch: u64,
    pub generation: u64,
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub number: InstanceNumber,
    pub target: Target,
}

/// Where the formation is. A state owns exactly its own data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs.
    Stopped,
    /// A process was started and is not healthy yet; nobody serves.
    Starting { instance: Instance, deadline: Timestamp },
    /// The process is healthy and routed.
    Running { instance: Instance, since: Timestamp },
    /// `new` was started beside the one that serves, and is not healthy yet.
    Replacing { serving: Instance, since: Timestamp, new: Instance, deadline: Timestamp },
    /// The process serves, and the one before it stands by until the trial is over.
    Trial { instance: Instance, since: Timestamp, standby: Option<Instance>, until: Timestamp },
    /// All processes were told to end.
    Stopping,
    /// Down; the next try is at `until`.
    Waiting { until: Timestamp },
    /// Down after too many deaths in a row.
    CrashLoop,
    /// Gone for good.
    Removed,
}

/// How far a process that goes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It gets nothing new and finishes what it has, at most until then.
    Draining { until: Timestamp },
    /// It was told to end; at `kill_at` it is made to.
    Ending { kill_at: Timestamp, killed: bool },
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
    /// It answers, and accepts on the formation's port.
    Healthy {
        instance: InstanceNumber,
    },
    /// Liveness failed too many times in a row.
    Unresponsive {
        instance: InstanceNumber,
    },
    /// A draining instance has nothing left to do.
    Drained {
        instance: InstanceNumber,
    },
    Exited {
        instance: InstanceNumber,
    },
    /// The moment of [`super::Lifecycle::wake_at`] has come.
    TimePassed,
}

/// What the actor must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Spawn {
        instance: Instance,
    },
    /// Send this instance the formation's traffic.
    Route {
        instance: InstanceNumber,
    },
    Unroute,
    /// It must not accept on the formation's port any more.
    Retire {
        instance: InstanceNumber,
    },
    /// Retire it, and tell when it has nothing left to do.
    Drain {
        instance: InstanceNumber,
    },
    Terminate {
        instance: InstanceNumber,
    },
    Kill {
        instance: InstanceNumber,
    },
    /// Remove the formation's files and rows.
    Remove,
    /// What `instance` was started for did not come to be. `kept` serves instead.
    StartFailed {
        instance: Instance,
        fault: StartFault,
        kept: Option<Instance>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFault {
    Spawn,
    Exited,
    NotHealthyInTime,
    Unresponsive,
    /// It was healthy and failed within the trial.
    OnTrial,
}

/// Bounds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: RestartPolicy,
    /// From the start of the process to its first healthy answer.
    pub start_deadline: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    /// How long a new generation is watched before the old instance goes.
    pub trial: Duration,
    /// How long a replaced instance may finish what it has.
    pub drain: Duration,
}

/// Time and chance, handed in.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// Of 0.0–1.0.
    pub jitter: f64,
}

// === impl Leaving ===

impl Leaving {
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        match self {
            Self::Draining { until } => Some(*until),
            Self::Ending { kill_at, killed: false } => Some(*kill_at),
            Self::Ending { killed: true, .. } => None,
        }
    }
}
