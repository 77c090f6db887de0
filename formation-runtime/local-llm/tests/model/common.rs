//! What the tests with the real model share: the source file, and one import for all of them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use muxi_local_llm::engine::{
    ChatRequest, Engine, EngineOptions, FinishReason, Message, Piece, Pieces, Role, Usage,
};
use muxi_local_llm::files::{self, SMOLLM2};

/// The downloaded model. These tests fail without it: passing by skipping would prove nothing.
pub(crate) fn source() -> PathBuf {
    let path = std::env::var_os("MUXI_TEST_MODEL_GGUF").map_or_else(cached, PathBuf::from);
    assert!(
        path.is_file(),
        "the model for tests is not at {}; run scripts/fetch-model.sh, or set MUXI_TEST_MODEL_GGUF \
         to {}",
        path.display(),
        SMOLLM2.source_file
    );
    path
}

/// A folder with the imported model, the same for all tests of the machine: importing is idempotent,
/// checks what it finds, and takes a lock.
pub(crate) fn models_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
        files::import(&source(), &dir).expect("the model can be imported");
        dir
    })
}

pub(crate) fn model_path() -> PathBuf {
    let name = "local/smollm2-135m-instruct".parse().unwrap();
    match files::state(models_dir(), &name) {
        files::ModelState::Ready { path, .. } => path,
        state @ (files::ModelState::Missing { .. } | files::ModelState::Failed { .. }) => {
            panic!("the imported model is not ready: {state:?}")
        }
    }
}

pub(crate) fn engine() -> Engine {
    Engine::load(&model_path(), EngineOptions::default()).expect("the model can be loaded")
}

/// A greedy request of one user message.
pub(crate) fn ask(question: &str, max_tokens: usize) -> ChatRequest {
    ChatRequest {
        messages: vec![
            Message::new(Role::System, "You are a friendly assistant."),
            Message::new(Role::User, question),
        ],
        tools: Vec::new(),
        max_tokens,
        temperature: 0.0,
        top_p: 1.0,
        seed: 1,
        stop: Vec::new(),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reason: FinishReason,
    pub(crate) usage: Usage,
}

pub(crate) fn collect(mut pieces: Pieces) -> Answer {
    let mut text = String::new();
    loop {
        match pieces.blocking_recv().expect("the answer has an end").expect("no error") {
            Piece::Text(piece) => text.push_str(&piece),
            Piece::Finished { reason, usage } => return Answer { text, reason, usage },
        }
    }
}

// === private helpers ===

/// Where scripts/fetch-model.sh puts it.
fn cached() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    cache.join("muxi/downloads").join(SMOLLM2.source_file)
}
