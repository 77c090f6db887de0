//! What an operator can ask for. Each act is stored as intent with an operation in one
//! transaction; then the formation's actor is nudged, and followers read the stored progress.

use std::collections::VecDeque;

use futures_util::Stream;
use muxi_contract::FormationId;
use muxi_contract::management::{Failed, ProblemKind, Progress, Stage};
use muxi_service::TaskKind;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use crate::bundles::{self, PrepareError, Prepared};
use crate::ports::LeaseError;
use crate::store::formations::{self, FIRST, NewFormation};
use crate::store::instances;
use crate::store::operations::{self, OperationEvent, OperationKind, Running};
use crate::store::{Store, StoreError};
use crate::supervisor::lifecycle::DesiredState;
use crate::supervisor::{Context, Supervisor};

/// What the caller said a bundle is; it must agree with the manifest.
#[derive(Debug, Default)]
pub struct Expected {
    pub id: Option<String>,
    pub version: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("Formation ID mismatch: expected '{expected}' but config contains '{found}'")]
    OtherId { expected: String, found: String },
    #[error("Formation version mismatch: expected '{expected}' but config contains '{found}'")]
    OtherVersion { expected: String, found: String },
    #[error("this manager has {0} formations, as many as limits.formations allows")]
    TooMany(u32),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("failed to put the bundle in place")]
    Place(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("Formation is already running")]
    AlreadyRunning,
    #[error("Formation is already stopped")]
    AlreadyStopped,
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
    /// Checks what the caller expects, gives the bundle a port, and makes it a formation that
    /// should run. Answers the operation's id.
    pub async fn deploy(
        &self,
        prepared: Prepared,
        expected: Expected,
    ) -> Result<String, DeployError> {
        let supervisor = self.clone();
        self.to_its_end("deploy", async move { supervisor.begin_deploy(prepared, &expected).await })
            .await
    }

    async fn begin_deploy(
        &self,
        prepared: Prepared,
        expected: &Expected,
    ) -> Result<String, DeployError> {
        let context = self.context();
        let manifest = &prepared.loaded.manifest;
        let id = manifest.id.clone();
        check_expected(expected, &id, &manifest.version)?;
        let name = manifest.name.clone().unwrap_or_else(|| id.to_string());
        let version = manifest.version.clone();

        // One deploy of an id at a time; the guard outlives the transaction that makes it known.
        let _claim = self.claim(&id)?;
        let known = id.clone();
        let (exists, leased) = context
            .store
            .read(move |db| Ok((formations::exists(db, &known)?, formations::leased_ports(db)?)))
            .await?;
        if exists {
            return Err(StoreError::FormationExists(id.to_string()).into());
        }
        if leased.len() >= context.config.limits.formations as usize {
            return Err(DeployError::TooMany(context.config.limits.formations));
        }
        let lease = context.ports.lease(&leased)?;
        let new = NewFormation {
            id: id.clone(),
            name,
            port: lease.port,
            bundle_sha256: prepared.sha256().to_owned(),
            version: version.clone(),
        };
        let operation = new_operation(OperationKind::Deploy, &id, FIRST);
        if let Err(error) = self.place_and_store(prepared, new, operation.clone()).await {
            let (layout, id) = (context.layout.clone(), id.clone());
            // The claim is still held, so the folder can be nobody else's.
            let removed =
                tokio::task::spawn_blocking(move || bundles::remove_formation(&layout, &id, &[]));
            removed.await.expect("removing a folder does not panic");
            return Err(error);
        }
        tracing::info!(formation = %id, version, port = lease.port, "deploying");
        context.store.announce(&operation.id);
        self.introduce(&id, Some(lease));
        Ok(operation.id)
    }

    /// The files first, then the rows that speak of them.
    async fn place_and_store(
        &self,
        prepared: Prepared,
        new: NewFormation,
        operation: Running,
    ) -> Result<(), DeployError> {
        let context = self.context();
        let (layout, id) = (context.layout.clone(), new.id.clone());
        let place = move || {
            // The store does not know the id, so what lies there is of a removal that failed.
            bundles::remove_formation(&layout, &id, &[]);
            prepared.place(&layout, &id, FIRST)
        };
        tokio::task::spawn_blocking(place)
            .await
            .expect("placing a bundle does not panic")
            .map_err(DeployError::Place)?;
        let now_ms = context.clock.now_ms();
        let stored = context.store.write(move |tx| {
            formations::insert(tx, &new, now_ms)?;
            operations::begin(tx, &operation, now_ms)?;
            announce_steps(tx, &operation, now_ms)
        });
        Ok(stored.await?)
    }

    /// Start or restart: a newer epoch to reach. Answers the operation's id.
    pub async fn start(&self, id: &FormationId, restart: bool) -> Result<String, ActError> {
        let kind = if restart { OperationKind::Restart } else { OperationKind::Start };
        self.act(id, kind, move |tx, id, now_ms| {
            let formation = formations::get(tx, id)?
                .ok_or_else(|| StoreError::UnknownFormation(id.to_string()))?;
            // A formation that crashed is wanted to run, too, but has no instance.
            let wanted = formation.desired.state == DesiredState::Running;
            if !restart && wanted && instances::get(tx, id)?.is_some() {
                return Ok(Wish::Refused(ActError::AlreadyRunning));
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Running, true, now_ms)?;
            Ok(Wish::New { epoch, overtaken: None })
        })
        .await
    }

    pub async fn stop(&self, id: &FormationId) -> Result<String, ActError> {
        self.act(id, OperationKind::Stop, |tx, id, now_ms| {
            let formation = formations::get(tx, id)?
                .ok_or_else(|| StoreError::UnknownFormation(id.to_string()))?;
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
            let begun = store.write(move |tx| {
                let (epoch, overtaken) = match decide(tx, &formation, now_ms)? {
                    Wish::New { epoch, overtaken } => (epoch, overtaken),
                    Wish::Same { operation } => return Ok(Ok((operation, None))),
                    Wish::Refused(refused) => return Ok(Err(refused)),
                };
                let operation = new_operation(kind, &formation, epoch);
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
        self.context().tasks.spawn(TaskKind::PerFormation, name, async move {
            // The asker may be gone; the act counts all the same.
            let _asker_gone = reply.send(act.await);
        });
        answer.await.expect("an act does not panic")
    }
}

/// Every step of an operation from its first on, up to and including the last.
pub fn follow(
    store: &Store,
    operation: String,
) -> impl Stream<Item = OperationEvent> + Send + use<> {
    let (store, changes) = (store.clone(), store.operation_changes());
    let start = (store, changes, operation, 0, VecDeque::new(), false);
    futures_util::stream::unfold(
        start,
        async |(store, mut changes, operation, mut seq, mut queue, ended)| {
            if ended {
                return None;
            }
            while queue.is_empty() {
                let id = operation.clone();
                match store.read(move |db| operations::events_after(db, &id, seq)).await {
                    Ok(events) => queue.extend(events),
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "progress is lost"
                        );
                        return None;
                    }
                }
                if queue.is_empty() {
                    // A change that was missed is found by reading again.
                    loop {
                        match changes.recv().await {
                            Ok(other) if other != operation => {}
                            Ok(_) | Err(RecvError::Lagged(_)) => break,
                            Err(RecvError::Closed) => return None,
                        }
                    }
                }
            }
            let (at, event) = queue.pop_front().expect("the queue was just filled");
            seq = at;
            let ended = !matches!(event, OperationEvent::Progress(_));
            Some((event, (store, changes, operation, seq, queue, ended)))
        },
    )
}

fn check_expected(expected: &Expected, id: &FormationId, version: &str) -> Result<(), DeployError> {
    if let Some(expected) = expected.id.as_ref().filter(|expected| *expected != id.as_str()) {
        let (expected, found) = (expected.clone(), id.to_string());
        return Err(DeployError::OtherId { expected, found });
    }
    if let Some(expected) = expected.version.as_ref().filter(|expected| *expected != version) {
        let (expected, found) = (expected.clone(), version.to_owned());
        return Err(DeployError::OtherVersion { expected, found });
    }
    Ok(())
}

fn new_operation(kind: OperationKind, id: &FormationId, epoch: u64) -> Running {
    let operation = format!("op_{}", uuid::Uuid::now_v7().simple());
    Running { id: operation, kind, formation: id.to_string(), epoch }
}

/// The documented steps that are done with the intent itself: the runtime is a program of this
/// installation, so there is nothing to fetch.
fn announce_steps(
    tx: &rusqlite::Transaction<'_>,
    operation: &Running,
    now_ms: i64,
) -> Result<(), StoreError> {
    let step = |stage: Stage, message: &str, version: Option<&str>| {
        let (message, version) = (message.to_owned(), version.map(str::to_owned));
        OperationEvent::Progress(Progress {
            stage,
            message,
            version,
            attempt: None,
            max_attempts: None,
        })
    };
    let stopping = step(Stage::Stopping, "Stopping the running instance", None);
    let validating = step(Stage::Validating, "Checking the formation", None);
    let resolving = step(Stage::ResolvingRuntime, "Resolving the runtime", None);
    let resolved = step(Stage::ResolvingRuntime, "Using the runtime", Some(crate::VERSION));
    let steps = match operation.kind {
        OperationKind::Deploy => vec![resolving, resolved],
        OperationKind::Start => vec![validating, resolving, resolved],
        OperationKind::Restart => vec![stopping, validating, resolving, resolved],
        OperationKind::Stop | OperationKind::Delete => Vec::new(),
    };
    steps.iter().try_for_each(|step| operations::append(tx, &operation.id, step, now_ms))
}
