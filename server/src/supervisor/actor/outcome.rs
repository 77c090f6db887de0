//! How operations end: with what the machine reached, or with what went wrong.

use muxi_contract::management::{Completed, Failed, ProblemKind, Stage};

use super::Actor;
use crate::store::formations::{self, Fallback};
use crate::store::operations::{self, OperationEvent, OperationKind};
use crate::store::{StoreError, generations};
use crate::supervisor::instance;
use crate::supervisor::lifecycle::{DesiredState, Event, Instance, Leaving, Phase, StartFault};

impl Actor {
    /// A start did not succeed: the operation that asked for it fails. A first deploy goes; an
    /// update or a rollback goes back.
    pub(super) async fn start_failed(
        &mut self,
        failed: Instance,
        fault: StartFault,
        kept: Option<Instance>,
    ) -> Option<Event> {
        let epoch = failed.target.epoch;
        let operation = self.record.running_operation().await;
        let operation = operation.filter(|it| it.epoch == epoch && it.kind.starts())?;
        self.untidy = true;
        let verdict = self.describe(operation.kind, failed, fault, kept);
        tracing::warn!(formation = %self.id, operation = operation.id, message = verdict.message, "failed");
        if operation.kind == OperationKind::Deploy {
            self.verdict = Some(verdict);
            let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
            self.record
                .write(move |tx| {
                    if operations::is_running(tx, &operation.id)? {
                        formations::set_desired(tx, &id, DesiredState::Removed, false, now_ms)?;
                    }
                    Ok(())
                })
                .await;
            return self.reload().await;
        }
        let (id, now_ms, event) =
            (self.id.clone(), self.context.clock.now_ms(), OperationEvent::Error(verdict));
        let named = operation.id.clone();
        self.record
            .write(move |tx| {
                // In one transaction: the caller is told what the store says. A stop or a delete that
                // came in between has ended the operation, and its wish stands.
                if operations::is_running(tx, &named)? {
                    formations::go_back(tx, &id, now_ms)?;
                    operations::append(tx, &named, &event, now_ms)?;
                }
                Ok(())
            })
            .await;
        self.context.store.announce(&operation.id);
        self.reload().await
    }

    fn describe(
        &self,
        kind: OperationKind,
        failed: Instance,
        fault: StartFault,
        kept: Option<Instance>,
    ) -> Failed {
        let log_from =
            self.living.get(&failed.number).map_or(self.failed_log_from, |it| it.log_from);
        let details = instance::log_tail(&self.context, &self.id, failed.number, log_from);
        let reason = self.reason.clone().unwrap_or_default();
        let (error, stage, what) = match fault {
            StartFault::Spawn => (
                ProblemKind::SpawnError,
                Stage::Spawning,
                format!("Failed to spawn process: {reason}"),
            ),
            StartFault::Exited | StartFault::Unresponsive => (
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
            StartFault::OnTrial => (
                ProblemKind::HealthCheckFailed,
                Stage::Swapping,
                format!(
                    "It served and failed within the {}s in which it was watched: {reason}",
                    self.policy.trial.as_secs()
                ),
            ),
        };
        let message = match kind {
            OperationKind::Update => {
                format!("New version failed health check: {what}. {}", self.what_is_left(kept))
            }
            OperationKind::Rollback => {
                format!("Previous version failed health check: {what}. {}", self.what_is_left(kept))
            }
            OperationKind::Restart if kept.is_some() => {
                format!("{what}. The process that served before goes on.")
            }
            OperationKind::Deploy
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::Stop
            | OperationKind::Delete => what,
        };
        Failed { error, message, stage, details }
    }

    /// What a failed update or rollback leaves behind.
    fn what_is_left(&self, kept: Option<Instance>) -> String {
        if kept.is_some() {
            return "Old version still running - zero downtime maintained.".to_owned();
        }
        match self.formation.fallback {
            Some(Fallback { generation, state: DesiredState::Running }) => {
                format!("Going back to generation {generation}.")
            }
            Some(Fallback { generation, .. }) => {
                format!("The formation is stopped again, at generation {generation}.")
            }
            None => String::new(),
        }
    }

    /// Ends the running operation if the machine has reached what it asked for.
    pub(super) async fn settle(&mut self) {
        let Some(operation) = self.record.running_operation().await else { return };
        let reached = match (&self.life.phase, operation.kind) {
            (
                Phase::Running { instance, .. },
                OperationKind::Deploy
                | OperationKind::Update
                | OperationKind::Rollback
                | OperationKind::Start
                | OperationKind::Restart,
            ) => instance.target.epoch >= operation.epoch,
            (Phase::Stopped, OperationKind::Stop) => true,
            (
                Phase::Stopped
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Replacing { .. }
                | Phase::Trial { .. }
                | Phase::Stopping
                | Phase::Waiting { .. }
                | Phase::CrashLoop
                | Phase::Removed,
                _,
            ) => false,
        };
        if !reached {
            return;
        }
        let draining = |it: &Leaving| matches!(it, Leaving::Draining { .. });
        if self.life.leaving.values().any(draining) {
            let message = "The old process finishes what it has and ends".to_owned();
            if operation.kind == OperationKind::Update {
                self.record.report(Stage::StoppingOld, message).await;
            } else if operation.kind == OperationKind::Rollback {
                self.record.report(Stage::StoppingCurrent, message).await;
            }
        }
        // The route first: whoever is told of success may use it at once.
        self.publish();
        let complete = OperationEvent::Complete(self.completed(&operation.id));
        let (id, named, now_ms) =
            (self.id.clone(), operation.id.clone(), self.context.clock.now_ms());
        let stopped = operation.kind == OperationKind::Stop;
        self.formation = self
            .record
            .write(move |tx| {
                // Another act may have ended this one since it was read.
                if operations::is_running(tx, &named)? {
                    if !stopped {
                        generations::settle(tx, &id, now_ms)?;
                        formations::settle_trial(tx, &id, now_ms)?;
                    }
                    operations::append(tx, &named, &complete, now_ms)?;
                }
                formations::get(tx, &id)?
                    .ok_or_else(|| StoreError::UnknownFormation(id.to_string()))
            })
            .await;
        self.untidy = true;
        self.context.store.announce(&operation.id);
    }

    fn completed(&self, operation: &str) -> Completed {
        let serving = self.life.serving().and_then(|(it, _)| self.living.get(&it.number));
        let fallback = self.formation.fallback;
        let door = if self.id.is_draft() { "draft" } else { "api" };
        Completed {
            formation_id: self.id.formation(),
            port: self.formation.port,
            status: self.status().as_str().to_owned(),
            url: format!("{}/{door}/{}", self.context.live().server.url(), self.id.formation()),
            health_url: format!("http://localhost:{}/v1/health", self.formation.port),
            pid: serving.map_or(0, |living| living.process.identity.pid),
            restart_count: self.formation.restart_count,
            operation_id: operation.to_owned(),
            previous_version: fallback.map(|it| it.generation.to_string()),
            new_version: fallback.map(|_| self.formation.generation().to_string()),
        }
    }

    /// Removes everything of the formation but its logs, and ends the operation that asked for it.
    pub(super) async fn remove(&mut self) {
        self.sign = None;
        self.lease = None;
        self.context.routes_of(&self.id).remove(&self.id.formation());
        let alone = self.context.bundle_files.write().await;
        let (layout, id) = (self.context.layout.clone(), self.id.clone());
        let own = id.clone();
        let archives = self.record.read(move |db| generations::own_bundles(db, &own)).await;
        let removed = tokio::task::spawn_blocking(move || {
            crate::bundles::remove_formation(&layout, &id);
            crate::bundles::remove_archives(&layout, &archives);
        });
        if let Err(error) = removed.await {
            tracing::error!(formation = %self.id, %error, "the folder could not be removed");
        }
        drop(alone);
        let (id, now_ms) = (self.id.clone(), self.context.clock.now_ms());
        let deleted = Completed { status: "deleted".to_owned(), pid: 0, ..self.completed("") };
        let verdict = self.verdict.take().unwrap_or_else(interrupted);
        let ended = self
            .record
            .write(move |tx| {
                // In one transaction: a wish that comes later finds no formation.
                let operation = operations::running(tx, id.as_str())?;
                if let Some(operation) = &operation {
                    let event = match operation.kind {
                        OperationKind::Deploy => OperationEvent::Error(verdict.clone()),
                        OperationKind::Update
                        | OperationKind::Rollback
                        | OperationKind::Start
                        | OperationKind::Stop
                        | OperationKind::Restart
                        | OperationKind::Delete => {
                            let operation_id = operation.id.clone();
                            OperationEvent::Complete(Completed { operation_id, ..deleted.clone() })
                        }
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
