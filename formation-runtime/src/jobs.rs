//! Work that goes on behind conversations: code that another program writes, jobs elsewhere that are
//! watched.
//!
//! A tool writes a task down; this claims it, works on it and tells its session of the end, in one
//! transaction, so that the session hears of it exactly once. [`coding`] and [`watching`] do the work.

mod coding;
mod delegate_coding;
mod telling;
mod watch_job;
mod watching;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_formation::manifest::Watch;
use muxi_formation::{Coding, Loaded};
use muxi_memory::{StoreError, Task, TaskKind};
use muxi_tools::Tool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::coding::{Journals, Selectors};
use self::delegate_coding::DelegateCoding;
use self::watch_job::WatchJob;
use crate::app::{App, Parts};

/// What the bundle says of work behind conversations.
#[derive(Debug)]
pub struct Jobs {
    coding: Option<CodingJobs>,
    /// Only where there are tools to watch with.
    watch: Option<Watch>,
    journals: Journals,
    served: Served,
    changed: Notify,
}

#[derive(Debug)]
struct CodingJobs {
    config: Coding,
    selectors: Selectors,
    /// What relative paths are below.
    bundle: PathBuf,
    /// What no program may read: what the bundle and the data folder hold.
    hidden: Vec<PathBuf>,
}

/// The formation as its own tools reach it, once it serves.
#[derive(Debug, Clone, Default)]
struct Served(Arc<OnceLock<Weak<Parts>>>);

/// Other processes make tasks, die over them, and clocks are set.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Who cancels a task of another process waits for no longer.
const LOOK_EVERY_AT_WORK: Duration = Duration::from_secs(1);
/// Looks that are taken at the same time.
const LOOKS_AT_ONCE: u32 = 16;
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// So often work may begin work that begins work without a word of the user in between.
const CHAIN_MAX: u32 = 10;

/// Looks after tasks until the process stops. What is at work then is the next process's.
pub async fn run(app: App, stop: CancellationToken) {
    let _stopped = stop.run_until_cancelled(Workshop::new(&app).run()).await;
}

// === impl Jobs ===

impl Jobs {
    /// The error says which key of the adapter is wrong.
    pub fn new(loaded: &Loaded, bundle: &Path, data_dir: &Path) -> Result<Self, String> {
        let coding = loaded.coding.as_ref().map(|config| {
            Ok::<_, String>(CodingJobs {
                selectors: Selectors::of(&config.adapter)?,
                config: config.clone(),
                bundle: bundle.to_owned(),
                hidden: vec![bundle.to_owned(), data_dir.to_owned()],
            })
        });
        Ok(Self {
            coding: coding.transpose()?,
            watch: loaded.manifest.mcp.watch.filter(|_| !loaded.mcp_servers.is_empty()),
            journals: Journals::below(data_dir),
            served: Served::default(),
            changed: Notify::new(),
        })
    }

    /// What agents begin work with.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
        if let Some(coding) = &self.coding {
            tools.push(Arc::new(DelegateCoding::new(&coding.config, self.served.clone())));
        }
        if self.watch.is_some() {
            tools.push(Arc::new(WatchJob::new(self.served.clone())));
        }
        tools
    }

    /// From now on the tools work.
    pub fn serve(&self, app: &App) {
        // A second time would say the same.
        drop(self.served.0.set(Arc::downgrade(app)));
    }

    /// A task was made or cancelled.
    pub fn look(&self) {
        self.changed.notify_one();
    }
}

// === impl Served ===

impl Served {
    fn app(&self) -> Option<App> {
        self.0.get()?.upgrade()
    }
}

/// The tasks that this process works on.
struct Workshop<'a> {
    app: &'a App,
    at_work: HashMap<String, (TaskKind, CancellationToken)>,
    working: FuturesUnordered<BoxFuture<'a, String>>,
    free_at: Instant,
    sweep_at: Instant,
}

// === impl Workshop ===

impl<'a> Workshop<'a> {
    fn new(app: &'a App) -> Self {
        let (at_work, working) = (HashMap::new(), FuturesUnordered::new());
        Self { app, at_work, working, free_at: Instant::now(), sweep_at: Instant::now() }
    }

    async fn run(mut self) {
        // Before anything of this process begins: nothing goes on that nobody looks after.
        self.app.jobs.journals.end_orphans();
        loop {
            let wait = self.look().await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "background jobs");
                LOOK_EVERY_AT_WORK
            });
            tokio::select! {
                biased;
                // What is done first, since it makes room. All arms are cancel-safe.
                Some(id) = self.working.next() => {
                    self.at_work.remove(&id);
                }
                () = self.app.jobs.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Begins what is due and ends what was cancelled; the answer is when to look again.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let app = self.app;
        let now_ms = app.clock.now_ms();
        if Instant::now() >= self.free_at {
            self.free_at = Instant::now() + LOOK_EVERY;
            app.store.free_tasks(now_ms).await?;
        }
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + SWEEP_EVERY;
            app.jobs.journals.sweep(app.clock.now()).await;
        }
        for id in app.store.cancelled_tasks().await? {
            if let Some((_, token)) = self.at_work.get(&id) {
                token.cancel();
            }
        }
        let mut next_ms: Option<i64> = None;
        for (kind, at_once) in [
            (TaskKind::Code, app.jobs.coding.as_ref().map_or(1, |it| it.config.max_concurrent)),
            (TaskKind::Watch, LOOKS_AT_ONCE),
        ] {
            let busy = self.at_work.values().filter(|(of, _)| *of == kind).count();
            let room = at_once.saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
            match app.store.next_task_ms(kind).await? {
                // Whoever ends makes room for it.
                Some(due_ms) if due_ms <= now_ms && room == 0 => {}
                Some(due_ms) if due_ms <= now_ms => {
                    for task in app.store.claim_tasks(kind, now_ms, room).await? {
                        self.begin(task);
                    }
                }
                later => next_ms = next_ms.into_iter().chain(later).min(),
            }
        }
        let longest = if self.at_work.is_empty() { LOOK_EVERY } else { LOOK_EVERY_AT_WORK };
        let Some(next_ms) = next_ms else { return Ok(longest) };
        let wait_ms = u64::try_from(next_ms - app.clock.now_ms()).unwrap_or_default();
        Ok(Duration::from_millis(wait_ms).min(longest))
    }

    fn begin(&mut self, task: Task) {
        let (app, cancelled) = (self.app, CancellationToken::new());
        self.at_work.insert(task.id.clone(), (task.kind, cancelled.clone()));
        let work = async move {
            // So that nobody ends the process under it.
            let _open = app.open_requests.enter();
            match task.kind {
                TaskKind::Code => coding::work(app, &task, &cancelled).await,
                TaskKind::Watch => watching::work(app, &task, &cancelled).await,
            }
            task.id
        };
        self.working.push(work.boxed());
    }
}

/// Work that was begun by an answer that other work had led to is deeper by one; nothing if that went too
/// far.
async fn chain(app: &Parts, call: &muxi_tools::Call) -> Result<Option<u32>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Link {
        chain: u32,
    }
    let Some(before) = call.request.as_str().strip_prefix(telling::REQUEST_PREFIX) else {
        return Ok(Some(0));
    };
    let task = app.store.for_user(&call.user).task(before).await?;
    let link = task.and_then(|task| serde_json::from_str::<Link>(&task.spec_json).ok());
    let chain = link.map_or(0, |link| link.chain + 1);
    Ok((chain < CHAIN_MAX).then_some(chain))
}
