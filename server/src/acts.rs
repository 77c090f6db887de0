//! What an operator can ask for. Each act is stored as intent with an operation in one
//! transaction; then the formation's actor is nudged, and followers read the stored progress.

mod deploy;
mod draft;
mod follow;
mod rollout;

use muxi_contract::management::{Failed, ProblemKind, Progress, Stage};
use muxi_contract::{FormationId, RequestId};
use muxi_service::{TaskKind, request_id};
use tokio::sync::oneshot;

pub use self::deploy::{DeployError, Expected};
pub use self::follow::follow;
pub use self::rollout::{Cancelled, tidy};
use crate::store::StoreError;
use crate::store::formations::{self, Formation};
use crate::store::instances;
use crate::store::operations::{self, OperationEvent, OperationKind, Running};
use crate::supervisor::lifecycle::DesiredState;
use crate::supervisor::{Context, Supervisor};

#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("Formation is already running")]
    AlreadyRunning,
    #[error("Formation is already stopped")]
    AlreadyStopped,
    #[error("No previous version available for rollback")]
    NoPrevious,
    #[error("Generation {0} serves already")]
    NoChange(u64),
    #[error("Generation {wanted} is not kept; {}", kept_text(.kept))]
    UnknownGeneration { wanted: u64, kept: Vec<u64> },
    #[error("No update in progress for this formation")]
    NoUpdate,
    #[error("The formation is at generation {found}, not at {expected}")]
    OtherGeneration { expected: u64, found: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an act came to in its transaction.
enum Wish {
    /// A wish that a new operation stands for; `overtaken` is the operation that it ended.
    New {
        epoch: u64,
        overtaken: Option<String>,
    },
    /// What an operation under way is about already.
    Same {
        operation: String,
    },
    Refused(ActError),
}

// === impl Supervisor ===

impl Supervisor {
    /// Start or restart: a newer epoch to reach. Answers the operation's id.
    pub async fn start(&self, id: &FormationId, restart: bool) -> Result<String, ActError> {
        let kind = if restart { OperationKind::Restart } else { OperationKind::Start };
        self.act(id, kind, move |tx, id, now_ms| {
            let formation = known(tx, id)?;
            // A formation that crashed is wanted to run, too, but has no instance.
            let wanted = formation.desired.state == DesiredState::Running;
            if !restart && wanted && instances::any_stays(tx, id)? {
                return Ok(Wish::Refused(ActError::AlreadyRunning));
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Running, true, now_ms)?;
            Ok(Wish::New { epoch, overtaken: None })
        })
        .await
    }

    pub async fn stop(&self, id: &FormationId) -> Result<String, ActError> {
        self.act(id, OperationKind::Stop, |tx, id, now_ms| {
            let formation = known(tx, id)?;
            if formation.desired.state != DesiredState::Running {
                return Ok(Wish::Refused(ActError::AlreadyStopped));
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Stopped, false, now_ms)?;
            Ok(Wish::New { epoch, overtaken: None })
        })
        .await
    }

    /// Overtakes whatever else is under way, and joins a removal that is.
    pub async fn delete(&self, id: &FormationId) -> Result<String, ActError> {
        self.act(id, OperationKind::Delete, |tx, id, now_ms| {
            let running = operations::running(tx, id.as_str())?;
            if let Some(removal) = running.filter(|it| it.kind == OperationKind::Delete) {
                return Ok(Wish::Same { operation: removal.id });
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Removed, false, now_ms)?;
            let overtaken = Failed {
                error: ProblemKind::Interrupted,
                message: "The formation was deleted".to_owned(),
                stage: Stage::Stopping,
                details: Vec::new(),
            };
            let overtaken = operations::supersede(tx, id, overtaken, now_ms)?;
            Ok(Wish::New { epoch, overtaken })
        })
        .await
    }

    /// `decide` checks and stores the wish. What it stored is always acted on, whether or not the
    /// asker is still there.
    async fn act<D>(
        &self,
        id: &FormationId,
        kind: OperationKind,
        decide: D,
    ) -> Result<String, ActError>
    where
        D: FnOnce(&rusqlite::Transaction<'_>, &FormationId, i64) -> Result<Wish, StoreError>
            + Send
            + 'static,
    {
        let (supervisor, id) = (self.clone(), id.clone());
        let act = async move {
            let Context { store, clock, .. } = supervisor.context();
            let (formation, now_ms) = (id.clone(), clock.now_ms());
            let request_id = request_id::current();
            let begun = store.write(move |tx| {
                let (epoch, overtaken) = match decide(tx, &formation, now_ms)? {
                    Wish::New { epoch, overtaken } => (epoch, overtaken),
                    Wish::Same { operation } => return Ok(Ok((operation, None))),
                    Wish::Refused(refused) => return Ok(Err(refused)),
                };
                let operation = new_operation(kind, &formation, epoch, request_id);
                operations::begin(tx, &operation, now_ms)?;
                announce_steps(tx, &operation, now_ms)?;
                Ok(Ok((operation.id, overtaken)))
            });
            let (operation, overtaken) = begun.await??;
            if let Some(overtaken) = overtaken {
                store.announce(&overtaken);
            }
            store.announce(&operation);
            supervisor.nudge(&id);
            Ok(operation)
        };
        self.to_its_end(kind.as_str(), act).await
    }

    /// Runs an act in a task of its own: a client that leaves must not leave it half done.
    async fn to_its_end<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let act = request_id::carry(act);
        self.context().tasks.spawn(TaskKind::PerFormation, name, async move {
            // The asker may be gone; the act counts all the same.
            let _asker_gone = reply.send(act.await);
        });
        answer.await.expect("an act does not panic")
    }
}

fn known(tx: &rusqlite::Transaction<'_>, id: &FormationId) -> Result<Formation, StoreError> {
    formations::get(tx, id)?.ok_or_else(|| StoreError::UnknownFormation(id.to_string()))
}

fn kept_text(kept: &[u64]) -> String {
    let numbers: Vec<String> = kept.iter().map(ToString::to_string).collect();
    format!("kept are {}", numbers.join(", "))
}

fn new_operation(
    kind: OperationKind,
    id: &FormationId,
    epoch: u64,
    request_id: Option<RequestId>,
) -> Running {
    let operation = format!("op_{}", uuid::Uuid::now_v7().simple());
    let request_id = request_id.map(Into::into);
    Running { id: operation, kind, formation: id.to_string(), epoch, request_id }
}

/// The documented steps that are done with the intent itself: the runtime is a program of this
/// installation, so there is nothing to fetch.
fn announce_steps(
    tx: &rusqlite::Transaction<'_>,
    operation: &Running,
    now_ms: i64,
) -> Result<(), StoreError> {
    let validating = Progress::new(Stage::Validating, "Checking the formation");
    let resolving = Progress::new(Stage::ResolvingRuntime, "Resolving the runtime");
    let resolved = Progress {
        version: Some(crate::VERSION.to_owned()),
        ..Progress::new(Stage::ResolvingRuntime, "Using the runtime")
    };
    let mut steps = match operation.kind {
        OperationKind::Deploy => vec![resolving, resolved],
        OperationKind::Update
        | OperationKind::Rollback
        | OperationKind::Start
        | OperationKind::Restart => vec![validating, resolving, resolved],
        OperationKind::Stop | OperationKind::Delete => Vec::new(),
    };
    if let Some(first) = steps.first_mut() {
        first.operation_id = Some(operation.id.clone());
    }
    steps
        .into_iter()
        .map(OperationEvent::Progress)
        .try_for_each(|step| operations::append(tx, &operation.id, &step, now_ms))
}
