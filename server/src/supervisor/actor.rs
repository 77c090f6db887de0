//! The one impure loop of a formation: it reads the intent, steps the machine, performs effects.
//!
//! Invariants: only this task changes the formation's instance; every act is noted in the store
//! before it is done; every step of an operation is stored before anyone is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::management::{Completed, Failed, FormationStatus, ProblemKind, Progress, Stage};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::RestartPolicy;
use super::closed_sign::ClosedSign;
use super::instance::{self, Plan};
use super::lifecycle::{
    Desired, DesiredState, Effect, Event, InstanceNumber, Lifecycle, Moment, Phase, Policy,
    StartFault,
};
use super::process::{self, Exit, Identity};
use super::record::Record;
use super::{Context, Nudge};
use crate::config::OnManagerStop;
use crate::ports::Lease;
use crate::proxy::routes::{Published, Upstream};
use crate::store::formations::{self, Formation};
use crate::store::instances::{self, InstanceRow};
use crate::store::operations::{self, OperationEvent, OperationKind};

/// What the actor's watchers saw.
enum Seen {
    Exited(InstanceNumber, Exit),
    Healthy(InstanceNumber),
    Unresponsive(InstanceNumber),
}

/// The process of the current instance.
struct Living {
    identity: Identity,
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
    wake_at: Option<Timestamp>,
    sign: Option<ClosedSign>,
    healthy: Option<bool>,
    /// Why the formation is down.
    reason: Option<String>,
    /// What a failed deploy reports once its traces are removed.
    verdict: Option<Failed>,
}

/// A port that somebody else holds is tried again after this.
const PORT_RETRY: Duration = Duration::from_secs(1);

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
            () = sleep_until(&actor.context, actor.wake_at) => {
                actor.wake_at = None;
                Some(Event::TimePassed)
            }
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
    /// Reads the formation, takes its port, adopts its instance if it lives, and plays the first
    /// wish. `None` when the formation is gone.
    async fn load(context: Arc<Context>, id: FormationId, lease: Option<Lease>) -> Option<Self> {
        let record = Record::new(Arc::clone(&context), id.clone());
        let read = id.clone();
        let (formation, row) = record
            .read(move |db| Ok((formations::get(db, &read)?, instances::get(db, &read)?)))
            .await;
        let formation = formation?;
        let desired = formation.desired;
        let policy = policy(&context);
        let mut actor = Self {
            life: Lifecycle::new(
                Desired { state: DesiredState::Stopped, epoch: 0 },
                formation.newest_instance,
            ),
            context,
            id,
            record,
            policy,
            formation,
            lease,
            living: None,
            log_from: 0,
            watchers: FuturesUnordered::new(),
            attempts: mpsc::channel(8),
            probes: mpsc::channel(8),
            wake_at: None,
            sign: None,
            healthy: None,
            reason: None,
            verdict: None,
        };
        if let Some(row) = row {
            actor.adopt(row).await;
        }
        while actor.lease.is_none() {
            actor.take_port().await?;
        }
        actor.play(Event::Desired(desired)).await;
        Some(actor)
    }

    /// Takes up an instance of an earlier manager where that manager left it.
    async fn adopt(&mut self, row: InstanceRow) {
        let name = instance::instance_name(&self.id, row.instance);
        let identity = row.identity.or_else(|| process::find(&name));
        let process = identity.and_then(|identity| process::adopt(identity, &self.context.reaper));
        let Some(process) = process else {
            tracing::info!(formation = %self.id, instance = row.instance, "the instance is gone");
            instance::remove_sockets(&self.context, &self.id, row.instance);
            let id = self.id.clone();
            self.record.write(move |tx| instances::end(tx, &id, row.instance)).await;
            return;
        };
        tracing::info!(formation = %self.id, pid = process.identity.pid, "adopted");
        let (id, identity) = (self.id.clone(), process.identity.clone());
        self.record
            .write(move |tx| instances::set_identity(tx, &id, row.instance, &identity))
            .await;
        if self.lease.is_none() {
            self.lease = self.lease_from_instance(row.instance).await;
        }
        self.life.tried_epoch = row.epoch;
        self.life.desired = Desired { state: DesiredState::Running, epoch: row.epoch };
        self.watch(row.instance, process);
        let millisecond = |ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        // Healthy or not, it is asked again: the manager may have died before it was told to accept.
        let deadline = self.context.clock.now() + self.policy.start_deadline;
        self.life.phase = Phase::Starting { instance: row.instance, epoch: row.epoch, deadline };
        self.wake_at = Some(deadline);
        if let Some(since) = row.healthy_at_ms {
            // Traffic may flow at once; the probe that runs beside it finds out if it must not.
            let since = millisecond(since);
            self.life.phase = Phase::Running { instance: row.instance, epoch: row.epoch, since };
            self.route(row.instance);
        } else {
            self.await_health(row.instance);
        }
        self.publish();
    }

    /// The listener that a living instance holds on the formation's port.
    async fn lease_from_instance(&mut self, number: InstanceNumber) -> Option<Lease> {
        let path = self.context.layout.handoff_socket(&self.id, number);
        let taken = tokio::task::spawn_blocking(move || muxi_service::handoff::take(&path)).await;
        match taken.ok()?.and_then(Lease::from_listener) {
            Ok(lease) if lease.port == self.formation.port => Some(lease),
            Ok(lease) => {
                tracing::warn!(formation = %self.id, port = lease.port, "handed a foreign port");
                None
            }
            Err(error) => {
                tracing::warn!(formation = %self.id, %error, "no listener was handed back");
                None
            }
        }
    }

    /// Binds the leased port, or waits a little; `None` when the manager stops meanwhile.
    async fn take_port(&mut self) -> Option<()> {
        match self.context.ports.bind(self.formation.port) {
            Ok(lease) => self.lease = Some(lease),
            Err(error) => {
                let reason =
                    format!("its port {} is taken by another program", self.formation.port);
                tracing::error!(formation = %self.id, error = &error as &dyn std::error::Error, "{reason}");
                self.reason = Some(reason);
                self.publish();
                tokio::select! {
                    () = self.context.shutdown.stopping.cancelled() => return None,
                    () = tokio::time::sleep(PORT_RETRY) => {}
                }
            }
        }
        Some(())
    }

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
                    process::sweep_group(&living.identity);
                    let tail = instance::log_tail(&self.context, &self.id, self.log_from);
                    let last = tail.last().map(|line| format!(": {line}")).unwrap_or_default();
                    self.reason = Some(format!("the process ended with {exit}{last}"));
                    tracing::warn!(formation = %self.id, instance, exit, "the instance ended");
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
            let at = Moment { now: self.context.clock.now(), jitter: fastrand::f64() };
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
                if self
                    .record
                    .running_operation()
                    .await
                    .is_some_and(|it| it.kind == OperationKind::Restart)
                {
                    self.record
                        .report(Stage::Stopping, "Stopping the running instance".to_owned())
                        .await;
                }
                if let Some(living) = &self.living {
                    process::terminate(&living.identity);
                }
                None
            }
            Effect::Kill { .. } => {
                if let Some(living) = &self.living {
                    tracing::warn!(formation = %self.id, "the grace is over; killing the instance");
                    process::kill(&living.identity);
                }
                None
            }
            Effect::WakeAt(at) => {
                self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
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
        let counts = number > 1 && !fresh;
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
        let lease = self.lease.as_ref()?;
        let plan = Plan { formation: self.id.clone(), instance: number, generation };
        self.log_from = instance::log_length(&self.context, &self.id);
        match instance::start(&self.context, &plan, lease) {
            Ok(process) => {
                let (id, identity) = (self.id.clone(), process.identity.clone());
                self.record
                    .write(move |tx| instances::set_identity(tx, &id, number, &identity))
                    .await;
                self.watch(number, process);
                self.await_health(number);
                None
            }
            Err(error) => {
                let error = chain(&error);
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
        self.living = Some(Living { identity: process.identity, ended, _guard: guard });
        let wait = process.wait;
        self.watchers.push(Box::pin(async move { Some(Seen::Exited(number, wait.await)) }));
    }

    fn await_health(&mut self, number: InstanceNumber) {
        let socket = self.context.layout.private_socket(&self.id, number);
        let healthy = instance::until_healthy(socket, self.attempts.0.clone());
        self.watch_while_living(healthy, Seen::Healthy(number));
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
        self.watch_while_living(unresponsive, Seen::Unresponsive(number));
    }

    /// A watcher that ends with the instance it watches.
    fn watch_while_living(&mut self, watch: impl Future<Output = ()> + Send + 'static, seen: Seen) {
        let Some(living) = &self.living else { return };
        let ended = living.ended.clone();
        self.watchers
            .push(Box::pin(async move { ended.run_until_cancelled(watch).await.map(|()| seen) }));
    }

    /// A start did not succeed: the operation that asked for it fails, and a first deploy goes.
    async fn start_failed(&mut self, epoch: u64, fault: StartFault) -> Option<Event> {
        let operation = self.record.running_operation().await.filter(|it| it.epoch == epoch)?;
        let failed = self.describe(fault);
        if operation.kind == OperationKind::Deploy {
            self.verdict = Some(failed);
            let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
            self.record
                .write(move |tx| {
                    formations::set_desired(tx, &id, DesiredState::Removed, false, now_ms)
                })
                .await;
            return Some(Event::Desired(Desired { state: DesiredState::Removed, epoch }));
        }
        self.record.append(&operation.id, OperationEvent::Error(failed)).await;
        None
    }

    fn describe(&self, fault: StartFault) -> Failed {
        let details = instance::log_tail(&self.context, &self.id, self.log_from);
        let reason = self.reason.clone().unwrap_or_default();
        let (error, stage, message) = match fault {
            StartFault::Spawn => (
                ProblemKind::SpawnError,
                Stage::Spawning,
                format!("Failed to spawn process: {reason}"),
            ),
            StartFault::Exited => (
                ProblemKind::HealthCheckFailed,
                Stage::HealthCheck,
                format!("Formation crashed during startup: {reason}"),
            ),
            StartFault::NotHealthyInTime => (
                ProblemKind::HealthCheckFailed,
                Stage::HealthCheck,
                format!(
                    "Formation failed health check after {}s: it did not answer as healthy",
                    self.policy.start_deadline.as_secs()
                ),
            ),
        };
        Failed { error, message, stage, details }
    }

    /// Ends the running operation if the machine has reached what it asked for.
    async fn settle(&mut self) {
        let Some(operation) = self.record.running_operation().await else { return };
        let reached = match (&self.life.phase, operation.kind) {
            (
                Phase::Running { epoch, .. },
                OperationKind::Deploy | OperationKind::Start | OperationKind::Restart,
            ) => *epoch >= operation.epoch,
            (Phase::Stopped, OperationKind::Stop) => true,
            (
                Phase::Stopped
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Stopping { .. }
                | Phase::Waiting { .. }
                | Phase::CrashLoop
                | Phase::Removed,
                _,
            ) => false,
        };
        if reached {
            // The route first: whoever is told of success may use it at once.
            self.publish();
            let complete = OperationEvent::Complete(self.completed());
            self.record.append(&operation.id, complete).await;
        }
    }

    fn completed(&self) -> Completed {
        Completed {
            formation_id: self.id.clone(),
            port: self.formation.port,
            status: self.status().as_str().to_owned(),
            url: format!("http://localhost:{}/api/{}", self.context.config.server.port, self.id),
            health_url: format!("http://localhost:{}/v1/health", self.formation.port),
            pid: self.living.as_ref().map_or(0, |living| living.identity.pid),
            restart_count: self.formation.restart_count,
        }
    }

    /// Removes everything of the formation but its logs, and ends the operation that asked for it.
    async fn remove(&mut self) {
        self.sign = None;
        self.lease = None;
        self.context.routes.remove(&self.id);
        let folder = self.context.layout.formation(&self.id);
        if let Err(error) = crate::bundles::remove_folder(&self.context.layout, &folder) {
            tracing::error!(formation = %self.id, %error, "the folder could not be removed");
        }
        let operation = self.record.running_operation().await;
        let event = match (operation.as_ref().map(|it| it.kind), self.verdict.take()) {
            (Some(OperationKind::Deploy), verdict) => {
                OperationEvent::Error(verdict.unwrap_or_else(|| {
                    Failed {
                        error: ProblemKind::Interrupted,
                        message:
                            "The manager stopped before the deploy was done; nothing is left of it"
                                .to_owned(),
                        stage: Stage::Spawning,
                        details: Vec::new(),
                    }
                }))
            }
            _ => OperationEvent::Complete(Completed {
                status: "deleted".to_owned(),
                pid: 0,
                ..self.completed()
            }),
        };
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        let ended = operation.as_ref().map(|it| it.id.clone());
        let unused = self
            .record
            .write(move |tx| {
                formations::remove(tx, &id)?;
                if let Some(operation) = &ended {
                    operations::append(tx, operation, &event, now_ms)?;
                }
                formations::bundles(tx)
            })
            .await;
        crate::bundles::remove_unused(&self.context.layout, &unused);
        if let Some(operation) = operation {
            self.context.store.announce(&operation.id);
        }
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

    fn status(&self) -> FormationStatus {
        match self.life.phase {
            Phase::Stopped if self.lease.is_none() => FormationStatus::Crashed,
            Phase::Stopped | Phase::Removed => FormationStatus::Stopped,
            Phase::Starting { .. } => FormationStatus::Starting,
            Phase::Running { .. } => FormationStatus::Running,
            Phase::Stopping { .. } => FormationStatus::Stopping,
            Phase::Waiting { .. } => FormationStatus::Crashed,
            Phase::CrashLoop => FormationStatus::CrashLoop,
        }
    }

    /// Lets the proxy and the lists see the state as it is now.
    fn publish(&mut self) {
        if self.life.phase == Phase::Removed {
            return;
        }
        let status = self.status();
        self.answer_on_the_port(status);
        let running = match self.life.phase {
            Phase::Running { instance, since, .. } => Some((instance, since)),
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => None,
        };
        let before = self.context.routes.get(&self.id);
        let upstream = running.map(|(instance, _)| {
            let socket = self.context.layout.private_socket(&self.id, instance);
            // The pool of connections goes on as long as the instance does.
            let kept = before.as_ref().and_then(|it| it.upstream.clone());
            kept.filter(|upstream| upstream.is_to(&socket)).unwrap_or_else(|| Upstream::new(socket))
        });
        let down = matches!(
            status,
            FormationStatus::Crashed | FormationStatus::CrashLoop | FormationStatus::Starting
        );
        self.context.routes.publish(
            &self.id,
            Published {
                status,
                pid: self.living.as_ref().map(|living| living.identity.pid),
                since: running.map(|(_, since)| since),
                healthy: self.healthy.filter(|_| running.is_some()),
                reason: self.reason.clone().filter(|_| down),
                upstream,
            },
        );
    }

    /// While nobody will accept on the formation's port, the manager says so there.
    fn answer_on_the_port(&mut self, status: FormationStatus) {
        let reason = match status {
            FormationStatus::Stopped => "is stopped; an operator can start it again",
            FormationStatus::CrashLoop => "keeps crashing and was given up; see its log",
            FormationStatus::Starting
            | FormationStatus::Running
            | FormationStatus::Stopping
            | FormationStatus::Crashed => {
                self.sign = None;
                return;
            }
        };
        if self.sign.is_none() && !self.context.shutdown.stopping.is_cancelled() {
            let lease = self.lease.as_ref();
            self.sign =
                lease.and_then(|lease| ClosedSign::hang(&self.context, &self.id, lease, reason));
        }
    }
}

async fn sleep_until(context: &Context, at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(context.clock.now());
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

/// An error with all its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
