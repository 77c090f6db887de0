//! What an operator can ask for. Each act is stored as intent with an operation in one
//! transaction; then the formation's actor is nudged, and followers read the stored progress.

use std::collections::VecDeque;

use futures_util::Stream;
use muxi_contract::FormationId;
use muxi_contract::management::{Failed, ProblemKind, Progress, Stage};
use tokio::sync::broadcast::error::RecvError;

use crate::bundles::{self, PrepareError, Prepared};
use crate::ports::LeaseError;
use crate::store::formations::{self, FIRST, NewFormation};
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

/// What an act stored.
struct Wish {
    /// The epoch that fulfils it.
    epoch: u64,
    /// The operation that it ended, whose followers must be told.
    overtaken: Option<String>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Checks what the caller expects, gives the bundle a port, and makes it a formation that
    /// should run. Answers the operation's id.
    pub async fn deploy(
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
        tokio::task::spawn_blocking(move || prepared.place(&layout, &id, FIRST))
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
        let serving = self.context().routes.get(id).is_some_and(|it| it.upstream.is_some());
        self.act(id, kind, move |tx, id, now_ms| {
            let formation = formations::get(tx, id)?
                .ok_or_else(|| StoreError::UnknownFormation(id.to_string()))?;
            if !restart && serving && formation.desired.state == DesiredState::Running {
                return Ok(Err(ActError::AlreadyRunning));
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Running, true, now_ms)?;
            Ok(Ok(Wish { epoch, overtaken: None }))
        })
        .await
    }

    pub async fn stop(&self, id: &FormationId) -> Result<String, ActError> {
        self.act(id, OperationKind::Stop, |tx, id, now_ms| {
            let formation = formations::get(tx, id)?
                .ok_or_else(|| StoreError::UnknownFormation(id.to_string()))?;
            if formation.desired.state != DesiredState::Running {
                return Ok(Err(ActError::AlreadyStopped));
            }
            let epoch = formations::set_desired(tx, id, DesiredState::Stopped, false, now_ms)?;
            Ok(Ok(Wish { epoch, overtaken: None }))
        })
        .await
    }

    /// Overtakes whatever else is under way.
    pub async fn delete(&self, id: &FormationId) -> Result<String, ActError> {
        self.act(id, OperationKind::Delete, |tx, id, now_ms| {
            let epoch = formations::set_desired(tx, id, DesiredState::Removed, false, now_ms)?;
            let overtaken = Failed {
                error: ProblemKind::Interrupted,
                message: "The formation was deleted".to_owned(),
                stage: Stage::Stopping,
                details: Vec::new(),
            };
            let overtaken = operations::supersede(tx, id, overtaken, now_ms)?;
            Ok(Ok(Wish { epoch, overtaken }))
        })
        .await
    }

    /// `decide` checks and stores the wish.
    async fn act<D>(
        &self,
        id: &FormationId,
        kind: OperationKind,
        decide: D,
    ) -> Result<String, ActError>
    where
        D: FnOnce(
                &rusqlite::Transaction<'_>,
                &FormationId,
                i64,
            ) -> Result<Result<Wish, ActError>, StoreError>
            + Send
            + 'static,
    {
        let Context { store, clock, .. } = self.context();
        let (formation, now_ms) = (id.clone(), clock.now_ms());
        let begun = store
            .write(move |tx| {
                let Wish { epoch, overtaken } = match decide(tx, &formation, now_ms)? {
                    Ok(wish) => wish,
                    Err(refused) => return Ok(Err(refused)),
                };
                let operation = new_operation(kind, &formation, epoch);
                operations::begin(tx, &operation, now_ms)?;
                announce_steps(tx, &operation, now_ms)?;
                Ok(Ok((operation.id, overtaken)))
            })
            .await?;
        let (operation, overtaken) = begun?;
        if let Some(overtaken) = overtaken {
            store.announce(&overtaken);
        }
        store.announce(&operation);
        self.nudge(id);
        Ok(operation)
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
