//! Keeps every formation as its stored intent says.
//!
//! One actor a formation owns its process, its port and its state. Others hold this handle: they
//! write intent to the store and nudge; the nudge carries no data.

mod actor;
pub mod backoff;
mod closed_sign;
mod instance;
pub mod lifecycle;
mod model_host;
mod port_teller;
mod probe;
pub mod process;
mod record;
pub mod usage;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_service::{Clock, Shutdown, TaskGroup, TaskKind};
use tokio::sync::{RwLock, Semaphore, mpsc};

use self::process::Reaper;
use crate::audit::Recorder;
use crate::auth::Auth;
use crate::config::Config;
use crate::disk::Disk;
use crate::drafts::Drafts;
use crate::layout::Layout;
use crate::logs::CountCache;
use crate::metrics::Metrics;
use crate::ports::{Lease, PortPool};
use crate::proxy::routes::Routes;
use crate::ready::Ready;
use crate::reload::Live;
use crate::sandbox;
use crate::store::operations::OperationKind;
use crate::store::{Store, StoreError, formations};
use crate::traces::Traces;
use crate::webhooks::Webhooks;

/// What every actor needs.
#[derive(Debug)]
pub struct Context {
    pub store: Store,
    pub auth: Auth,
    pub audit: Recorder,
    /// As it was at the start; right for what a reload does not change.
    pub config: Config,
    pub live: Live,
    pub layout: Layout,
    pub disk: Disk,
    pub sandbox: sandbox::Host,
    pub clock: Clock,
    /// For deadlines: a clock that is set anew must not stretch or end them.
    pub steady: Clock,
    pub ports: PortPool,
    pub routes: Routes,
    /// Of the drafts that run.
    pub drafts: Routes,
    pub webhooks: Webhooks,
    pub metrics: Metrics,
    pub ready: Ready,
    pub traces: Traces,
    pub reaper: Reaper,
    /// Uploads and their unpacking, which take disk and memory.
    pub deploys: Semaphore,
    /// Formations that are started at once with the manager; further ones wait.
    pub starts: Arc<Semaphore>,
    /// Read while files are put in place and their rows written; written while files are swept
    /// that no row speaks of.
    pub bundle_files: RwLock<()>,
    pub draft_files: Drafts,
    pub tasks: TaskGroup,
    pub shutdown: Shutdown,
    /// The runtime's program.
    pub runtime: PathBuf,
    pub models_dir: PathBuf,
    pub log_counts: CountCache,
}

/// The handle on all actors.
#[derive(Debug, Clone)]
pub struct Supervisor {
    context: Arc<Context>,
    actors: Arc<Mutex<HashMap<FormationId, mpsc::Sender<Nudge>>>>,
    /// Ids that a deploy is working on and that the store does not know yet.
    claimed: Arc<Mutex<HashSet<FormationId>>>,
    started_at: Timestamp,
}

/// Keeps an id for one deploy.
#[derive(Debug)]
pub struct Claim {
    claimed: Arc<Mutex<HashSet<FormationId>>>,
    id: FormationId,
}

/// "Look at the store again."
#[derive(Debug)]
struct Nudge;

/// One nudge that waits is as good as many.
const NUDGES_MAX: usize = 1;

// === impl Context ===

impl Context {
    /// The configuration in effect. Take it once for one decision: a reload may come in between.
    pub fn live(&self) -> Arc<Config> {
        self.live.config()
    }

    /// The table in which this formation, or this draft of one, is published.
    pub fn routes_of(&self, id: &FormationId) -> &Routes {
        if id.is_draft() { &self.drafts } else { &self.routes }
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub fn new(context: Arc<Context>) -> Self {
        let started_at = context.clock.now();
        Self { context, actors: Arc::default(), claimed: Arc::default(), started_at }
    }

    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn shared_context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Refused while another deploy holds the id.
    pub fn claim(&self, id: &FormationId, kind: OperationKind) -> Result<Claim, StoreError> {
        let claimed = Arc::clone(&self.claimed);
        let mut held = claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let free = held.insert(id.clone());
        drop(held);
        if free {
            Ok(Claim { claimed, id: id.clone() })
        } else {
            Err(StoreError::Busy { formation: id.to_string(), kind: kind.as_str().to_owned() })
        }
    }

    /// Starts an actor for every stored formation, all at once, and the model host's watcher.
    pub async fn boot(&self) -> Result<usize, StoreError> {
        let stored = self.context.store.read(formations::with_drafts).await?;
        let count = stored.len();
        let formations = stored.iter().map(|it| it.id.clone()).filter(|id| !id.is_draft());
        self.context.ready.booted(formations);
        for formation in stored {
            self.introduce(&formation.id, None);
        }
        let host = model_host::watch(Arc::clone(&self.context));
        self.context.tasks.spawn(TaskKind::PerFormation, "model host", host);
        let usage = sandbox::watch(self.clone());
        self.context.tasks.spawn(TaskKind::PerFormation, "disk usage", usage);
        Ok(count)
    }

    /// Starts the actor of a stored formation; a new one comes with its lease.
    pub fn introduce(&self, id: &FormationId, lease: Option<Lease>) {
        let (nudge, mailbox) = mpsc::channel(NUDGES_MAX);
        let own = nudge.downgrade();
        self.lock().insert(id.clone(), nudge);
        let actor = actor::run(Arc::clone(&self.context), id.clone(), lease, mailbox);
        let (supervisor, done) = (self.clone(), id.clone());
        self.context.tasks.spawn(TaskKind::PerFormation, format!("supervise {id}"), async move {
            actor.await;
            // A formation that was deployed anew meanwhile has an actor of its own.
            let mut actors = supervisor.lock();
            let ours = own.upgrade().zip(actors.get(&done)).is_some_and(|(a, b)| a.same_channel(b));
            if ours {
                actors.remove(&done);
            }
        });
    }

    /// Whether the formation has an actor.
    pub fn is_supervised(&self, id: &FormationId) -> bool {
        self.lock().contains_key(id)
    }

    /// Tells the formation's actor that the store has news.
    pub fn nudge(&self, id: &FormationId) {
        if let Some(actor) = self.lock().get(id) {
            // Full: a nudge waits already and will see this news, too.
            let _waits_already = actor.try_send(Nudge);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FormationId, mpsc::Sender<Nudge>>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Claim ===

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
