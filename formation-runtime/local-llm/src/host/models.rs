//! The engines of the host: loaded on demand, few at a time, unloaded when idle.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::{Engine, EngineError, EngineOptions};
use crate::files::{self, ModelName, ModelState};

/// More models than this are never in memory together.
const LOADED_MAX: usize = 2;

#[derive(Debug)]
pub(super) struct Models {
    dir: PathBuf,
    options: EngineOptions,
    table: Mutex<Table>,
    /// Held while a model loads, so that requests that come together load it once.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    Missing(String),
    Failed(String),
    /// Every loaded model is at work and another one does not fit beside them.
    NoRoom,
}

/// A model as the host sees it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: ModelName,
    pub(super) state: ModelState,
    pub(super) loaded: bool,
}

#[derive(Debug, Default)]
struct Table {
    /// In order of the last use.
    loaded: Vec<(ModelName, Engine)>,
    /// Why the last attempt to load has failed.
    failures: HashMap<ModelName, String>,
}

// === impl Models ===

impl Models {
    pub(super) fn new(dir: PathBuf, options: EngineOptions) -> Self {
        Self { dir, options, table: Mutex::default(), loading: tokio::sync::Mutex::default() }
    }

    pub(super) async fn engine(&self, name: &ModelName) -> Result<Engine, Unavailable> {
        if let Some(engine) = self.loaded(name) {
            return Ok(engine);
        }
        let _loading = self.loading.lock().await;
        if let Some(engine) = self.loaded(name) {
            return Ok(engine);
        }
        let path = match files::state(&self.dir, name) {
            ModelState::Ready { path, .. } => path,
            ModelState::Missing { reason } => return Err(Unavailable::Missing(reason)),
            ModelState::Failed { reason } => return Err(Unavailable::Failed(reason)),
        };
        self.make_room()?;
        let options = self.options;
        let loaded = tokio::task::spawn_blocking(move || Engine::load(&path, options)).await;
        let result = loaded.unwrap_or(Err(EngineError::Crashed));
        let mut table = self.table();
        match result {
            Ok(engine) => {
                table.failures.remove(name);
                table.loaded.push((name.clone(), engine.clone()));
                tracing::info!(model = %name, "model loaded");
                Ok(engine)
            }
            Err(error) => {
                let reason = with_causes(&error);
                tracing::error!(model = %name, reason, "model could not be loaded");
                table.failures.insert(name.clone(), reason.clone());
                Err(Unavailable::Failed(reason))
            }
        }
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        files::list(&self.dir).into_iter().map(|name| self.look(name)).collect()
    }

    pub(super) fn look(&self, name: ModelName) -> Listed {
        let table = self.table();
        let loaded = table.loaded.iter().any(|(loaded, _)| *loaded == name);
        let state = match (files::state(&self.dir, &name), table.failures.get(&name)) {
            (ModelState::Ready { .. }, Some(reason)) => {
                ModelState::Failed { reason: reason.clone() }
            }
            (state, _) => state,
        };
        Listed { name, state, loaded }
    }

    pub(super) fn unload_idle(&self) {
        self.table().loaded.retain(|(name, engine)| {
            if engine.is_idle() {
                tracing::info!(model = %name, "idle model unloaded");
            }
            !engine.is_idle()
        });
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.table().loaded.iter().any(|(_, engine)| engine.has_crashed())
    }

    fn loaded(&self, name: &ModelName) -> Option<Engine> {
        let mut table = self.table();
        let index = table.loaded.iter().position(|(loaded, _)| loaded == name)?;
        let found = table.loaded.remove(index);
        let engine = found.1.clone();
        table.loaded.push(found);
        Some(engine)
    }

    fn make_room(&self) -> Result<(), Unavailable> {
        let mut table = self.table();
        if table.loaded.len() >= LOADED_MAX {
            let idle = table.loaded.iter().position(|(_, engine)| engine.is_idle());
            table.loaded.remove(idle.ok_or(Unavailable::NoRoom)?);
        }
        Ok(())
    }

    /// Every change under the lock is complete, so its content is sound even when poisoned.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === private helpers ===

/// The message of an error and those of its causes.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
