//! What an actor writes down: the intent it read, the instance it started, the steps of the
//! operation that asked for it.

use std::sync::Arc;
use std::time::Duration;

use muxi_contract::FormationId;
use muxi_contract::management::{Progress, Stage};

use super::Context;
use crate::store::StoreError;
use crate::store::operations::{self, OperationEvent, Running};

/// One formation's side of the store.
#[derive(Debug, Clone)]
pub(super) struct Record {
    context: Arc<Context>,
    id: FormationId,
}

/// A store that fails is asked again after this; nothing else can be done without it.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// A store that goes on failing is told of once in so many tries: a disk may be full for days.
const TRIES_PER_REPORT: u32 = 60;

// === impl Record ===

impl Record {
    pub(super) fn new(context: Arc<Context>, id: FormationId) -> Self {
        Self { context, id }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        command: impl Fn(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + Clone + 'static,
    ) -> T {
        let mut tries = 0;
        loop {
            match self.context.store.write(command.clone()).await {
                Ok(value) => return value,
                Err(error) => self.wait_for_store(error, tries).await,
            }
            tries += 1;
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&rusqlite::Connection) -> Result<T, StoreError> + Send + Clone + 'static,
    ) -> T {
        let mut tries = 0;
        loop {
            match self.context.store.read(query.clone()).await {
                Ok(value) => return value,
                Err(error) => self.wait_for_store(error, tries).await,
            }
            tries += 1;
        }
    }

    /// The act that is under way on this formation.
    pub(super) async fn running_operation(&self) -> Option<Running> {
        let id = self.id.clone();
        self.read(move |db| operations::running(db, id.as_str())).await
    }

    /// Tells the running operation, if there is one, where it is.
    pub(super) async fn report(&self, stage: Stage, message: String) {
        self.report_progress(Progress::new(stage, message)).await;
    }

    pub(super) async fn report_progress(&self, progress: Progress) {
        if let Some(operation) = self.running_operation().await {
            self.append(&operation.id, OperationEvent::Progress(progress)).await;
        }
    }

    /// Stores one step of an operation and then tells its followers.
    pub(super) async fn append(&self, operation: &str, event: OperationEvent) {
        let (id, now_ms) = (operation.to_owned(), self.context.clock.now_ms());
        self.write(move |tx| operations::append(tx, &id, &event, now_ms)).await;
        self.context.store.announce(operation);
    }

    /// Without its store the actor can do nothing right, so it asks until the store answers.
    async fn wait_for_store(&self, error: StoreError, tries: u32) {
        if matches!(error, StoreError::Closed) {
            tracing::error!(formation = %self.id, "the store is gone; stopping");
            self.context.shutdown.stopping.cancel();
        }
        if tries.is_multiple_of(TRIES_PER_REPORT) {
            let error = anyhow::Error::new(error);
            tracing::error!(formation = %self.id, tries, error = format!("{error:#}"), "the store failed");
        }
        tokio::time::sleep(STORE_RETRY).await;
    }
}
