//! What all callers with the same credential share of one server.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::catalogue::Catalogue;
use super::connection::{Connection, Lease};
use super::error::McpError;

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) connection: tokio::sync::Mutex<Slot>,
    catalogue: Mutex<Catalogue>,
    /// The server said that its tools changed.
    pub(super) stale: Arc<AtomicBool>,
    last_used: Mutex<Instant>,
}

/// The connection, or why there is none.
#[derive(Debug, Default)]
pub(super) struct Slot {
    open: Option<Arc<Connection>>,
    failed: Option<(Instant, McpError)>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            connection: tokio::sync::Mutex::default(),
            catalogue: Mutex::default(),
            stale: Arc::default(),
            last_used: Mutex::new(now),
        }
    }

    pub(super) fn catalogue(&self) -> std::sync::MutexGuard<'_, Catalogue> {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, now: Instant) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(super) fn last_used(&self) -> Instant {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while one is being made, which is not idle, and when there is none.
    pub(super) fn made(&self) -> Option<Arc<Connection>> {
        self.connection.try_lock().ok()?.open.clone()
    }

    pub(super) fn is_connected(&self) -> bool {
        // One that is being made counts.
        let slot = self.connection.try_lock();
        slot.map_or(true, |it| it.open.as_ref().is_some_and(|it| it.is_open()))
    }
}

// === impl Slot ===

impl Slot {
    /// For a caller who waits since `came`: the open connection, or a failure of meanwhile, which would be
    /// theirs as well. `None` when it is on them to connect.
    pub(super) fn found(&mut self, came: Instant) -> Option<Result<Lease, McpError>> {
        if let Some(lease) = self.open.as_ref().and_then(Connection::lease) {
            return Some(Ok(lease));
        }
        self.open = None;
        let failed = self.failed.as_ref().filter(|(at, _)| *at >= came);
        failed.map(|(_, error)| Err(error.clone()))
    }

    pub(super) fn keep(&mut self, made: &Result<Lease, McpError>) {
        match made {
            Ok(lease) => *self = Self { open: Some(Arc::clone(lease.connection())), failed: None },
            Err(error) => self.failed = Some((Instant::now(), error.clone())),
        }
    }
}
