//! How operations end: with what the machine reached, or with what went wrong.

use muxi_contract::management::{Completed, Failed, ProblemKind, Stage};

use super::Actor;
use crate::store::formations;
use crate::store::operations::{self, OperationEvent, OperationKind};
use crate::supervisor::instance;
use crate::supervisor::lifecycle::{Desired, DesiredState, Event, Phase, StartFault};

impl Actor {
    /// A start did not succeed: the operation that asked for it fails, and a first deploy goes.
    pub(super) async fn start_failed(&mut self, epoch: u64, fault: StartFault) -> Option<Event> {
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
    pub(super) async fn settle(&mut self) {
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
            url: format!("{}/api/{}", self.context.live().server.url(), self.id),
            health_url: format!("http://localhost:{}/v1/health", self.formation.port),
            pid: self.living.as_ref().map_or(0, |living| living.process.identity.pid),
            restart_count: self.formation.restart_count,
        }
    }

    /// Removes everything of the formation but its logs, and ends the operation that asked for it.
    pub(super) async fn remove(&mut self) {
        self.sign = None;
        self.lease = None;
        self.context.routes.remove(&self.id);
        let (layout, id) = (self.context.layout.clone(), self.id.clone());
        let own = id.clone();
        let bundles = self.record.read(move |db| formations::own_bundles(db, &own)).await;
        let removed = tokio::task::spawn_blocking(move || {
            crate::bundles::remove_formation(&layout, &id, &bundles);
        });
        if let Err(error) = removed.await {
            tracing::error!(formation = %self.id, %error, "the folder could not be removed");
        }
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        let deleted = Completed { status: "deleted".to_owned(), pid: 0, ..self.completed() };
        let verdict = self.verdict.take().unwrap_or_else(interrupted);
        let ended = self
            .record
            .write(move |tx| {
                // In one transaction: a wish that comes later finds no formation.
                let operation = operations::running(tx, id.as_str())?;
                if let Some(operation) = &operation {
                    let event = match operation.kind {
                        OperationKind::Deploy => OperationEvent::Error(verdict.clone()),
                        OperationKind::Start
                        | OperationKind::Stop
                        | OperationKind::Restart
                        | OperationKind::Delete => OperationEvent::Complete(deleted.clone()),
                    };
                    operations::append(tx, &operation.id, &event, now_ms)?;
                }
                formations::remove(tx, &id)?;
                Ok(operation)
            })
            .await;
        if let Some(operation) = ended {
            self.context.store.announce(&operation.id);
        }
    }
}

fn interrupted() -> Failed {
    Failed {
        error: ProblemKind::Interrupted,
        message: "The manager stopped before the deploy was done; nothing is left of it".to_owned(),
        stage: Stage::Spawning,
        details: Vec::new(),
    }
}
