//! How an actor begins: it reads its formation, takes the port, and adopts what still lives.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use muxi_contract::FormationId;
use tokio::sync::mpsc;

use super::{Actor, policy};
use crate::ports::Lease;
use crate::store::formations;
use crate::store::instances::{self, InstanceRow};
use crate::supervisor::lifecycle::{
    Desired, DesiredState, Event, InstanceNumber, Lifecycle, Phase,
};
use crate::supervisor::record::Record;
use crate::supervisor::{Context, instance, process};

/// A port that somebody else holds is tried again after this.
const PORT_RETRY: Duration = Duration::from_secs(1);

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
    pub(super) async fn adopt(&mut self, row: InstanceRow) {
        let name = instance::instance_name(&self.context.layout, &self.id, row.instance);
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
}
