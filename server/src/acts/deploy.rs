//! A bundle becomes a formation, or the next generation of one.

use std::path::PathBuf;

use muxi_contract::FormationId;
use muxi_service::request_id;

use super::{announce_steps, known, new_operation};
use crate::bundles::{self, PrepareError, Prepared};
use crate::ports::LeaseError;
use crate::store::StoreError;
use crate::store::formations::{self, FIRST, Formation, NewFormation};
use crate::store::generations::{self, NewGeneration};
use crate::store::operations::{self, OperationKind};
use crate::supervisor::Supervisor;

/// What the caller said a bundle is, and where it takes the formation to be; both must agree.
#[derive(Debug, Default)]
pub struct Expected {
    pub id: Option<String>,
    pub version: Option<String>,
    /// The generation that the formation must be at.
    pub generation: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("Formation ID mismatch: expected '{expected}' but config contains '{found}'")]
    OtherId { expected: String, found: String },
    #[error("Formation version mismatch: expected '{expected}' but config contains '{found}'")]
    OtherVersion { expected: String, found: String },
    #[error("The formation is at generation {found}, not at {expected}")]
    OtherGeneration { expected: u64, found: u64 },
    #[error("Source is identical to current version - nothing to update")]
    NoChange,
    #[error("this manager has {0} formations, as many as limits.formations allows")]
    TooMany(u32),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("failed to put the bundle in place")]
    Place(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// Makes the bundle the formation's next generation. Answers the operation's id.
    pub async fn update(
        &self,
        id: &FormationId,
        prepared: Prepared,
        expected: Expected,
    ) -> Result<String, DeployError> {
        let (supervisor, id) = (self.clone(), id.clone());
        let update = async move { supervisor.begin_update(&id, prepared, &expected).await };
        self.to_its_end("update", update).await
    }

    async fn begin_deploy(
        &self,
        prepared: Prepared,
        expected: &Expected,
    ) -> Result<String, DeployError> {
        check_expected(expected, &prepared)?;
        let id = prepared.loaded.manifest.id.clone();
        self.begin_first(id, prepared, None).await
    }

    /// The first generation of what is not there yet.
    pub(super) async fn begin_first(
        &self,
        id: FormationId,
        prepared: Prepared,
        source: Option<PathBuf>,
    ) -> Result<String, DeployError> {
        let context = self.context();

        // One deploy of an id at a time; the guard outlives the transaction that makes it known.
        let _claim = self.claim(&id, OperationKind::Deploy)?;
        let asked = id.clone();
        let (exists, leased) = context
            .store
            .read(move |db| Ok((formations::exists(db, &asked)?, formations::leased_ports(db)?)))
            .await?;
        if exists {
            return Err(StoreError::FormationExists(id.to_string()).into());
        }
        let formations_max = context.live().limits.formations;
        if leased.len() >= formations_max as usize {
            return Err(DeployError::TooMany(formations_max));
        }
        let lease = context.ports.lease(&leased)?;
        let operation = new_operation(OperationKind::Deploy, &id, FIRST, request_id::current());
        let bundle = described(&prepared);
        let new = NewFormation { id: id.clone(), port: lease.port, bundle, source };
        let (begun, now_ms) = (operation.clone(), context.clock.now_ms());
        let stored = self.place_and_store(&id, FIRST, prepared, move |tx| {
            formations::insert(tx, &new, now_ms)?;
            operations::begin(tx, &begun, now_ms)?;
            announce_steps(tx, &begun, now_ms)
        });
        stored.await?;
        tracing::info!(formation = %id, port = lease.port, "deploying");
        context.store.announce(&operation.id);
        self.introduce(&id, Some(lease));
        Ok(operation.id)
    }

    async fn begin_update(
        &self,
        id: &FormationId,
        prepared: Prepared,
        expected: &Expected,
    ) -> Result<String, DeployError> {
        let context = self.context();
        check_expected(expected, &prepared)?;
        let _claim = self.claim(id, OperationKind::Update)?;
        let asked = id.clone();
        let (formation, running) = context
            .store
            .read(move |db| {
                Ok((formations::get(db, &asked)?, operations::running(db, asked.as_str())?))
            })
            .await?;
        let formation = formation.ok_or_else(|| StoreError::UnknownFormation(id.to_string()))?;
        if let Some(running) = running {
            return Err(StoreError::busy(&running).into());
        }
        check_update(&formation, expected.generation, prepared.sha256())?;

        let generation = formation.newest_generation + 1;
        let new = described(&prepared);
        let (named, expected, now_ms) = (id.clone(), expected.generation, context.clock.now_ms());
        let request_id = request_id::current();
        let stored = self.place_and_store(id, generation, prepared, move |tx| {
            let formation = known(tx, &named)?;
            // What an operator did meanwhile counts.
            if let Err(refused) = check_update(&formation, expected, &new.bundle_sha256) {
                return Ok(Err(refused));
            }
            generations::insert(tx, &named, generation, &new, now_ms)?;
            let epoch = formations::begin_trial(tx, &formation, generation, now_ms)?;
            let operation = new_operation(OperationKind::Update, &named, epoch, request_id);
            operations::begin(tx, &operation, now_ms)?;
            announce_steps(tx, &operation, now_ms)?;
            Ok(Ok(operation.id))
        });
        let stored = stored.await.and_then(|stored| stored);
        if stored.is_err() {
            // Rows of it there are none, so the files go.
            self.tidy(id);
        }
        let operation = stored?;
        tracing::info!(formation = %id, generation, "updating");
        context.store.announce(&operation);
        self.nudge(id);
        Ok(operation)
    }

    /// The files first, then the rows that speak of them.
    async fn place_and_store<T: Send + 'static>(
        &self,
        id: &FormationId,
        generation: u64,
        prepared: Prepared,
        store: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, DeployError> {
        let context = self.context();
        // Nobody sweeps in between: an archive that no row speaks of yet would be taken for waste.
        let _no_sweep = context.bundle_files.read().await;
        let (layout, of) = (context.layout.clone(), id.clone());
        let place = move || {
            // The store does not know it, so what lies there is of an act that failed.
            bundles::remove_generation(&layout, &of, generation)?;
            prepared.place(&layout, &of, generation)
        };
        tokio::task::spawn_blocking(place)
            .await
            .expect("placing a bundle does not panic")
            .map_err(DeployError::Place)?;
        let stored = context.store.write(store).await;
        if stored.is_err() {
            let (layout, of) = (context.layout.clone(), id.clone());
            let removed = tokio::task::spawn_blocking(move || {
                if generation == FIRST {
                    bundles::remove_formation(&layout, &of);
                } else if let Err(error) = bundles::remove_generation(&layout, &of, generation) {
                    tracing::warn!(formation = %of, generation, %error, "could not be removed");
                }
            });
            removed.await.expect("removing a folder does not panic");
        }
        Ok(stored?)
    }
}

/// Whether the formation may become what the caller sent.
fn check_update(
    formation: &Formation,
    expected: Option<u64>,
    bundle_sha256: &str,
) -> Result<(), DeployError> {
    let found = formation.generation();
    match expected {
        Some(expected) if expected != found => {
            Err(DeployError::OtherGeneration { expected, found })
        }
        _ if formation.bundle_sha256 == bundle_sha256 => Err(DeployError::NoChange),
        _ => Ok(()),
    }
}

fn described(prepared: &Prepared) -> NewGeneration {
    let manifest = &prepared.loaded.manifest;
    NewGeneration {
        bundle_sha256: prepared.sha256().to_owned(),
        version: manifest.version.clone(),
        name: manifest.name.clone().unwrap_or_else(|| manifest.id.to_string()),
    }
}

fn check_expected(expected: &Expected, prepared: &Prepared) -> Result<(), DeployError> {
    let (id, version) = (&prepared.loaded.manifest.id, &prepared.loaded.manifest.version);
    if let Some(expected) = expected.id.as_ref().filter(|expected| *expected != id.as_str()) {
        let (expected, found) = (expected.clone(), id.to_string());
        return Err(DeployError::OtherId { expected, found });
    }
    if let Some(expected) = expected.version.as_ref().filter(|expected| *expected != version) {
        let (expected, found) = (expected.clone(), version.clone());
        return Err(DeployError::OtherVersion { expected, found });
    }
    Ok(())
}
