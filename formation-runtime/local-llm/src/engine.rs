//! The engine: one loaded model file, and the threads that generate text with it.
//!
//! Invariants:
//! - Computation happens on threads of the engine, never on those of an async runtime.
//! - An answer fits into its channel whole, so a slow reader never holds a thread.
//! - Text is valid UTF-8, and equal requests with a temperature of zero give equal text.

mod generate;
mod hermes;
mod model;
mod prefix;
mod prompt;
mod queue;
mod text;
mod vocabulary;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::hermes::{CALL_BEGIN, CALL_END};
use self::model::Model;
use self::prefix::PrefixCache;
use self::queue::{Admission, JobQueue};

/// A loaded model. Clones share it; when the last one is dropped, waiting requests are still
/// answered and then the memory is given back.
#[derive(Clone)]
pub struct Engine {
    owner: Arc<Owner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// The window is the smallest of this, what the file states, and what the decoder can do (4096).
    pub context_tokens_max: usize,
    /// Requests that generate at the same time; each has a thread of its own.
    pub concurrent_max: usize,
    /// Requests that wait behind them, first come first served.
    pub waiting_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// What a tool returned.
    Tool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// What the assistant asked for with it.
    pub tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub name: String,
    pub arguments: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON Schema.
    pub parameters: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// The model is told of them; its calls are words of the answer.
    pub tools: Vec<Tool>,
    pub max_tokens: usize,
    /// Zero chooses the likeliest token always.
    pub temperature: f64,
    pub top_p: f64,
    pub seed: u64,
    /// The answer ends before the first of these texts.
    pub stop: Vec<String>,
}

/// A request that was checked against the model: its length in tokens is known and fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    tokens: Vec<u32>,
    /// How many tokens at the start are the system message, which other requests may share.
    fixed_tokens: usize,
    answer_tokens_max: usize,
    temperature: f64,
    top_p: f64,
    seed: u64,
    stop: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// Always the last piece.
    Finished {
        reason: FinishReason,
        usage: Usage,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// So many of them were known from an earlier request and not computed again.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    Cancelled,
}

/// The pieces of one answer. Dropping it cancels the generation.
pub type Pieces = mpsc::Receiver<Result<Piece, EngineError>>;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("failed to open the model file {path}")]
    Open { path: String, source: std::io::Error },
    #[error("failed to load the model file {path}")]
    Load { path: String, source: candle_core::Error },
    #[error("the model file {path} cannot be used: {reason}")]
    Unsupported { path: String, reason: String },
    #[error("failed to start a thread of the engine")]
    Thread(#[source] std::io::Error),
    #[error("failed to render the chat template of the model")]
    Template(#[source] minijinja::Error),
    #[error("failed to split the prompt into tokens")]
    Tokenize(#[source] tokenizers::Error),
    #[error(
        "the prompt has {prompt_tokens} tokens or more, but the window of the model has {context_tokens}"
    )]
    PromptTooLong { prompt_tokens: usize, context_tokens: usize },
    #[error("every place in the queue of the model is taken; try again in {retry_after_s} s")]
    Busy { retry_after_s: u64 },
    #[error("failed to compute the next token")]
    Compute(#[source] candle_core::Error),
    #[error("the engine has crashed; its process must be started again")]
    Crashed,
}

/// The environment that a process needs when it is to load an engine.
///
/// By default the threads of the arithmetic library spin while they wait, and beside other busy
/// processes two of them then do a fifth of the work of one.
pub fn process_environment(threads: usize) -> [(&'static str, String); 3] {
    let threads = threads.max(1).to_string();
    [
        (SPIN_LIMIT_VARIABLE, "1000".to_owned()),
        ("CANDLE_NUM_THREADS", threads.clone()),
        ("RAYON_NUM_THREADS", threads),
    ]
}

const SPIN_LIMIT_VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// What the threads work with; they keep it alive until the queue is closed and empty.
struct Shared {
    model: Model,
    queue: JobQueue<generate::Job>,
    prefixes: PrefixCache,
    crashed: AtomicBool,
}

/// Closes the queue when the last [`Engine`] goes, which ends the threads.
struct Owner {
    shared: Arc<Shared>,
}

// === impl Engine ===

impl Engine {
    /// Reads the whole file: 0.3 seconds for the small model, so not to be called on an async thread.
    pub fn load(path: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        if std::env::var_os(SPIN_LIMIT_VARIABLE).is_none() {
            tracing::warn!(
                "{SPIN_LIMIT_VARIABLE} is not set for this process: generation will be slow while \
                 other processes are busy"
            );
        }
        let shared = Arc::new(Shared {
            model: Model::load(path, options.context_tokens_max)?,
            queue: JobQueue::new(options.concurrent_max, options.waiting_max),
            prefixes: PrefixCache::default(),
            crashed: AtomicBool::new(false),
        });
        let owner = Arc::new(Owner { shared: Arc::clone(&shared) });
        for index in 0..options.concurrent_max {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("generate-{index}"))
                .spawn(move || generate::work(&shared))
                .map_err(EngineError::Thread)?;
        }
        Ok(Self { owner })
    }

    /// The most tokens that a prompt and its answer can have together.
    pub fn context_tokens(&self) -> usize {
        self.shared().model.context_tokens
    }

    /// No request is generating or waiting.
    pub fn is_idle(&self) -> bool {
        self.shared().queue.is_idle()
    }

    /// The computation has failed in a way that only a new process mends.
    pub fn has_crashed(&self) -> bool {
        self.shared().crashed.load(Ordering::Acquire)
    }

    /// Renders the messages with the template of the model and counts: a few milliseconds.
    pub fn prepare(&self, request: ChatRequest) -> Result<Prompt, EngineError> {
        self.shared().model.prepare(request)
    }

    /// Queues a prepared request. An error here means that nothing was started.
    pub fn start(&self, prompt: Prompt, cancel: CancellationToken) -> Result<Pieces, EngineError> {
        if self.has_crashed() {
            return Err(EngineError::Crashed);
        }
        let (job, pieces) = generate::job(prompt, cancel);
        match self.shared().queue.push(job) {
            Admission::Admitted => Ok(pieces),
            Admission::Full { retry_after_s } => Err(EngineError::Busy { retry_after_s }),
        }
    }

    /// [`Self::prepare`] and [`Self::start`] in one.
    pub fn generate(
        &self,
        request: ChatRequest,
        cancel: CancellationToken,
    ) -> Result<Pieces, EngineError> {
        self.start(self.prepare(request)?, cancel)
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("context_tokens", &self.context_tokens())
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

// === impl Message ===

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new() }
    }
}

// === impl EngineOptions ===

impl Default for EngineOptions {
    fn default() -> Self {
        Self { context_tokens_max: 4096, concurrent_max: 2, waiting_max: 16 }
    }
}

// === impl Prompt ===

impl Prompt {
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}
