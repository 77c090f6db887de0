//! What a repeated call gets: the first answer, and no second effect.
//!
//! Published clients sign `{timestamp};{METHOD};{path}` to the second, and their retries send the
//! very same header and idempotency key again (both are made once a call). So two honest calls may
//! share a signature within a second, and a retry shares both. The policy for everything that
//! changes something:
//!
//! - **The same idempotency key again** (of the same key pair, method and target): it is the same
//!   call. While the first one runs, the repeat waits for it; afterwards it gets the stored answer.
//!   Progress streams are told from their beginning. That holds when the first caller has left, and
//!   after a restart of the manager: finished answers are stored, and of a call that was cut off its
//!   operation is followed to the end. If that is not known, the repeat is told so (409) and nothing
//!   is done: a rollback done twice would undo itself.
//! - **The same idempotency key with another body**: refused (409). What was answered before its body
//!   was read to the end holds for any body, and a repeat whose body is not read to its end (it is too
//!   large, too slow, or waits for `100 Continue`) is not compared.
//! - **A first answer that a repeat may mend** (401, 403, 408, 429 and every 5xx) is not kept: the
//!   repeat is done anew. These are the statuses that clients retry.
//! - **The same signature with another idempotency key, or with none**: allowed for two seconds
//!   after its first use (one in which clients may sign alike, one for the network), refused after.
//!   Without a key there is no answer to give, and who repeats by hand, as the command line does,
//!   signs anew with a new time. The idempotency key itself is not signed, so whoever caught a
//!   header can use it for these two seconds, and no longer; version 2 closes that gap.
//! - **Version 2**: a signature is used once. A retry is signed anew and may carry the same
//!   idempotency key.
//! - **GET and HEAD** are not limited: their idempotency keys mean nothing.
//!
//! Everything is bounded: calls are kept for as long as their signature is accepted and at least an
//! hour, bodies for the newest only, large bodies not at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use muxi_contract::management::ProblemKind;
use tokio::sync::{SetOnce, watch};

use super::master::MasterKey;
use crate::store::calls::{self, Begun, CallRules, CallState, NewCall, StoredAnswer, StoredCall};
use crate::store::{Store, StoreError};

/// Calls under way and calls that were answered.
#[derive(Debug)]
pub struct Calls {
    store: Store,
    master: Option<MasterKey>,
    live: Arc<Registry>,
}

/// The SHA-256 of a body in hex, once the body was read to its end.
pub type BodyHash = Arc<SetOnce<String>>;

/// A call under way: what is known of its answer so far.
#[derive(Debug)]
pub struct Live {
    call: NewCall,
    body_sha256: BodyHash,
    id: OnceLock<i64>,
    operation: OnceLock<String>,
    told: watch::Sender<Told>,
}

/// What those who wait are told.
#[derive(Debug, Default)]
struct Told {
    verdict: Option<Verdict>,
    chunks: Vec<Bytes>,
    bytes: usize,
    ended: bool,
}

/// What became of a call.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Its body follows.
    Answer(Head),
    /// It was cut off, and its operation tells the rest.
    Resume(String),
    Refused(CallRefusal),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub error: Option<ProblemKind>,
    pub content_type: String,
}

/// Why a call is not done, and has no answer either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    #[error("This signature was used before; sign each call anew")]
    UsedSignature,
    #[error("This idempotency key was used for another call; take a fresh one for each call")]
    OtherCall,
    #[error("More calls came in a short time than are kept track of; call less often")]
    TooMany,
    #[error(
        "The manager stopped while this call was under way, and whether it took effect is not known; \
         look at what it was about, then call again with a fresh idempotency key"
    )]
    Unknown,
    #[error("This call was answered before with status {0}, and its answer was too large to keep")]
    NotKept(u16),
    #[error("The disk of the manager is full; free space and try again")]
    DiskFull,
    #[error("The manager failed; its log says why")]
    Failed,
}

/// Whether this caller does the call or waits for another who does.
#[derive(Debug)]
pub enum Joined {
    Leader(Leader),
    Follower(Arc<Live>),
    Refused(CallRefusal),
}

/// The duty to do a call and to tell its answer; given up without, those who wait are told so.
#[derive(Debug)]
pub struct Leader {
    live: Arc<Live>,
    registry: Arc<Registry>,
    store: Store,
    master: Option<MasterKey>,
    rules: CallRules,
}

type Registry = Mutex<HashMap<(String, String), Arc<Live>>>;

/// How long a signature of version 1 may come with other calls.
const SAME_SIGNATURE_MS: i64 = 2_000;
const KEPT_MS_MIN: i64 = 3_600_000;
const CALLS_MAX: u64 = 50_000;
/// Answers that keep their bodies in the store.
const ANSWERS_MAX: u64 = 1_000;
/// Calls with an idempotency key that are under way at once.
const LIVE_MAX: usize = 2_000;
/// Largest body that is kept in the store.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Largest progress stream; operations are far from it.
const STREAM_BYTES_MAX: usize = 4 << 20;

// === impl Calls ===

impl Calls {
    pub(super) fn new(store: Store, master: Option<MasterKey>) -> Self {
        Self { store, master, live: Arc::default() }
    }

    /// By what calls are judged now.
    pub fn rules(now_ms: i64, tolerance_s: u32) -> CallRules {
        // A timestamp may lie in the future by the tolerance, and is then accepted for twice as long.
        let kept_ms = KEPT_MS_MIN.max(i64::from(tolerance_s) * 2_000 + SAME_SIGNATURE_MS);
        CallRules {
            now_ms,
            same_signature_ms: SAME_SIGNATURE_MS,
            kept_ms,
            calls_max: CALLS_MAX,
            answers_max: ANSWERS_MAX,
        }
    }

    /// A call without an idempotency key: only its signature is looked at.
    pub async fn once(&self, call: NewCall, rules: CallRules) -> Result<(), CallRefusal> {
        match self.store.write(move |tx| calls::begin(tx, &call, rules)).await {
            Ok(Begun::New(_) | Begun::Repeat(_)) => Ok(()),
            Ok(Begun::UsedSignature) => Err(CallRefusal::UsedSignature),
            Ok(Begun::OtherCall) => Err(CallRefusal::OtherCall),
            Ok(Begun::TooMany) => Err(CallRefusal::TooMany),
            Err(error) => Err(error.into()),
        }
    }

    /// A call with an idempotency key.
    pub fn join(&self, call: NewCall, rules: CallRules) -> Joined {
        let name = (call.key.clone(), call.idempotency_key.clone().unwrap_or_default());
        let mut live = lock(&self.live);
        let full = live.len() >= LIVE_MAX;
        match live.entry(name) {
            Entry::Occupied(found) if found.get().call.is_same(&call) => {
                Joined::Follower(Arc::clone(found.get()))
            }
            Entry::Occupied(_) => Joined::Refused(CallRefusal::OtherCall),
            Entry::Vacant(_) if full => Joined::Refused(CallRefusal::TooMany),
            Entry::Vacant(free) => {
                let (id, operation) = (OnceLock::new(), OnceLock::new());
                let (body_sha256, told) = (BodyHash::default(), watch::Sender::default());
                let new = free.insert(Arc::new(Live { call, body_sha256, id, operation, told }));
                Joined::Leader(Leader {
                    live: Arc::clone(new),
                    registry: Arc::clone(&self.live),
                    store: self.store.clone(),
                    master: self.master.clone(),
                    rules,
                })
            }
        }
    }
}

// === impl Leader ===

impl Leader {
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// `None` if the call is to be done; otherwise what all are to be told, be it the stored answer.
    pub async fn begin(&self) -> Option<Verdict> {
        let (call, rules) = (self.live.call.clone(), self.rules);
        Some(match self.store.write(move |tx| calls::begin(tx, &call, rules)).await {
            Ok(Begun::New(id)) => {
                // Set once: a leader begins once.
                let _first = self.live.id.set(id);
                return None;
            }
            Ok(Begun::Repeat(StoredCall { id, state, body_sha256 })) => {
                if let Some(body_sha256) = body_sha256 {
                    let _first = self.live.body_sha256.set(body_sha256);
                }
                self.repeated(id, state)
            }
            Ok(Begun::UsedSignature) => Verdict::Refused(CallRefusal::UsedSignature),
            Ok(Begun::OtherCall) => Verdict::Refused(CallRefusal::OtherCall),
            Ok(Begun::TooMany) => Verdict::Refused(CallRefusal::TooMany),
            Err(error) => Verdict::Refused(error.into()),
        })
    }

    /// What a repeat gets that nobody here is working on.
    fn repeated(&self, id: i64, state: CallState) -> Verdict {
        let answer = match state {
            CallState::Answered(answer) => answer,
            CallState::Running { operation: Some(operation) } => return Verdict::Resume(operation),
            CallState::Running { operation: None } | CallState::Released => {
                return Verdict::Refused(CallRefusal::Unknown);
            }
        };
        let opened = answer
            .body
            .as_deref()
            .and_then(|sealed| self.master.as_ref()?.open(&seal_context(id), sealed));
        let Some(body) = opened else {
            return Verdict::Refused(CallRefusal::NotKept(answer.status));
        };
        self.push(Bytes::copy_from_slice(&body));
        let error = answer.error.and_then(|name| serde_json::from_value(name.into()).ok());
        let StoredAnswer { status, content_type, .. } = answer;
        Verdict::Answer(Head { status, error, content_type })
    }

    pub fn tell(&self, verdict: Verdict) {
        self.live.told.send_modify(|told| told.verdict = Some(verdict));
    }

    /// More of the body; false when there is no room for it.
    pub fn push(&self, chunk: Bytes) -> bool {
        self.live.told.send_if_modified(|told| {
            told.bytes += chunk.len();
            let fits = told.bytes <= STREAM_BYTES_MAX;
            if fits {
                told.chunks.push(chunk);
            }
            fits
        })
    }

    /// The body is whole.
    pub fn end(&self) {
        self.live.told.send_modify(|told| told.ended = true);
    }

    pub fn has_operation(&self) -> bool {
        self.live.operation.get().is_some()
    }

    /// Stores what repeats will be told from now on; `body` is absent if it is too large.
    pub async fn keep(&self, head: &Head, body: Option<&[u8]>) {
        let Some(id) = self.live.id.get().copied() else { return };
        let body = body.filter(|body| body.len() <= ANSWER_BYTES_MAX);
        let sealed = body
            .zip(self.master.as_ref())
            .and_then(|(body, master)| master.seal(&seal_context(id), body).ok());
        let error = head.error.and_then(|kind| serde_json::to_value(kind).ok());
        let answer = StoredAnswer {
            status: head.status,
            error: error.as_ref().and_then(|it| it.as_str()).map(str::to_owned),
            content_type: head.content_type.clone(),
            body: sealed,
        };
        let body_sha256 = self.live.body_sha256.get().cloned();
        let kept = self
            .store
            .write(move |tx| calls::answer(tx, id, body_sha256.as_deref(), &answer))
            .await;
        report(kept);
    }

    /// What failed for now is done again when it is repeated.
    pub async fn release(&self) {
        let Some(id) = self.live.id.get().copied() else { return };
        report(self.store.write(move |tx| calls::release(tx, id)).await);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // After the answer is stored, so that whoever comes next finds it there.
        let call = &self.live.call;
        let name = (call.key.clone(), call.idempotency_key.clone().unwrap_or_default());
        lock(&self.registry).remove(&name);
        self.live.told.send_modify(|told| {
            told.verdict.get_or_insert(Verdict::Refused(CallRefusal::Failed));
            told.ended = true;
        });
    }
}

// === impl Live ===

impl Live {
    /// Waits for what becomes of the call.
    pub async fn verdict(&self) -> Verdict {
        let mut told = self.told.subscribe();
        let told = told.wait_for(|told| told.verdict.is_some()).await;
        let verdict = told.ok().and_then(|told| told.verdict.clone());
        verdict.unwrap_or(Verdict::Refused(CallRefusal::Failed))
    }

    /// The body from its beginning.
    pub fn body(self: &Arc<Self>) -> impl Stream<Item = Bytes> + Send + use<> {
        let start = (Arc::clone(self), self.told.subscribe(), 0);
        futures_util::stream::unfold(start, async |(live, mut told, at)| {
            let chunk = {
                let more = told.wait_for(|told| told.chunks.len() > at || told.ended).await;
                more.ok().and_then(|told| told.chunks.get(at).cloned())
            };
            chunk.map(|chunk| (chunk, (live, told, at + 1)))
        })
    }

    /// The call began an operation, which outlives this process.
    pub async fn note_operation(&self, store: &Store, operation: String) {
        let (Some(id), Ok(())) = (self.id.get().copied(), self.operation.set(operation.clone()))
        else {
            return;
        };
        let body_sha256 = self.body_sha256.get().cloned();
        let noted = store
            .write(move |tx| calls::note_operation(tx, id, body_sha256.as_deref(), &operation))
            .await;
        report(noted);
    }

    /// Where the hash of the call's body gets known.
    pub fn body_sha256(&self) -> &BodyHash {
        &self.body_sha256
    }

    /// Waits until it is known what the body is, or that it will not be.
    pub async fn body_settled(&self) {
        tokio::select! {
            // Order does not matter: both only end the waiting. Both are cancel-safe.
            _ = self.body_sha256.wait() => {}
            _ = self.verdict() => {}
        }
    }

    /// Whether a body is known to be another than that of the call.
    pub fn is_of_another(&self, sent: &BodyHash) -> bool {
        self.body_sha256.get().zip(sent.get()).is_some_and(|(own, sent)| own != sent)
    }
}

// === impl NewCall ===

impl NewCall {
    fn is_same(&self, other: &Self) -> bool {
        (&self.method, &self.target, &self.content_sha256)
            == (&other.method, &other.target, &other.content_sha256)
    }
}

// === impl CallRefusal ===

impl From<StoreError> for CallRefusal {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::DiskFull) {
            return Self::DiskFull;
        }
        tracing::error!(error = &error as &dyn std::error::Error, "a call could not be noted");
        Self::Failed
    }
}

fn lock(registry: &Registry) -> std::sync::MutexGuard<'_, HashMap<(String, String), Arc<Live>>> {
    // The map is whole even if a holder panicked: each use is one call.
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seal_context(id: i64) -> String {
    format!("answer of call {id}")
}

fn report(stored: Result<(), StoreError>) {
    if let Err(error) = stored {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "what a repeated call will be told is not stored");
    }
}
