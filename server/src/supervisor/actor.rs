//! The one impure loop of a formation: it reads the intent, steps the machine, performs effects.
//!
//! Invariants: only this task changes the formation's instance; every act is noted in the store
//! before it is done; every step of an operation is stored before anyone is told.

mod adopt;
mod bad_news;
mod outcome;
mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::logs::LogCursor;
use muxi_contract::management::{Failed, Progress, Stage};
use muxi_service::TaskKind;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::RestartPolicy;
use super::closed_sign::ClosedSign;
use super::instance::{self, Plan, StartError};
use super::lifecycle::{
    Desired, DesiredState, Effect, Event, Instance, InstanceNumber, Lifecycle, Moment, Phase,
    Policy, Target,
};
use super::port_teller::{PortTeller, PortWish};
use super::process::{self, Exit};
use super::record::Record;
use super::{Context, Nudge};
use crate::acts;
use crate::config::OnManagerStop;
use crate::metrics;
use crate::ports::Lease;
use crate::sandbox;
use crate::store::events;
use crate::store::formations::{self, Formation};
use crate::store::generations;
use crate::store::instances::{self, Milestone};
use crate::store::operations::OperationKind;

/// What the actor's watchers saw.
enum Seen {
    Exited(InstanceNumber, Exit),
    Healthy(InstanceNumber),
    Unresponsive(InstanceNumber),
    Drained(InstanceNumber),
    Handed(InstanceNumber, io::Result<Lease>),
}

/// Whether an instance answered its last probe.
type Probed = (InstanceNumber, bool, Duration);

/// The process of an instance.
struct Living {
    process: process::Handle,
    /// The end of the log when it was started.
    log_from: LogCursor,
    /// The wish that the store knows it to stand for.
    noted_epoch: u64,
    /// What it is to do about the formation's port, and what it has heard of that.
    port: PortTeller,
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
    living: BTreeMap<InstanceNumber, Living>,
    watchers: FuturesUnordered<BoxFuture<'static, Option<Seen>>>,
    attempts: (mpsc::Sender<u32>, mpsc::Receiver<u32>),
    probes: (mpsc::Sender<Probed>, mpsc::Receiver<Probed>),
    sign: Option<ClosedSign>,
    healthy: Option<bool>,
    /// Its last instance ended in good order with an earlier manager, so the next is no restart.
    comes_back: bool,
    /// Why the formation is down.
    reason: Option<String>,
    /// What a failed deploy reports once its traces are removed.
    verdict: Option<Failed>,
    /// The end of the log when the instance that died last was started.
    failed_log_from: LogCursor,
    /// It waits until other formations have started.
    queued: bool,
    /// Held until the first start with a new manager has come to something.
    start_permit: Option<OwnedSemaphorePermit>,
    /// A generation may have lost its last use.
    untidy: bool,
}

/// Runs until the formation is removed or the manager stops.
pub(super) async fn run(
    context: Arc<Context>,
    id: FormationId,
    lease: Option<Lease>,
    mut mailbox: mpsc::Receiver<Nudge>,
) {
    let Some(mut actor) = Actor::load(context, id, lease, &mut mailbox).await else { return };
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
                match actor.context.live().formations.on_manager_stop {
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
            Some(probed) = actor.probes.1.recv() => { actor.probed(probed); None }
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
        Event::Desired(Desired { state: DesiredState::Stopped, ..self.life.desired })
    }

    /// Turns what was seen into an event, after it was noted.
    async fn note(&mut self, seen: Seen) -> Option<Event> {
        match seen {
            Seen::Exited(instance, exit) => {
                self.note_exit(instance, &exit).await;
                Some(Event::Exited { instance })
            }
            Seen::Healthy(instance) => {
                self.reached(instance, Milestone::Healthy).await;
                Some(Event::Healthy { instance })
            }
            Seen::Drained(instance) => Some(Event::Drained { instance }),
            Seen::Handed(instance, taken) => {
                self.handed(instance, taken);
                None
            }
            Seen::Unresponsive(instance) => {
                tracing::warn!(formation = %self.id, instance, "the instance no longer answers");
                self.reason = Some("it no longer answered its health probes".to_owned());
                self.note_hang(instance).await;
                Some(Event::Unresponsive { instance })
            }
        }
    }

    async fn note_exit(&mut self, instance: InstanceNumber, Exit(exit): &Exit) {
        let mut crash = None;
        if self.life.serving().is_some_and(|(serving, _)| serving.number == instance) {
            self.withdraw();
        }
        if let Some(living) = self.living.remove(&instance) {
            living.process.sweep_group();
            if self.life.leaving.contains_key(&instance) {
                tracing::info!(formation = %self.id, instance, exit, "the instance ended");
            } else {
                self.failed_log_from = living.log_from;
                let tail = instance::log_tail(&self.context, &self.id, instance, living.log_from);
                let last = tail.last().map(|line| format!(": {line}")).unwrap_or_default();
                let limit = sandbox::cause_of_death(&self.context, &self.id, instance, exit);
                let ended = || format!("the process ended with {exit}{last}");
                self.reason = Some(limit.unwrap_or_else(ended));
                tracing::warn!(formation = %self.id, instance, exit, "the instance died");
                crash = Some((living.noted_epoch, (self.reason.clone(), tail)));
            }
        }
        instance::remove_sockets(&self.context, &self.id, instance);
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        self.record
            .write(move |tx| {
                instances::end(tx, &id, instance)?;
                match crash.clone() {
                    Some((epoch, why)) => events::record_crash(tx, &id, epoch, why, now_ms),
                    None => Ok(()),
                }
            })
            .await;
        self.untidy = true;
    }

    async fn reached(&mut self, instance: InstanceNumber, milestone: Milestone) {
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        self.record
            .write(move |tx| {
                instances::reached(tx, &id, instance, milestone, now_ms)?;
                if milestone == Milestone::Healthy {
                    events::record_recovery(tx, &id, now_ms)?;
                }
                Ok(())
            })
            .await;
    }

    fn probed(&mut self, (instance, healthy, took): Probed) {
        metrics::probed(&self.context, &self.id, took, healthy);
        if self.life.serving().is_some_and(|(serving, _)| serving.number == instance) {
            self.healthy = Some(healthy);
            self.publish();
        }
    }

    /// Steps the machine until no effect brings a further event.
    async fn play(&mut self, event: Event) {
        let was_given_up = self.life.phase == Phase::CrashLoop;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let at = Moment { now: self.context.steady.now(), jitter: fastrand::f64() };
            // A reload may have changed it.
            self.policy = policy(&self.context);
            let (life, effects) = self.life.clone().step(&event, at, &self.policy);
            self.life = life;
            for effect in effects {
                events.extend(self.perform(effect).await);
            }
        }
        if self.life.phase == Phase::CrashLoop && !was_given_up {
            self.note_giving_up().await;
        }
        if !matches!(self.life.phase, Phase::Starting { .. }) {
            self.start_permit = None;
        }
        self.note_epochs().await;
        self.settle().await;
        self.publish();
        self.tidy_if_needed().await;
    }

    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Spawn { instance } => return self.spawn(instance).await,
            Effect::Route { instance } => self.route(instance).await,
            Effect::Unroute => {
                self.healthy = None;
                self.withdraw();
            }
            Effect::Retire { instance } => self.retire(instance),
            Effect::Drain { instance } => self.drain(instance).await,
            Effect::Terminate { instance } => {
                self.reached(instance, Milestone::Leaving).await;
                if let Some(living) = self.living.get(&instance) {
                    living.process.terminate();
                }
            }
            Effect::Kill { instance } => {
                if let Some(living) = self.living.get(&instance) {
                    tracing::warn!(formation = %self.id, instance, "the grace is over; killing");
                    living.process.kill();
                }
            }
            Effect::Remove => self.remove().await,
            Effect::StartFailed { instance, fault, kept } => {
                return self.start_failed(instance, fault, kept).await;
            }
        }
        None
    }

    async fn spawn(&mut self, new: Instance) -> Option<Event> {
        self.sign = None;
        let Instance { number, target: Target { epoch, generation } } = new;
        let operation = self.record.running_operation().await.filter(|it| it.epoch == epoch);
        let kind = operation.map(|it| it.kind);
        // A start that an operator asked for is no restart, unless it is one by name.
        let comes_back = std::mem::take(&mut self.comes_back);
        let counts = match kind {
            Some(kind) => kind == OperationKind::Restart,
            None => !comes_back && number > 1,
        };
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        self.formation.restart_count = self
            .record
            .write(move |tx| {
                instances::begin(tx, &id, new, now_ms)?;
                if counts {
                    formations::count_restart(tx, &id)
                } else {
                    Ok(formations::get(tx, &id)?.map_or(0, |it| it.restart_count))
                }
            })
            .await;
        let stage = match kind {
            Some(OperationKind::Update) => Stage::SpawningStaging,
            Some(OperationKind::Rollback) => Stage::SpawningPrevious,
            Some(_) | None => Stage::Spawning,
        };
        self.record.report(stage, format!("Starting a process of generation {generation}")).await;
        let plan = Plan { formation: self.id.clone(), instance: number, generation };
        let log_from = instance::log_end(&self.context, &self.id);
        self.take_port().await;
        let started = match &self.lease {
            Some(lease) => instance::start(&self.context, &plan, lease).await,
            None => Err(StartError::NoPort(self.formation.port)),
        };
        match started {
            Ok(process) => {
                let (id, identity) = (self.id.clone(), process.handle.identity.clone());
                self.record
                    .write(move |tx| instances::set_identity(tx, &id, number, &identity))
                    .await;
                self.watch(new, process, log_from);
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

    /// Writes down what a process stands for now, so that the next manager knows.
    async fn note_epochs(&mut self) {
        let Some((Instance { number, target }, _)) = self.life.serving() else { return };
        let Some(living) = self.living.get_mut(&number) else { return };
        if living.noted_epoch == target.epoch {
            return;
        }
        living.noted_epoch = target.epoch;
        let (id, epoch) = (self.id.clone(), target.epoch);
        self.record.write(move |tx| instances::set_epoch(tx, &id, number, epoch)).await;
    }

    async fn tidy_if_needed(&mut self) {
        if self.life.phase == Phase::Removed || !std::mem::take(&mut self.untidy) {
            return;
        }
        let (id, kept) = (self.id.clone(), self.context.live().formations.keep_generations);
        let forgot = self.record.write(move |tx| generations::forget(tx, &id, kept)).await;
        if forgot {
            let (context, id) = (Arc::clone(&self.context), self.id.clone());
            self.context.tasks.spawn(TaskKind::PerFormation, format!("tidy {id}"), async move {
                acts::tidy(&context, &id).await;
            });
        }
    }

    fn watch(&mut self, instance: Instance, process: process::Process, log_from: LogCursor) {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let number = instance.number;
        let (port, telling) = PortTeller::new(self.context.layout.private_socket(&self.id, number));
        let living = Living {
            process: process.handle,
            log_from,
            noted_epoch: instance.target.epoch,
            port,
            ended,
            _guard: guard,
        };
        self.living.insert(number, living);
        self.watch_while_living(number, telling.map(|()| None));
        let wait = process.wait;
        self.watchers.push(Box::pin(async move { Some(Seen::Exited(number, wait.await)) }));
    }

    fn await_health(&mut self, number: InstanceNumber) {
        let socket = self.context.layout.private_socket(&self.id, number);
        let healthy = instance::until_healthy(socket, self.attempts.0.clone());
        let (context, id) = (Arc::clone(&self.context), self.id.clone());
        let began = tokio::time::Instant::now();
        let started = healthy.map(move |()| {
            metrics::started(&context, &id, began.elapsed());
            Some(Seen::Healthy(number))
        });
        self.watch_while_living(number, started);
    }

    /// Gives the instance the formation's port and begins to watch its liveness; the proxy's route
    /// is published with the phase.
    async fn route(&mut self, number: InstanceNumber) {
        self.healthy = Some(true);
        self.reason = None;
        self.reached(number, Milestone::Routed).await;
        let socket = self.context.layout.private_socket(&self.id, number);
        // One that had retired, or that an earlier manager did not get to tell, accepts again.
        if let Some(living) = self.living.get(&number) {
            living.port.tell(PortWish::Accept);
        }
        let config = &self.context.live().formations;
        let seconds = |count: u32| Duration::from_secs(count.into());
        let unresponsive = instance::until_unresponsive(
            socket,
            seconds(config.health_check_interval),
            seconds(config.health_check_timeout),
            config.unhealthy_threshold,
            (number, self.probes.0.clone()),
        );
        self.watch_while_living(
            number,
            unresponsive.map(move |()| Some(Seen::Unresponsive(number))),
        );
        // Before anybody is told of it, and before the old one is told to leave the port.
        self.publish();
        self.report_switch(number).await;
    }

    /// It leaves the port to others.
    fn retire(&mut self, number: InstanceNumber) {
        if let Some(living) = self.living.get(&number) {
            living.port.tell(PortWish::Retire);
        }
    }

    async fn drain(&mut self, number: InstanceNumber) {
        self.reached(number, Milestone::Leaving).await;
        let Some(living) = self.living.get(&number) else { return };
        let retired = living.port.retired();
        let socket = self.context.layout.private_socket(&self.id, number);
        self.watch_while_living(number, async move {
            retired.await;
            instance::until_idle(socket).await;
            Some(Seen::Drained(number))
        });
    }

    /// A watcher that ends with the instance it watches.
    fn watch_while_living(
        &mut self,
        number: InstanceNumber,
        watch: impl Future<Output = Option<Seen>> + Send + 'static,
    ) {
        let Some(living) = self.living.get(&number) else { return };
        let ended = living.ended.clone();
        let watch = async move { ended.run_until_cancelled(watch).await.flatten() };
        self.watchers.push(Box::pin(watch));
    }

    /// Tells the running operation that its instance has taken over.
    async fn report_switch(&mut self, number: InstanceNumber) {
        let Some(operation) = self.record.running_operation().await else { return };
        let replaced = self.living.keys().any(|other| *other < number);
        let (stage, message) = match (operation.kind, &self.life.phase) {
            (OperationKind::Update | OperationKind::Rollback, Phase::Trial { instance, .. }) => {
                let (generation, seconds) =
                    (instance.target.generation, self.policy.trial.as_secs());
                let watched = match seconds {
                    0 => String::new(),
                    seconds => format!(" and is watched for {seconds}s"),
                };
                (Stage::Swapping, format!("Generation {generation} serves now{watched}"))
            }
            (OperationKind::Restart, _) if replaced => {
                (Stage::Stopping, "The old process finishes what it has and ends".to_owned())
            }
            _ => return,
        };
        self.record.report(stage, message).await;
    }

    async fn report_attempt(&mut self, attempt: u32) {
        let max_attempts = u32::try_from(self.policy.start_deadline.as_secs()).unwrap_or(u32::MAX);
        let message = format!("Waiting for the formation to be healthy ({attempt}/{max_attempts})");
        let progress = Progress {
            attempt: Some(attempt),
            max_attempts: Some(max_attempts),
            ..Progress::new(Stage::HealthCheck, message)
        };
        self.record.report_progress(progress).await;
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
    let config = &context.live().formations;
    Policy {
        restart: RestartPolicy {
            first_delay: Duration::from_secs(config.restart_delay.into()),
            longest_delay: Duration::from_secs(30),
            stable_after: Duration::from_mins(1),
            deaths_max: config.max_restarts,
        },
        start_deadline: config.start_deadline(),
        stop_grace: Duration::from_secs(config.stop_grace.into()),
        trial: Duration::from_secs(config.deployment.watch_window.into()),
        drain: Duration::from_secs(config.drain.into()),
    }
}
