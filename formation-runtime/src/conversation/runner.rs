//! Starts turns, at once or for later. [`running`] is what becomes of each.

mod acting;
mod answering;
mod colleagues;
mod deciding;
mod hearing;
mod keeping;
mod noting;
mod planning;
mod resuming;
mod running;
mod speaking;
mod spending;
mod steering;
mod taking_over;
mod tasks;
mod working;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use muxi_contract::{FormationId, RequestId, SessionId, UserId};
use muxi_formation::manifest::Usage as UsageConfig;
use muxi_memory::{NewRequest, RequestKind, RequestMode, RequestSeq, Store, StoreError, UserStore};
use muxi_service::{Clock, Shutdown, TaskGroup, TaskKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::deciding::DecideError;
use self::running::Running;
use super::active::{ActiveRequest, ActiveRequests, Entry};
use super::files::File;
use super::queue::{Place, QueueFull, SessionQueues};
use super::structured::Expected;
use super::trace::Trace;
use super::turn::Update;
use super::waiting::Resumes;
use crate::activity::OpenRequests;
use crate::agents::Agent;
use crate::artifacts::Artifacts;
use crate::events::EventLog;
use crate::limits::Limits;
use crate::team::Team;

/// Starts turns and knows how many there are.
#[derive(Debug)]
pub struct Conversations {
    context: TurnContext,
    queues: SessionQueues,
    requests: ActiveRequests,
    turns: Arc<Semaphore>,
    /// In KiB.
    file_room: Arc<Semaphore>,
    started: AtomicU64,
    turns_max: usize,
}

/// What every turn needs.
#[derive(Debug, Clone)]
pub struct TurnContext {
    pub formation: FormationId,
    pub store: Store,
    pub soul: Arc<str>,
    /// Who answers, and with what.
    pub team: Arc<Team>,
    /// What models cost and may cost.
    pub usage: Arc<UsageConfig>,
    /// Earlier messages of the session that a prompt may hold.
    pub history_messages: u32,
    pub clock: Clock,
    pub limits: Limits,
    pub tasks: TaskGroup,
    pub shutdown: Shutdown,
    /// Work without a caller counts as an open request, so that nobody ends the process under it.
    pub open_requests: OpenRequests,
    pub events: EventLog,
    pub artifacts: Artifacts,
}

/// A message that is to be answered.
#[derive(Debug, Clone)]
pub struct Question {
    pub user: UserId,
    pub session: SessionId,
    pub request_id: RequestId,
    /// The agent that must answer; else one is chosen.
    pub agent: Option<Arc<Agent>>,
    pub text: String,
    pub files: Vec<File>,
    pub kind: RequestKind,
    pub mode: RequestMode,
    /// What the answer must be, if not just words.
    pub expected: Option<Arc<Expected>>,
    /// What this message answers, if it came through the API of approvals.
    pub resumes: Option<Resumes>,
    /// What was chosen of a widget.
    pub picked: Option<Picked>,
    /// How many agents have asked each other on the way here.
    pub depth: u8,
    /// The address that is told of the end.
    pub webhook_url: Option<String>,
    /// Where it was written down, if it was accepted for later.
    pub accepted: Option<RequestSeq>,
    pub created_ms: i64,
}

/// What was chosen of a widget that the formation has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picked {
    pub widget: String,
    pub value: serde_json::Value,
}

/// What a request that was accepted for later needs to be worked on by any process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    /// The agent that must answer, if the request names one.
    #[serde(default)]
    pub(super) agent: Option<String>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) files: Vec<File>,
    #[serde(default)]
    pub(super) output_schema: Option<serde_json::Value>,
    /// What it answers, as it is kept.
    #[serde(default)]
    pub(super) resumes: Option<Resumes>,
    #[serde(default)]
    pub(super) picked: Option<Picked>,
}

#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    SessionFull(#[from] QueueFull),
    #[error("the formation answers {0} messages already")]
    Full(usize),
    #[error("the formation has as many files in its messages as it can hold")]
    FilesFull,
    #[error("request '{0}' is open; take another id, or ask for that one")]
    IdInUse(RequestId),
    #[error("the formation is stopping")]
    Stopping,
}

/// A turn's right to run.
struct Ticket {
    place: Place,
    entry: Entry,
    permits: [OwnedSemaphorePermit; 2],
}

// === impl Conversations ===

impl Conversations {
    pub fn new(context: TurnContext) -> Self {
        let limits = context.limits;
        Self {
            context,
            queues: SessionQueues::new(limits.turns_per_session),
            requests: ActiveRequests::default(),
            turns: Arc::new(Semaphore::new(limits.turns)),
            file_room: Arc::new(Semaphore::new(limits.file_bytes_at_work / KIB)),
            started: AtomicU64::new(0),
            turns_max: limits.turns,
        }
    }

    /// Begins a turn. Dropping the receiver means that the caller left, which ends the model call.
    pub fn start(&self, question: Question) -> Result<mpsc::Receiver<Update>, StartError> {
        let ticket = self.admit(&question)?;
        Ok(begin(&self.context, ticket, question))
    }

    /// Writes the question down and answers it later, whether or not anybody waits. When this
    /// returns, a process that dies does not lose it any more.
    pub async fn accept(&self, question: Question) -> Result<(), AcceptError> {
        let write =
            |store: UserStore, new| async move { store.accept_request(new).await.map(Some) };
        self.accept_by(question, write).await.map(drop)
    }

    /// The same for a question that `write` writes down together with what it comes from. Nothing is
    /// done, and the answer is false, when that finds that another process was first.
    pub async fn accept_by<W, F>(
        &self,
        mut question: Question,
        write: W,
    ) -> Result<bool, AcceptError>
    where
        W: FnOnce(UserStore, NewRequest) -> F + Send + 'static,
        F: Future<Output = Result<Option<RequestSeq>, StoreError>> + Send + 'static,
    {
        let ticket = self.admit(&question)?;
        let (reply, written) = oneshot::channel();
        let context = self.context.clone();
        let open = context.open_requests.enter();
        // A task of its own: once it is written down it is worked on, also if the caller has left.
        self.context.tasks.spawn(TaskKind::Connection, "accepted request", async move {
            let store = context.store.for_user(&question.user);
            match write(store, written_down(&question)).await {
                Ok(Some(seq)) => {
                    question.accepted = Some(seq);
                    ticket.entry.is_stored_as(seq);
                    let updates = begin(&context, ticket, question);
                    // A caller that left knows nothing of it, and may ask for its requests.
                    let _left = reply.send(Ok(true));
                    exhaust(updates).await;
                }
                Ok(None) => {
                    let _left = reply.send(Ok(false));
                }
                Err(error) => {
                    let _left = reply.send(Err(error));
                }
            }
            drop(open);
        });
        Ok(written.await.unwrap_or(Err(StoreError::Gone))?)
    }

    /// Works on a request that an earlier process accepted.
    pub fn resume(&self, question: Question) -> Result<(), StartError> {
        let ticket = self.admit(&question)?;
        if let Some(seq) = question.accepted {
            ticket.entry.is_stored_as(seq);
        }
        let open = self.context.open_requests.enter();
        let updates = begin(&self.context, ticket, question);
        self.context.tasks.spawn(TaskKind::Connection, "resumed request", async move {
            exhaust(updates).await;
            drop(open);
        });
        Ok(())
    }

    /// The requests that are open in this process.
    pub fn requests(&self) -> &ActiveRequests {
        &self.requests
    }

    /// Cancelled when this process begins to stop.
    pub fn closing(&self) -> &CancellationToken {
        &self.context.shutdown.closing
    }

    /// Cancelled earlier: what is open goes on, and nothing new is taken.
    pub fn stopping(&self) -> &CancellationToken {
        &self.context.shutdown.stopping
    }

    /// Where work that belongs to a request runs.
    pub fn tasks(&self) -> &TaskGroup {
        &self.context.tasks
    }

    pub(super) fn context(&self) -> &TurnContext {
        &self.context
    }

    fn admit(&self, question: &Question) -> Result<Ticket, StartError> {
        if self.context.shutdown.closing.is_cancelled() {
            return Err(StartError::Stopping);
        }
        let permit = Arc::clone(&self.turns).try_acquire_owned();
        let turn = permit.map_err(|_| StartError::Full(self.turns_max))?;
        let bytes: usize = question.files.iter().map(|file| file.bytes.len()).sum();
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let files = Arc::clone(&self.file_room).try_acquire_many_owned(kib);
        let files = files.map_err(|_| StartError::FilesFull)?;
        let Question { user, session, request_id, mode, created_ms, .. } = question;
        let place = self.queues.join(user.clone(), session.clone())?;
        let names = (user.clone(), request_id.clone(), session.clone());
        let request = ActiveRequest::new(names, *mode, *created_ms);
        let entry = self.requests.enter(request);
        let entry = entry.ok_or_else(|| StartError::IdInUse(request_id.clone()))?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket { place, entry, permits: [turn, files] })
    }

    /// Turns since the start.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Turns at work or waiting.
    pub fn active(&self) -> usize {
        self.turns_max - self.turns.available_permits()
    }
}

// === private helpers ===

const KIB: usize = 1024;

fn begin(context: &TurnContext, ticket: Ticket, question: Question) -> mpsc::Receiver<Update> {
    let Ticket { place, entry, permits } = ticket;
    // The last update has a place of its own, so that a reader that is stuck cannot keep a turn
    // that is over from leaving its session.
    let (updates, receiver) = mpsc::channel(context.limits.updates_queued + 1);
    let last = updates.clone().try_reserve_owned().expect("a new channel has room");
    let turn = Running {
        context: context.clone(),
        store: context.store.for_user(&question.user),
        question,
        updates,
        place,
        entry,
        lead: OnceLock::new(),
        served: Mutex::default(),
        turn: OnceLock::new(),
        ledger: Arc::default(),
        trace: Arc::new(Trace::new(context.clock.clone())),
        noting: Arc::default(),
        outlives_caller: AtomicBool::new(false),
        earlier_files: OnceLock::new(),
        earlier_expected: OnceLock::new(),
        original: OnceLock::new(),
        _permits: permits,
    };
    // A task of its own: it must write its end down even when the connection is gone.
    context.tasks.spawn(TaskKind::Connection, "turn", turn.run(last));
    receiver
}

/// Takes what nobody waits for.
async fn exhaust(mut updates: mpsc::Receiver<Update>) {
    while updates.recv().await.is_some() {}
}

/// What any process needs to work on the question, as it is kept.
fn work(question: &Question) -> String {
    let work = Work {
        agent: question.agent.as_ref().map(|agent| agent.config.id.clone()),
        text: question.text.clone(),
        files: question.files.clone(),
        output_schema: question.expected.as_ref().map(|it| it.schema().clone()),
        resumes: question.resumes.clone(),
        picked: question.picked.clone(),
    };
    serde_json::to_string(&work).expect("our own types always serialise")
}

fn written_down(question: &Question) -> NewRequest {
    NewRequest {
        id: question.request_id.clone(),
        session: question.session.clone(),
        kind: question.kind,
        work: work(question),
        webhook_url: question.webhook_url.clone(),
        at_ms: question.created_ms,
    }
}

#[cfg(test)]
mod tests;
