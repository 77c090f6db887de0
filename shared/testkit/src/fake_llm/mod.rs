//! A scripted stand-in for a model provider. It is no model: it says what a script tells it to, when the
//! script tells it to, and keeps a journal of what it was asked.
//!
//! It speaks `OpenAI`'s chat completions (`/v1/chat/completions`, `/v1/models`), its transcriptions
//! (`/v1/audio/transcriptions`: the reply's text is what it heard), its embeddings (`/v1/embeddings`: the
//! words of a text, hashed), and Anthropic's messages (`/v1/messages`), and refuses requests that the real ones would refuse. Tests drive it by method
//! ([`FakeLlm`]) or, from another process, over HTTP:
//!
//! | request | effect |
//! |---|---|
//! | `PUT /__script` | replaces the [`Script`]; counters start anew, gates close |
//! | `POST /__gate/NAME` | opens a gate for everyone who waits or will wait at it |
//! | `GET /__journal` | all [`Entry`]s, oldest first |
//! | `GET /__journal/wait?count=N&outcome=O&timeout_ms=T` | the journal as soon as it holds N entries (with that outcome, if given); 504 after the deadline |
//! | `GET /__embeddings` | the same for embeddings, which the journal does not count |
//! | `DELETE /__journal` | forgets all entries |

mod asked;
mod embedding;
mod journal;
mod objection;
mod recording;
mod script;
mod server;
mod wire;

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

pub use self::journal::{Entry, Outcome};
pub use self::script::{Call, Match, NamedSplit, Reply, Rule, Script, Split, Tokens};
use self::server::{State, router};

/// A running fake model; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeLlm {
    state: Arc<State>,
    address: SocketAddr,
    unix_socket: Option<PathBuf>,
    tasks: JoinSet<()>,
}

// === impl FakeLlm ===

impl FakeLlm {
    /// Starts on a free port of the loopback interface.
    pub async fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::bind(address, None).await.expect("a free port on the loopback interface")
    }

    /// As [`Self::start`], and on a Unix socket as well.
    pub async fn start_on_unix_socket(path: &Path) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::bind(address, Some(path)).await.expect("a free port and a free socket path")
    }

    pub async fn bind(address: SocketAddr, unix_socket: Option<&Path>) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // Chunks must leave one by one, as they are timed.
        let listener = listener.tap_io(|stream| {
            stream.set_nodelay(true).ok();
        });
        let app = router(state.clone());
        tasks.spawn(async move {
            axum::serve(listener, app).await.ok();
        });
        if let Some(path) = unix_socket {
            let listener = UnixListener::bind(path)?;
            let app = router(state.clone());
            tasks.spawn(async move {
                axum::serve(listener, app).await.ok();
            });
        }
        let unix_socket = unix_socket.map(Path::to_owned);
        Ok(Self { state, address, unix_socket, tasks })
    }

    /// `http://127.0.0.1:PORT`, under which the control routes live.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes into `llm.base_urls.<provider>`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    pub fn unix_socket(&self) -> Option<&Path> {
        self.unix_socket.as_deref()
    }

    /// Replaces the script: an object as [`Script`], or a bare list of [`Rule`]s.
    pub fn script(&self, script: serde_json::Value) {
        self.set_script(Script::from_json(script).expect("a valid script"));
    }

    pub fn set_script(&self, script: Script) {
        self.state.set_script(script);
    }

    /// Opens a gate for everyone who waits or will wait at it, until the script is replaced.
    pub fn open_gate(&self, name: &str) {
        self.state.open_gate(name);
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.state.journal.entries()
    }

    /// Requests for embeddings, which the journal does not count.
    pub fn embeddings(&self) -> Vec<Entry> {
        self.state.embeddings.entries()
    }

    /// Waits until that many requests have ended so (`None`: have arrived), and gives the journal.
    pub async fn wait_for(&self, count: usize, outcome: Option<Outcome>) -> Vec<Entry> {
        let waiting = self.state.journal.wait(count, outcome);
        let Ok(entries) = tokio::time::timeout(Duration::from_secs(10), waiting).await else {
            panic!(
                "waited in vain for {count} x {outcome:?}; the journal is {:#?}",
                self.journal()
            );
        };
        entries
    }

    /// Serves until this future is dropped.
    pub async fn run(mut self) {
        self.tasks.join_next().await;
        pending::<()>().await;
    }
}

impl Drop for FakeLlm {
    fn drop(&mut self) {
        if let Some(path) = &self.unix_socket {
            std::fs::remove_file(path).ok();
        }
    }
}
