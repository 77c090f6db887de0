//! The one impure loop of a formation: it reads the intent, steps the machine, performs effects.
//!
//! Invariants: only this task changes the formation's instance; every act is noted in the store
//! before it is done; every step of an operation is stored before anyone is told.

mod adopt;
mod outcome;
mod publish;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::management::{Failed, Progress, Stage};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::RestartPolicy;
use super::closed_sign::ClosedSign;
use super::instance::{self, Plan, StartError};
use super::lifecycle::{
    Desired, DesiredState, Effect, Event, InstanceNumber, Lifecycle, Moment, Phase, Policy,
};
use super::process::{self, Exit};
use super::record::Record;
use super::{Context, Nudge};
use crate::config::OnManagerStop;
use crate::ports::Lease;
use crate::store::formations::{self, Formation};
use crate::store::instances::{self, InstanceRow};
use crate::store::operations::OperationKind;

/// What the actor's watchers saw.
enum Seen {
    Exited(InstanceNumber, Exit),
    Healthy(InstanceNumber),
    Unresponsive(InstanceNumber),
    Handed(InstanceNumber, io::Result<Lease>),
}

/// The process of the current instance.
struct Living {
    process: process::Handle,
    /// Cancelled with the instance, which ends its watchers.
    ended: CancellationToken,
    _guard: DropGuard,
}

struct Actor {
    context: Arc<Context>,
    id: FormationId,
    record: Record,
    policy: Policy,
    life: Lifecycle,
    formation: Formation,
    lease: Option<Lease>,
    living: Option<Living>,
    /// The end of the error log when the newest instance started.
    log_from: u64,
    watchers: FuturesUnordered<BoxFuture<'static, Option<Seen>>>,
    attempts: (mpsc::Sender<u32>, mpsc::Receiver<u32>),
    probes: (mpsc::Sender<bool>, mpsc::Receiver<bool>),
    sign: Option<ClosedSign>,
    healthy: Option<bool>,
    /// Its last instance ended in good order with an earlier manager, so the next is no restart.
    comes_back: bool,
    /// Why the formation is down.
    reason: Option<String>,
    /// What a failed deploy reports once its traces are removed.
    verdict: Option<Failed>,
}

/// Runs until the formation is removed or the manager stops.
pub(super) async fn run(
    context: Arc<Context>,
    id: FormationId,
    lease: Option<Lease>,
    mut mailbox: mpsc::Receiver<Nudge>,
) {
    let Some(mut actor) = Actor::load(context, id, lease).await else { return };
    let mut stopping = false;
    loop {
        let event = tokio::select! {
            biased;
            // What happened to the process first: a dead child must not be signalled. Cancel-safe.
            Some(seen) = actor.watchers.next() => match seen {
                Some(seen) => actor.note(seen).await,
                None => None,
            },
            // The manager's stop before wishes, so that a flood of them cannot delay it. Cancel-safe.
            () = actor.context.shutdown.stopping.cancelled(), if !stopping => {
                stopping = true;
                match actor.context.config.formations.on_manager_stop {
                    OnManagerStop::Keep => return,
                    OnManagerStop::Stop => Some(actor.wish_to_stop()),
                }
            }
            // Cancel-safe: a nudge carries nothing that could be lost.
            nudge = mailbox.recv(), if !stopping => match nudge {
                Some(Nudge) => actor.reload().await,
                None => return,
            },
            Some(attempt) = actor.attempts.1.recv() => { actor.report_attempt(attempt).await; None }
            Some(healthy) = actor.probes.1.recv() => { actor.healthy = Some(healthy); actor.publish(); None }
            () = sleep_until(&actor.context, actor.life.wake_at()) => Some(Event::TimePassed),
        };
        if let Some(event) = event {
            actor.play(event).await;
        }
        let ended =
            actor.life.phase == Phase::Removed || (stopping && actor.life.phase == Phase::Stopped);
        if ended {
            return;
        }
    }
}

// === impl Actor ===

impl Actor {
    /// Reads the intent again.
    async fn reload(&mut self) -> Option<Event> {
        let id = self.id.clone();
        let formation = self.record.read(move |db| formations::get(db, &id)).await?;
        self.formation = formation;
        Some(Event::Desired(self.formation.desired))
    }

    /// The stored wish stays, so the formation comes back with the manager.
    fn wish_to_stop(&self) -> Event {
        Event::Desired(Desired { state: DesiredState::Stopped, epoch: self.life.desired.epoch })
    }

    /// Turns what was seen into an event, after it was noted.
    async fn note(&mut self, seen: Seen) -> Option<Event> {
        match seen {
            Seen::Exited(instance, Exit(exit)) => {
                let current = self.life.current() == Some(instance);
                if let Some(living) = self.living.take_if(|_| current) {
                    living.process.sweep_group();
                    let tail = instance::log_tail(&self.context, &self.id, self.log_from);
                    let last = tail.last().map(|line| format!(": {line}")).unwrap_or_default();
                    self.reason = Some(format!("the process ended with {exit}{last}"));
                    if matches!(self.life.phase, Phase::Stopping { .. }) {
                        tracing::info!(formation = %self.id, instance, exit, "the instance ended");
                    } else {
                        tracing::warn!(formation = %self.id, instance, exit, "the instance died");
                    }
                }
                instance::remove_sockets(&self.context, &self.id, instance);
                let id = self.id.clone();
                self.record.write(move |tx| instances::end(tx, &id, instance)).await;
                Some(Event::Exited { instance })
            }
            Seen::Healthy(instance) => {
                let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
                self.record
                    .write(move |tx| instances::set_healthy(tx, &id, instance, now_ms))
                    .await;
                Some(Event::Healthy { instance })
            }
            Seen::Handed(instance, taken) => {
                self.handed(instance, taken);
                None
            }
            Seen::Unresponsive(instance) => {
                tracing::warn!(formation = %self.id, instance, "the instance no longer answers");
                self.reason = Some("it no longer answered its health probes".to_owned());
                Some(Event::Unresponsive { instance })
            }
        }
    }

    /// Steps the machine until no effect brings a further event.
    async fn play(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let at = Moment { now: self.context.steady.now(), jitter: fastrand::f64() };
            let (life, effects) = self.life.clone().step(&event, at, &self.policy);
            self.life = life;
            for effect in effects {
                events.extend(self.perform(effect).await);
            }
        }
        self.settle().await;
        self.publish();
    }

    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Spawn { instance, epoch } => self.spawn(instance, epoch).await,
            Effect::Route { instance } => {
                self.route(instance);
                None
            }
            Effect::Unroute => {
                self.healthy = None;
                None
            }
            Effect::Terminate { .. } => {
                if let Some(living) = &self.living {
                    living.process.terminate();
                }
                None
            }
            Effect::Kill { .. } => {
                if let Some(living) = &self.living {
                    tracing::warn!(formation = %self.id, "the grace is over; killing the instance");
                    living.process.kill();
                }
                None
            }
            Effect::Remove => {
                self.remove().await;
                None
            }
            Effect::StartFailed { epoch, fault } => self.start_failed(epoch, fault).await,
        }
    }

    async fn spawn(&mut self, number: InstanceNumber, epoch: u64) -> Option<Event> {
        self.sign = None;
        let operation = self.record.running_operation().await;
        let generation = self.formation.generation;
        let row = InstanceRow {
            instance: number,
            generation,
            epoch,
            spawned_at_ms: self.context.clock.now_ms(),
            identity: None,
            healthy_at_ms: None,
        };
        // A start that an operator asked for is no restart.
        let fresh = operation.as_ref().is_some_and(|it| {
            matches!(it.kind, OperationKind::Deploy | OperationKind::Start) && it.epoch == epoch
        });
        let counts = !std::mem::take(&mut self.comes_back) && number > 1 && !fresh;
        let id = self.id.clone();
        self.formation.restart_count = self
            .record
            .write(move |tx| {
                instances::begin(tx, &id, &row)?;
                if counts {
                    formations::count_restart(tx, &id)
                } else {
                    Ok(formations::get(tx, &id)?.map_or(0, |it| it.restart_count))
                }
            })
            .await;
        self.record.report(Stage::Spawning, "Starting the formation's process".to_owned()).await;
        let plan = Plan { formation: self.id.clone(), instance: number, generation };
        self.log_from = instance::log_length(&self.context, &self.id);
        self.take_port();
        let started = match &self.lease {
            Some(lease) => instance::start(&self.context, &plan, lease),
            None => Err(StartError::NoPort(self.formation.port)),
        };
        match started {
            Ok(process) => {
                let (id, identity) = (self.id.clone(), process.handle.identity.clone());
                self.record
                    .write(move |tx| instances::set_identity(tx, &id, number, &identity))
                    .await;
                self.watch(number, process);
                self.await_health(number);
                None
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::error!(formation = %self.id, error, "the instance could not be started");
                self.reason = Some(error);
                instance::remove_sockets(&self.context, &self.id, number);
                let id = self.id.clone();
                self.record.write(move |tx| instances::end(tx, &id, number)).await;
                Some(Event::SpawnFailed { instance: number })
            }
        }
    }

    fn watch(&mut self, number: InstanceNumber, process: process::Process) {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        self.living = Some(Living { process: process.handle, ended, _guard: guard });
        let wait = process.wait;
        self.watchers.push(Box::pin(async move { Some(Seen::Exited(number, wait.await)) }));
    }

    fn await_health(&mut self, number: InstanceNumber) {
        let socket = self.context.layout.private_socket(&self.id, number);
        let healthy = instance::until_healthy(socket, self.attempts.0.clone());
        self.watch_while_living(healthy.map(move |()| Seen::Healthy(number)));
    }

    /// Begins to watch the instance's liveness; the route itself is published with the phase.
    fn route(&mut self, number: InstanceNumber) {
        self.healthy = Some(true);
        self.reason = None;
        let socket = self.context.layout.private_socket(&self.id, number);
        let config = &self.context.config.formations;
        let seconds = |count: u32| Duration::from_secs(count.into());
        let unresponsive = instance::until_unresponsive(
            socket,
            seconds(config.health_check_interval),
            seconds(config.health_check_timeout),
            config.unhealthy_threshold,
            self.probes.0.clone(),
        );
        self.watch_while_living(unresponsive.map(move |()| Seen::Unresponsive(number)));
    }

    /// A watcher that ends with the instance it watches.
    fn watch_while_living(&mut self, watch: impl Future<Output = Seen> + Send + 'static) {
        let Some(living) = &self.living else { return };
        let ended = living.ended.clone();
        self.watchers.push(Box::pin(async move { ended.run_until_cancelled(watch).await }));
    }

    async fn report_attempt(&mut self, attempt: u32) {
        let max_attempts = u32::try_from(self.policy.start_deadline.as_secs()).unwrap_or(u32::MAX);
        self.record
            .report_progress(Progress {
                stage: Stage::HealthCheck,
                message: format!(
                    "Waiting for the formation to be healthy ({attempt}/{max_attempts})"
                ),
                version: None,
                attempt: Some(attempt),
                max_attempts: Some(max_attempts),
            })
            .await;
    }
}

async fn sleep_until(context: &Context, at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(context.steady.now());
            tokio::time::sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
        }
    }
}

fn policy(context: &Context) -> Policy {
    let config = &context.config.formations;
    Policy {
        restart: RestartPolicy {
            first_delay: Duration::from_secs(config.restart_delay.into()),
            longest_delay: Duration::from_secs(30),
            stable_after: Duration::from_mins(1),
            deaths_max: config.max_restarts,
        },
        start_deadline: config.start_deadline(),
        stop_grace: Duration::from_secs(config.stop_grace.into()),
    }
}
