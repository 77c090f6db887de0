//! The requests that this process works on. Who cancels one or follows it finds it here.

use std::collections::{HashMap, hash_map};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use muxi_contract::{RequestId, SessionId, UserId};
use muxi_memory::{RequestMode, RequestSeq};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::told::Told;
use super::turn::Update;

/// A handle to the table; clones share it.
#[derive(Debug, Clone, Default)]
pub struct ActiveRequests {
    open: Arc<Mutex<HashMap<Key, Arc<ActiveRequest>>>>,
}

/// One request from its acceptance to its end.
#[derive(Debug)]
pub struct ActiveRequest {
    pub user: UserId,
    pub id: RequestId,
    pub session: SessionId,
    pub mode: RequestMode,
    pub created_ms: i64,
    seq: OnceLock<RequestSeq>,
    cancelled: CancellationToken,
    told: Mutex<Told>,
    /// How much was told.
    news: watch::Sender<usize>,
}

/// A request's entry, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    requests: ActiveRequests,
    request: Arc<ActiveRequest>,
}

/// Reads what a request tells, from any point on.
#[derive(Debug)]
pub struct Follower {
    request: Arc<ActiveRequest>,
    news: watch::Receiver<usize>,
    next: usize,
}

type Key = (UserId, RequestId);

// === impl ActiveRequests ===

impl ActiveRequests {
    /// The user's open request with this id.
    pub fn find(&self, user: &UserId, id: &RequestId) -> Option<Arc<ActiveRequest>> {
        self.lock().get(&(user.clone(), id.clone())).cloned()
    }

    /// Nothing if the user has an open request with this id already: nobody could tell them apart.
    pub(super) fn enter(&self, request: ActiveRequest) -> Option<Entry> {
        let request = Arc::new(request);
        match self.lock().entry(request.key()) {
            hash_map::Entry::Occupied(_) => return None,
            hash_map::Entry::Vacant(place) => place.insert(Arc::clone(&request)),
        };
        Some(Entry { requests: self.clone(), request })
    }

    /// Cancels those of the given requests that are open here.
    pub fn cancel_all(&self, asked: &[RequestSeq]) {
        for request in self.lock().values() {
            if request.seq.get().is_some_and(|seq| asked.contains(seq)) {
                request.cancel();
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<ActiveRequest>>> {
        // The map is whole even if a holder panicked: nothing here can stop halfway.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ActiveRequest ===

impl ActiveRequest {
    pub(super) fn new(
        (user, id, session): (UserId, RequestId, SessionId),
        mode: RequestMode,
        created_ms: i64,
    ) -> Self {
        Self {
            user,
            id,
            session,
            mode,
            created_ms,
            seq: OnceLock::new(),
            cancelled: CancellationToken::new(),
            told: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// Cancelled with the request; for the work behind its calls.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Ends the work on it, the call to the model included.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Whether its question has left the queue.
    pub fn has_begun(&self) -> bool {
        !self.told().is_empty()
    }

    /// What it tells, beginning with the update of this number.
    pub fn follow(self: &Arc<Self>, next: usize) -> Follower {
        Follower { request: Arc::clone(self), news: self.news.subscribe(), next }
    }

    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// From now on it can be found by its place in the store, too.
    pub(super) fn is_stored_as(&self, seq: RequestSeq) {
        // It is told once, when it is written down.
        let _first = self.seq.set(seq);
    }

    pub(super) fn tell(&self, update: &Update) {
        let mut told = self.told();
        told.push(update);
        self.news.send_replace(told.len());
    }

    fn key(&self) -> Key {
        (self.user.clone(), self.id.clone())
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    /// Frees the id: before its caller is told of the end, who may take it again at once.
    pub(super) fn leave(&self) {
        let mut open = self.requests.lock();
        let key = self.request.key();
        // By now it may be another request's.
        if open.get(&key).is_some_and(|it| Arc::ptr_eq(it, &self.request)) {
            open.remove(&key);
        }
    }
}

impl std::ops::Deref for Entry {
    type Target = ActiveRequest;

    fn deref(&self) -> &ActiveRequest {
        &self.request
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl Follower ===

impl Follower {
    /// The next update with its number; `None` after the last one.
    pub async fn next(&mut self) -> Option<(usize, Update)> {
        loop {
            match self.at_once() {
                Now::Update(number, update) => return Some((number, update)),
                Now::Over => return None,
                // The sender is in the request, which this holds.
                Now::Nothing => self.news.changed().await.ok()?,
            }
        }
    }

    fn at_once(&mut self) -> Now {
        let told = self.request.told();
        if let Some(update) = told.get(self.next) {
            self.next += 1;
            return Now::Update(self.next - 1, update);
        }
        if told.is_over() { Now::Over } else { Now::Nothing }
    }
}

/// What there is to read without waiting.
enum Now {
    Update(usize, Update),
    Nothing,
    Over,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::conversation::Failure;

    fn request() -> ActiveRequest {
        let names = (UserId::anonymous(), "r".parse().unwrap(), "s".parse().unwrap());
        ActiveRequest::new(names, RequestMode::Sync, 0)
    }

    #[test]
    fn a_follower_reads_what_was_told_and_waits_for_the_rest() {
        let requests = ActiveRequests::default();
        let entry = requests.enter(request()).unwrap();
        entry.tell(&Update::Thinking("hm".to_owned()));
        let found = requests.find(&UserId::anonymous(), &"r".parse().unwrap()).unwrap();
        let mut follower = found.follow(0);
        assert_eq!(
            follower.next().now_or_never().unwrap(),
            Some((0, Update::Thinking("hm".to_owned())))
        );
        assert_eq!(follower.next().now_or_never(), None);
        entry.tell(&Update::Text("a".to_owned()));
        entry.tell(&Update::Failed(Failure::Stopping));
        drop(entry);
        assert!(requests.is_empty());
        let told = std::iter::from_fn(|| follower.next().now_or_never().unwrap());
        assert_eq!(told.map(|(number, _)| number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_id_is_of_one_open_request_and_free_again_after_its_end() {
        let requests = ActiveRequests::default();
        let first = requests.enter(request()).unwrap();
        assert!(requests.enter(request()).is_none());
        drop(first);
        assert!(requests.enter(request()).is_some());
    }
}
