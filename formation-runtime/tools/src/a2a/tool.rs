//! One question to an agent elsewhere, from its card to its last word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use muxi_contract::ids::nanoid;
use muxi_llm::ToolSpec;
use muxi_service::{TaskGroup, TaskKind};
use reqwest::Url;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::DEPTH_MAX;
use super::card::Card;
use super::client::{Answered, Client, Sent};
use super::credentials::Credentials;
use super::error::RemoteError;
use super::wire::{Method, Said, State, Told};
use crate::{Call, Content, Danger, Origin, Outcome, Tool};

/// An agent elsewhere, as it is configured.
#[derive(Debug, Clone)]
pub struct Remote {
    pub id: String,
    pub name: String,
    pub description: String,
    /// Where its card is found, below.
    pub url: Url,
    /// How long it may say nothing.
    pub timeout: Duration,
    /// How often a call is sent again that nobody has begun to work on.
    pub retries: u32,
    pub credentials: Credentials,
}

/// An agent elsewhere that may be asked.
#[derive(Debug)]
pub struct RemoteAgent {
    spec: ToolSpec,
    origin: Origin,
    elsewhere: Arc<Elsewhere>,
    /// Those who say goodbye, which may outlast whoever asked.
    tasks: TaskGroup,
}

/// How it is reached.
#[derive(Debug)]
struct Elsewhere {
    url: Url,
    retries: u32,
    client: Client,
    card: Mutex<Option<(Instant, Arc<Card>)>>,
}

/// A card is fetched again after that.
const CARD_LIFE: Duration = Duration::from_mins(5);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(4);
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_LONGEST: Duration = Duration::from_secs(5);
/// For telling the agent that nobody waits any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// Leaves room for the prefix within the 64 characters that providers take.
const NAME_CHARS_MAX: usize = 56;
const TEXT_BYTES_MAX: usize = 1024 * 1024;

// === impl RemoteAgent ===

impl RemoteAgent {
    pub fn new(remote: Remote, tasks: TaskGroup) -> Result<Self, RemoteError> {
        let Remote { id, name, description, url, timeout, retries, credentials } = remote;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let short = id.chars().map(|c| if fits(c) { c } else { '_' });
        let spec = ToolSpec {
            name: format!("ask_{}", short.take(NAME_CHARS_MAX).collect::<String>()),
            description: format!(
                "Ask {name}, an agent of another system, to do something or to answer. {description}"
            ),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {
                    "message": {
                        "type": "string",
                        "description": "What is to be done, with everything that must be known for \
                                        it: the other agent does not see this conversation.",
                    },
                    "context_id": {
                        "type": "string",
                        "description": "From an earlier answer of this agent, to go on with it.",
                    },
                    "task_id": {
                        "type": "string",
                        "description": "From an earlier answer that asked back, to answer that.",
                    },
                },
                "required": ["message"],
                "additionalProperties": false,
            })),
        };
        let client = Client::new(credentials, timeout)?;
        let card = Mutex::new(None);
        let elsewhere = Arc::new(Elsewhere { url, retries, client, card });
        Ok(Self { spec, origin: Origin::Remote(id), elsewhere, tasks })
    }

    /// Fetches the card, to know early whether the agent is there.
    pub async fn look(&self) -> Result<(), RemoteError> {
        self.elsewhere.card().await.map(drop)
    }

    async fn outcome(&self, call: Call) -> Outcome {
        let asked = match Asked::parse(&call.arguments) {
            Ok(asked) => asked,
            Err(fault) => return Outcome::refused(fault),
        };
        let depth = call.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            let message = format!(
                "Not asked: {DEPTH_MAX} agents have asked each other on the way here, and more of \
                 them ask in a circle. Answer with what you have."
            );
            return Outcome::refused(message);
        }
        let mut waiting = Waiting {
            elsewhere: Arc::clone(&self.elsewhere),
            tasks: self.tasks.clone(),
            told: Told::default(),
            depth,
        };
        // Cancelled first, so that an answer that comes at the same moment is not waited for. Both are
        // cancel-safe: what was told until then is kept.
        let ended = tokio::select! {
            biased;
            () = call.cancelled.cancelled() => Err(RemoteError::Cancelled),
            ended = timeout(
                call.time_left,
                self.elsewhere.ask(&asked, depth, &mut waiting.told),
            ) => ended.unwrap_or(Err(RemoteError::Late)),
        };
        match ended {
            Ok(()) => shown(std::mem::take(&mut waiting.told)),
            Err(error) => {
                // What an agent elsewhere says of its failure is no word of ours.
                let is_trusted = !matches!(error, RemoteError::Refused { .. });
                let message = format!("The agent did not answer: {error}.");
                Outcome { is_trusted, ..Outcome::refused(message) }
            }
        }
    }
}

// === impl Elsewhere ===

impl Elsewhere {
    /// One caller fetches; the others wait for it.
    async fn card(&self) -> Result<Arc<Card>, RemoteError> {
        let mut kept = self.card.lock().await;
        if let Some((_, card)) = kept.as_ref().filter(|(since, _)| since.elapsed() < CARD_LIFE) {
            return Ok(Arc::clone(card));
        }
        let card = self.again(|| self.client.card(&self.url)).await?;
        let card = Arc::new(card);
        *kept = Some((Instant::now(), Arc::clone(&card)));
        Ok(card)
    }

    async fn ask(&self, asked: &Asked, depth: u8, told: &mut Told) -> Result<(), RemoteError> {
        let card = self.card().await?;
        let said = Said {
            text: &asked.message,
            context: asked.context_id.as_deref(),
            task: asked.task_id.as_deref(),
        };
        let params = card.version.message(&said, &nanoid());
        let method = if card.streams { Method::Stream } else { Method::Send };
        let sent = Sent { card: &card, method, params: &params, depth };
        match self.again(|| self.client.open(sent)).await? {
            Answered::Whole(result) => told.take(&result)?,
            Answered::Pieces(mut pieces) => {
                while let Some(piece) = pieces.next().await {
                    match piece {
                        Ok(piece) => told.take(&piece)?,
                        // The task goes on without the stream, and is asked for.
                        Err(RemoteError::Broken(_) | RemoteError::Late) if told.task.is_some() => {
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                    if told.state.is_some_and(State::is_over) {
                        return Ok(());
                    }
                }
            }
        }
        self.wait(&card, depth, told).await
    }

    /// Looks at the task until it is over.
    async fn wait(&self, card: &Card, depth: u8, told: &mut Told) -> Result<(), RemoteError> {
        let mut pause = LOOK_FIRST;
        while !told.state.is_some_and(State::is_over) {
            let Some(task) = told.task.clone() else {
                return Err(RemoteError::Malformed("it ended before there was a task"));
            };
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_LONGEST);
            let params = json!({"id": task});
            let sent = Sent { card, method: Method::Get, params: &params, depth };
            told.take(&self.again(|| self.client.call(sent)).await?)?;
        }
        Ok(())
    }

    /// Tells the agent that nobody waits any more; whether it hears that is its own affair.
    async fn leave(&self, task: &str, depth: u8) {
        let leaving = async {
            let card = self.card().await?;
            let params = json!({"id": task});
            let sent = Sent { card: &card, method: Method::Cancel, params: &params, depth };
            self.client.call(sent).await.map(drop)
        };
        if let Err(error) = timeout(FAREWELL, leaving).await.unwrap_or(Err(RemoteError::Late)) {
            tracing::debug!(%error, "the task of an agent elsewhere could not be cancelled");
        }
    }

    /// Sends again what nobody has begun to work on.
    async fn again<T, F>(&self, send: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let mut pause = RETRY_FIRST;
        for _ in 0..self.retries {
            match send().await {
                Err(error) if error.nothing_ran() => {}
                ended => return ended,
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        }
        send().await
    }
}

/// A question that is open. Dropped before its answer, as when a turn is cancelled, it is taken back.
#[derive(Debug)]
struct Waiting {
    elsewhere: Arc<Elsewhere>,
    tasks: TaskGroup,
    told: Told,
    depth: u8,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let is_over = self.told.state.is_some_and(State::is_over);
        let Some(task) = self.told.task.take().filter(|_| !is_over) else { return };
        // At the very end of the process there is nobody left who could tell it.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (elsewhere, depth) = (Arc::clone(&self.elsewhere), self.depth);
        self.tasks.spawn(TaskKind::Connection, "goodbye to an agent elsewhere", async move {
            elsewhere.leave(&task, depth).await;
        });
    }
}

impl Tool for RemoteAgent {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn danger(&self) -> Danger {
        // What it does there is not known here.
        Danger::Unknown
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        self.outcome(call).boxed()
    }
}

/// What the model wants asked.
#[derive(Debug)]
struct Asked {
    message: String,
    context_id: Option<String>,
    task_id: Option<String>,
}

impl Asked {
    fn parse(arguments: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{name}` must be a text.")),
        };
        let message = text("message")?.ok_or("`message` is missing: say what is to be done.")?;
        if message.len() > TEXT_BYTES_MAX {
            return Err(format!("`message` has more than {TEXT_BYTES_MAX} bytes."));
        }
        Ok(Self { message, context_id: text("context_id")?, task_id: text("task_id")? })
    }
}

// === private helpers ===

fn shown(told: Told) -> Outcome {
    let state = told.state.unwrap_or(State::Working);
    let structured = json!({
        "state": state.name(),
        "context_id": told.context,
        "task_id": told.task,
    });
    let note = match state {
        State::Waiting => Some(
            "[The agent asks back. To answer, ask again with this context_id and task_id; if you do \
             not know the answer, ask the user.]",
        ),
        State::Unauthorized => {
            Some("[The agent says that somebody has to log in at its own system first.]")
        }
        State::Failed => Some("[The agent says that it failed.]"),
        State::Cancelled => Some("[The agent says that the task was cancelled.]"),
        State::Working | State::Completed => None,
    };
    let mut content = told.into_content();
    if let Some(note) = note {
        content.push(Content::Text(format!("{note} {structured}")));
    }
    Outcome {
        is_error: matches!(state, State::Failed | State::Cancelled | State::Unauthorized),
        content,
        structured: Some(structured),
        is_trusted: false,
    }
}

#[cfg(test)]
mod tests;
