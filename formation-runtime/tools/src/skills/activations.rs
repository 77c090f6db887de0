//! Which skills a session has read already.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use muxi_contract::{SessionId, UserId};

/// The state of sessions, as far as skills need it.
pub trait Activations: Send + Sync + fmt::Debug {
    /// Notes that the session has the skill; answers whether it has it only now.
    fn activate<'a>(
        &'a self,
        user: &'a UserId,
        session: &'a SessionId,
        skill: &'a str,
    ) -> BoxFuture<'a, Result<bool, ActivationFault>>;
}

/// The session's state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to note that a skill is active: {0}")]
pub struct ActivationFault(pub String);

/// In memory, of the sessions that used a skill last. One that is forgotten reads a skill again.
#[derive(Debug)]
pub struct RecentActivations {
    noted: Mutex<Noted>,
    most: usize,
}

type Key = (UserId, SessionId, String);

#[derive(Debug, Default)]
struct Noted {
    all: HashSet<Key>,
    /// The oldest first.
    order: VecDeque<Key>,
}

// === impl RecentActivations ===

impl RecentActivations {
    pub fn new(most: usize) -> Self {
        Self { noted: Mutex::default(), most }
    }

    fn note(&self, key: Key) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !noted.all.insert(key.clone()) {
            return false;
        }
        noted.order.push_back(key);
        if noted.order.len() > self.most
            && let Some(oldest) = noted.order.pop_front()
        {
            noted.all.remove(&oldest);
        }
        true
    }
}

impl Activations for RecentActivations {
    fn activate<'a>(
        &'a self,
        user: &'a UserId,
        session: &'a SessionId,
        skill: &'a str,
    ) -> BoxFuture<'a, Result<bool, ActivationFault>> {
        let is_new = self.note((user.clone(), session.clone(), skill.to_owned()));
        Box::pin(std::future::ready(Ok(is_new)))
    }
}
