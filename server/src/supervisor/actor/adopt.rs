//! How an actor begins: it reads its formation, takes the port, and adopts what still lives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use muxi_contract::FormationId;
use tokio::sync::mpsc;

use super::{Actor, Seen, policy};
use crate::ports::Lease;
use crate::store::formations;
use crate::store::instances::{self, InstanceRow};
use crate::supervisor::lifecycle::{
    Desired, DesiredState, Event, InstanceNumber, Lifecycle, Phase,
};
use crate::supervisor::record::Record;
use crate::supervisor::{Context, instance, process};

/// What did not succeed at once is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

impl Actor {
    /// Reads the formation, takes its port, adopts its instance if it lives, and plays the first
    /// wish. `None` when the formation is gone.
    pub(super) async fn load(
        context: Arc<Context>,
        id: FormationId,
        lease: Option<Lease>,
    ) -> Option<Self> {
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
            sign: None,
            healthy: None,
            comes_back: row.is_none(),
            reason: None,
            verdict: None,
        };
        if let Some(row) = row {
            actor.adopt(row).await;
        }
        if actor.living.is_none() {
            actor.take_port();
        }
        actor.play(Event::Desired(desired)).await;
        Some(actor)
    }

    /// Takes up an instance of an earlier manager where that manager left it.
    pub(super) async fn adopt(&mut self, row: InstanceRow) {
        let name = instance::instance_name(&self.context.layout, &self.id, row.instance);
        let identity = row.identity.or_else(|| process::find(&name));
        let process = match identity {
            Some(identity) => self.look_at(identity).await,
            None => None,
        };
        let Some(process) = process else {
            tracing::info!(formation = %self.id, instance = row.instance, "the instance is gone");
            instance::remove_sockets(&self.context, &self.id, row.instance);
            let id = self.id.clone();
            self.record.write(move |tx| instances::end(tx, &id, row.instance)).await;
            return;
        };
        tracing::info!(formation = %self.id, pid = process.handle.identity.pid, "adopted");
        let (id, identity) = (self.id.clone(), process.handle.identity.clone());
        self.record
            .write(move |tx| instances::set_identity(tx, &id, row.instance, &identity))
            .await;
        self.life.tried_epoch = row.epoch;
        self.life.desired = Desired { state: DesiredState::Running, epoch: row.epoch };
        self.watch(row.instance, process);
        self.ask_for_port(row.instance, Duration::ZERO);
        let millisecond = |ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        // Healthy or not, it is asked again: the manager may have died before it was told to accept.
        let deadline = self.context.steady.now() + self.policy.start_deadline;
        self.life.phase = Phase::Starting { instance: row.instance, epoch: row.epoch, deadline };
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
        self.watch_while_living(async move {
            tokio::time::sleep(after).await;
            let take = move || muxi_service::handoff::take(&path).and_then(Lease::from_listener);
            let taken = tokio::task::spawn_blocking(take).await;
            Seen::Handed(number, taken.expect("taking a listener does not panic"))
        });
    }

    /// Keeps the handed listener, or asks again: without it the port would be lost with the
    /// instance, but everything else goes on.
    pub(super) fn handed(&mut self, number: InstanceNumber, taken: io::Result<Lease>) {
        match taken {
            Ok(lease) if lease.port == self.formation.port => self.lease = Some(lease),
            Ok(lease) => {
                tracing::error!(formation = %self.id, port = lease.port, "handed a foreign port");
            }
            Err(error) => {
                tracing::warn!(formation = %self.id, %error, "no listener was handed back yet");
                self.ask_for_port(number, RETRY);
            }
        }
    }

    /// Binds the leased port if it is not held yet. A port that another program took is a reason
    /// not to start, and the wait for the next start is the wait for the port.
    pub(super) fn take_port(&mut self) {
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
