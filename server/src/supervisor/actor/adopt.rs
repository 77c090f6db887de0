//! How an actor begins: it reads its formation, takes the port, and adopts what still lives.
//!
//! Rows say how far an earlier manager was with each process; the machine goes on from there.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::logs::LogCursor;
use tokio::sync::mpsc;

use super::{Actor, Seen, policy};
use crate::ports::Lease;
use crate::store::instances::{self, InstanceRow};
use crate::store::{events, formations};
use crate::supervisor::lifecycle::{
    Desired, DesiredState, Event, InstanceNumber, Leaving, Lifecycle, Phase, Policy, Target,
};
use crate::supervisor::record::Record;
use crate::supervisor::{Context, Nudge, instance, process};

/// What did not succeed at once is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

impl Actor {
    /// Reads the formation, takes its port, adopts its instance if it lives, and plays the first
    /// wish. `None` when the formation is gone.
    pub(super) async fn load(
        context: Arc<Context>,
        id: FormationId,
        lease: Option<Lease>,
        mailbox: &mut mpsc::Receiver<Nudge>,
    ) -> Option<Self> {
        let record = Record::new(Arc::clone(&context), id.clone());
        let read = id.clone();
        let (formation, rows) = record
            .read(move |db| Ok((formations::get(db, &read)?, instances::of(db, &read)?)))
            .await;
        let formation = formation?;
        let desired = formation.desired;
        let is_new = lease.is_some();
        let policy = policy(&context);
        let nothing = Desired {
            state: DesiredState::Stopped,
            target: Target::default(),
            on_trial: desired.on_trial,
        };
        let mut actor = Self {
            life: Lifecycle::new(nothing, formation.newest_instance),
            context,
            id,
            record,
            policy,
            formation,
            lease,
            living: BTreeMap::new(),
            watchers: FuturesUnordered::new(),
            attempts: mpsc::channel(8),
            probes: mpsc::channel(8),
            sign: None,
            healthy: None,
            comes_back: rows.is_empty(),
            reason: None,
            verdict: None,
            failed_log_from: LogCursor::START,
            queued: false,
            start_permit: None,
            untidy: false,
        };
        let mut living = Vec::new();
        for row in rows {
            if actor.adopt(&row).await {
                living.push(row);
            }
        }
        if actor.living.is_empty() {
            actor.take_port().await;
        } else {
            actor.take_up(&living).await;
        }
        let mut desired = desired;
        if actor.living.is_empty() && !is_new && desired.state == DesiredState::Running {
            // What is wished meanwhile counts.
            desired = actor.wait_for_turn(mailbox).await?;
        }
        actor.play(Event::Desired(desired)).await;
        Some(actor)
    }

    /// Formations that come back with their manager do not start all at once. Answers the newest
    /// wish, at once if it is no longer to run; `None` when the manager stops first.
    async fn wait_for_turn(&mut self, mailbox: &mut mpsc::Receiver<Nudge>) -> Option<Desired> {
        self.queued = true;
        self.publish();
        let stopping = self.context.shutdown.stopping.clone();
        let mut turn = pin!(Arc::clone(&self.context.starts).acquire_owned());
        let desired = loop {
            let nudge = tokio::select! {
                biased;
                // The stop first, so that nothing starts then. All arms are cancel-safe.
                () = stopping.cancelled() => return None,
                nudge = mailbox.recv() => nudge,
                turn = turn.as_mut() => {
                    self.start_permit = Some(turn.expect("the semaphore is never closed"));
                    None
                }
            };
            let has_turn = self.start_permit.is_some();
            if nudge.is_none() && !has_turn {
                return None;
            }
            self.reload().await;
            let desired = self.formation.desired;
            if has_turn || desired.state != DesiredState::Running {
                break desired;
            }
        };
        self.queued = false;
        Some(desired)
    }

    /// Watches a process of an earlier manager, if it lives.
    async fn adopt(&mut self, row: &InstanceRow) -> bool {
        let number = row.instance.number;
        let name = instance::instance_name(&self.context.layout, &self.id, number);
        let identity = row.identity.clone().or_else(|| process::find(&name));
        let process = match identity {
            Some(identity) => self.look_at(identity).await,
            None => None,
        };
        let Some(process) = process else {
            tracing::info!(formation = %self.id, instance = number, "the instance is gone");
            instance::remove_sockets(&self.context, &self.id, number);
            let served = row.routed_at_ms.is_some() && row.leaving_at_ms.is_none();
            let (id, epoch) = (self.id.clone(), row.instance.target.epoch);
            let now_ms = self.context.clock.now_ms();
            self.record
                .write(move |tx| {
                    instances::end(tx, &id, number)?;
                    if served {
                        let reason = "its process ended while no manager ran".to_owned();
                        events::record_crash(tx, &id, epoch, (Some(reason), Vec::new()), now_ms)?;
                    }
                    Ok(())
                })
                .await;
            self.untidy = true;
            return false;
        };
        tracing::info!(formation = %self.id, pid = process.handle.identity.pid, "adopted");
        let (id, identity) = (self.id.clone(), process.handle.identity.clone());
        self.record.write(move |tx| instances::set_identity(tx, &id, number, &identity)).await;
        let process = instance::adopt_log(&self.context, &self.id, number, process);
        // Its number tells its lines from those of others.
        self.watch(row.instance, process, LogCursor::START);
        self.ask_for_port(number, Duration::ZERO);
        true
    }

    /// Puts the machine where the earlier manager left it with these processes.
    async fn take_up(&mut self, living: &[InstanceRow]) {
        let Adopted { phase, leaving } =
            take_up(living, self.formation.desired.on_trial, &self.policy, &self.now());
        self.life.desired.state = DesiredState::Running;
        self.life.phase = phase;
        self.life.leaving = leaving;
        let going: Vec<InstanceNumber> = self.life.leaving.keys().copied().collect();
        for number in going {
            self.drain(number).await;
        }
        if let Some(new) = self.life.awaited() {
            self.life.tried = new.target;
            // Healthy or not, it is asked again: the manager may have died before it told it to accept.
            self.await_health(new.number);
        }
        if let Phase::Trial { standby: Some(standby), .. } = self.life.phase {
            self.retire(standby.number);
        }
        if let Some((serving, _)) = self.life.serving() {
            // Traffic may flow at once; the probe that runs beside it finds out if it must not.
            self.route(serving.number).await;
        }
        self.publish();
    }

    fn now(&self) -> Now {
        Now { steady: self.context.steady.now(), wall_ms: self.context.clock.now_ms() }
    }

    /// The process, or `None` once it is certain that it is gone.
    async fn look_at(&mut self, identity: process::Identity) -> Option<process::Process> {
        loop {
            match process::adopt(identity.clone(), &self.context.reaper) {
                Ok(found) => return found,
                Err(error) => {
                    tracing::error!(formation = %self.id, error = &error as &dyn std::error::Error, "adoption is tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Asks the living instance for the listener that it holds on the formation's port.
    fn ask_for_port(&mut self, number: InstanceNumber, after: Duration) {
        let path = self.context.layout.handoff_socket(&self.id, number);
        self.watch_while_living(number, async move {
            tokio::time::sleep(after).await;
            Some(Seen::Handed(number, take_listener(path).await))
        });
    }

    /// Keeps the handed listener, or asks again: without it the port would be lost with the
    /// instance, but everything else goes on.
    pub(super) fn handed(&mut self, number: InstanceNumber, taken: io::Result<Lease>) {
        match taken {
            // All instances hold the same socket.
            Ok(lease) if lease.port == self.formation.port => self.lease = Some(lease),
            Ok(lease) => {
                tracing::error!(formation = %self.id, port = lease.port, "handed a foreign port");
            }
            Err(error) => {
                tracing::warn!(formation = %self.id, %error, "no listener was handed back yet");
                if self.lease.is_none() {
                    self.ask_for_port(number, RETRY);
                }
            }
        }
    }

    /// Binds the leased port if it is not held yet. A port that another program took is a reason
    /// not to start, and the wait for the next start is the wait for the port.
    pub(super) async fn take_port(&mut self) {
        // An adopted instance holds it, and may not have handed it over yet.
        let holders: Vec<InstanceNumber> = self.living.keys().copied().collect();
        for number in holders {
            if self.lease.is_some() {
                return;
            }
            let path = self.context.layout.handoff_socket(&self.id, number);
            self.handed(number, take_listener(path).await);
        }
        if self.lease.is_some() {
            return;
        }
        match self.context.ports.bind(self.formation.port) {
            Ok(lease) => self.lease = Some(lease),
            Err(error) => {
                let reason =
                    format!("its port {} is taken by another program", self.formation.port);
                tracing::error!(formation = %self.id, error = &error as &dyn std::error::Error, "{reason}");
                self.reason = Some(reason);
            }
        }
    }
}

async fn take_listener(handoff: PathBuf) -> io::Result<Lease> {
    let take = move || muxi_service::handoff::take(&handoff).and_then(Lease::from_listener);
    tokio::task::spawn_blocking(take).await.expect("taking a listener does not panic")
}

/// What rows say of processes that live.
struct Adopted {
    phase: Phase,
    leaving: BTreeMap<InstanceNumber, Leaving>,
}

/// The moment in both clocks: rows are in the machine's, deadlines in the steady one.
struct Now {
    steady: Timestamp,
    wall_ms: i64,
}

/// Where the machine is with these processes: the one that was routed last serves; one that never
/// was is on its way to; the one that was routed before stands by while the trial lasts.
fn take_up(living: &[InstanceRow], on_trial: bool, policy: &Policy, now: &Now) -> Adopted {
    let stays = |row: &&InstanceRow| row.leaving_at_ms.is_none();
    let mut routed: Vec<&InstanceRow> =
        living.iter().filter(stays).filter(|row| row.routed_at_ms.is_some()).collect();
    routed.sort_by_key(|row| row.routed_at_ms);
    let serving = routed.pop();
    let new = living.iter().filter(stays).rfind(|row| row.routed_at_ms.is_none());
    let standby = routed.pop().filter(|_| on_trial && new.is_none());
    let deadline = now.steady + policy.start_deadline;
    let since = |row: &InstanceRow| {
        let ms = row.healthy_at_ms.unwrap_or(row.spawned_at_ms);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let phase = match (serving, new) {
        // Who only drains keeps nobody from starting.
        (None, None) => Phase::Stopped,
        (None, Some(new)) => Phase::Starting { instance: new.instance, deadline },
        (Some(serving), Some(new)) => Phase::Replacing {
            serving: serving.instance,
            since: since(serving),
            new: new.instance,
            deadline,
        },
        (Some(serving), None) if on_trial => {
            let served_ms = now.wall_ms.saturating_sub(serving.routed_at_ms.unwrap_or_default());
            let served = Duration::from_millis(u64::try_from(served_ms).unwrap_or(0));
            Phase::Trial {
                instance: serving.instance,
                since: since(serving),
                standby: standby.map(|row| row.instance),
                until: now.steady + policy.trial.saturating_sub(served),
            }
        }
        (Some(serving), None) => {
            Phase::Running { instance: serving.instance, since: since(serving) }
        }
    };
    let has_role: Vec<InstanceNumber> =
        [serving, new, standby].into_iter().flatten().map(|row| row.instance.number).collect();
    let until = now.steady + policy.drain;
    let leaving = living
        .iter()
        .map(|row| row.instance.number)
        .filter(|number| !has_role.contains(number))
        .map(|number| (number, Leaving::Draining { until }))
        .collect();
    Adopted { phase, leaving }
}
