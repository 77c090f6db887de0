//! Back to a generation that is kept, and back out of what is under way.

use muxi_contract::FormationId;
use muxi_contract::management::{Failed, ProblemKind, Stage};
use muxi_service::TaskKind;

use super::{ActError, Wish, known};
use crate::bundles;
use crate::store::operations::{self, OperationEvent, OperationKind};
use crate::store::{formations, generations};
use crate::supervisor::{Context, Supervisor};

/// What a cancelled update leaves.
#[derive(Debug)]
pub struct Cancelled {
    pub port: u16,
}

// === impl Supervisor ===

impl Supervisor {
    /// To a kept generation, or to the previous one. Answers the operation's id.
    pub async fn rollback(
        &self,
        id: &FormationId,
        generation: Option<u64>,
        expected: Option<u64>,
    ) -> Result<String, ActError> {
        self.act(id, OperationKind::Rollback, move |tx, id, now_ms| {
            let formation = known(tx, id)?;
            let found = formation.generation();
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Ok(Wish::Refused(ActError::OtherGeneration { expected, found }));
            }
            let Some(wanted) = generation.or(formation.previous_generation) else {
                return Ok(Wish::Refused(ActError::NoPrevious));
            };
            if wanted == found {
                return Ok(Wish::Refused(ActError::NoChange(wanted)));
            }
            let kept: Vec<u64> = generations::of(tx, id)?
                .into_iter()
                .filter(|it| it.settled)
                .map(|it| it.number)
                .collect();
            if !kept.contains(&wanted) {
                return Ok(Wish::Refused(ActError::UnknownGeneration { wanted, kept }));
            }
            let epoch = formations::begin_trial(tx, &formation, wanted, now_ms)?;
            Ok(Wish::New { epoch, overtaken: None })
        })
        .await
    }

    /// Ends the update or rollback that is under way; what was before serves on.
    pub async fn cancel_update(&self, id: &FormationId) -> Result<Cancelled, ActError> {
        let (supervisor, id) = (self.clone(), id.clone());
        let cancel = async move {
            let Context { store, clock, .. } = supervisor.context();
            let (named, now_ms) = (id.clone(), clock.now_ms());
            let cancelled = store.write(move |tx| {
                let formation = known(tx, &named)?;
                let running = operations::running(tx, named.as_str())?.filter(|it| {
                    matches!(it.kind, OperationKind::Update | OperationKind::Rollback)
                });
                let Some(operation) = running else { return Ok(Err(ActError::NoUpdate)) };
                let failed = Failed {
                    error: ProblemKind::Cancelled,
                    message: "The update was cancelled; what served before goes on".to_owned(),
                    stage: Stage::Swapping,
                    details: Vec::new(),
                };
                formations::go_back(tx, &named, now_ms)?;
                operations::append(tx, &operation.id, &OperationEvent::Error(failed), now_ms)?;
                Ok(Ok((operation.id, formation.port)))
            });
            let (operation, port) = cancelled.await??;
            store.announce(&operation);
            supervisor.nudge(&id);
            Ok(Cancelled { port })
        };
        self.to_its_end("cancel-update", cancel).await
    }

    /// Removes files of generations that the store no longer knows, in a task of its own.
    pub fn tidy(&self, id: &FormationId) {
        let context = self.shared_context();
        let (tasks, id) = (context.tasks.clone(), id.clone());
        tasks.spawn(TaskKind::PerFormation, format!("tidy {id}"), async move {
            tidy(&context, &id).await;
        });
    }
}

/// Brings the files of a formation to what the store says.
pub async fn tidy(context: &Context, id: &FormationId) {
    // No act places files meanwhile.
    let _alone = context.bundle_files.write().await;
    let asked = id.clone();
    let read = context.store.read(move |db| {
        let kept: Vec<u64> = generations::of(db, &asked)?.iter().map(|it| it.number).collect();
        Ok((kept, generations::bundles(db)?))
    });
    let (kept, used) = match read.await {
        Ok(read) => read,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(formation = %id, error, "old generations stay for now");
            return;
        }
    };
    let (layout, id) = (context.layout.clone(), id.clone());
    let swept = tokio::task::spawn_blocking(move || {
        bundles::sweep_generations(&layout, &id, &kept);
        bundles::sweep_archives(&layout, &used);
    });
    swept.await.expect("sweeping does not panic");
}
