//! The turns of one session go one after another, in the order in which they came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use muxi_contract::{SessionId, UserId};

/// Who may speak now, for each session that somebody speaks or waits in.
#[derive(Debug, Clone)]
pub struct SessionQueues {
    queues: Arc<Mutex<HashMap<Key, Queue>>>,
    per_session_max: usize,
}

/// A place in a session's queue, given up when dropped.
#[derive(Debug)]
pub struct Place {
    queues: SessionQueues,
    key: Key,
    speaking: Arc<tokio::sync::Mutex<()>>,
}

/// So many turns of this session wait already that another would hardly be answered in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages of this session are being answered or wait")]
pub struct QueueFull(pub usize);

type Key = (UserId, SessionId);

#[derive(Debug, Default)]
struct Queue {
    speaking: Arc<tokio::sync::Mutex<()>>,
    places: usize,
}

// === impl SessionQueues ===

impl SessionQueues {
    pub fn new(per_session_max: usize) -> Self {
        Self { queues: Arc::default(), per_session_max }
    }

    pub fn join(&self, user: UserId, session: SessionId) -> Result<Place, QueueFull> {
        let key = (user, session);
        let mut queues = self.lock();
        let queue = queues.entry(key.clone()).or_default();
        if queue.places == self.per_session_max {
            return Err(QueueFull(queue.places));
        }
        queue.places += 1;
        let speaking = Arc::clone(&queue.speaking);
        drop(queues);
        Ok(Place { queues: self.clone(), key, speaking })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Queue>> {
        // The map is whole even if a holder panicked: nothing here can stop halfway.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// Resolves when all who came before are done; first come, first served.
    pub async fn wait(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.speaking.lock().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.places -= 1;
            if queue.places == 0 {
                queues.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_speaks_the_next_waits_and_nothing_is_left_behind() {
        let queues = SessionQueues::new(2);
        let join = |user: &str| queues.join(user.parse().unwrap(), "s".parse().unwrap());
        let (first, second, other) = (join("a").unwrap(), join("a").unwrap(), join("b").unwrap());
        assert_eq!(join("a").unwrap_err(), QueueFull(2));

        let speaking = first.wait().now_or_never().unwrap();
        assert!(second.wait().now_or_never().is_none());
        assert!(other.wait().now_or_never().is_some());
        drop(speaking);
        drop(first);
        assert!(second.wait().now_or_never().is_some());
        drop((second, other));
        assert!(queues.lock().is_empty());
    }
}
