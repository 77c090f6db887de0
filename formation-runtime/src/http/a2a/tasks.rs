//! Tasks of other agents: requests of ours under another name.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use muxi_contract::{RequestId, SessionId};
use muxi_memory::{
    Artifact, Outcome, PendingGroup, Request, RequestKind, RequestMode, RequestStatus, Resolution,
    UserStore,
};
use serde_json::Value;
use tokio::time::timeout;

use super::wire::{Content, Fault, Made, Names, Said, Version, task_id};
use crate::app::App;
use crate::conversation::Update;
use crate::conversation::active::Follower;
use crate::conversation::unanswered;
use crate::events::{Event, EventKind};
use crate::http::asking::Asking;
use crate::http::auth::User;
use crate::http::error::Problem;

/// What one caller asks of its tasks.
pub(super) struct Tasks {
    pub(super) app: App,
    pub(super) user: User,
    pub(super) version: Version,
}

/// A task that is at work.
struct Begun {
    names: Names,
    /// The request that does the work; another one than the task where that is answered.
    request: RequestId,
}

/// A stream of one task.
struct Telling {
    tasks: Tasks,
    names: Names,
    request: RequestId,
    follower: Option<Follower>,
    said: String,
    /// The last piece, until it is known whether it is the last one.
    held: Option<String>,
    /// Whether the artifact of the answer is begun.
    appends: bool,
    is_over: bool,
}

/// Of the files in one answer; larger ones are read through the API.
const FILES_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long a call waits for the end of what it cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

// === impl Tasks ===

impl Tasks {
    pub(super) async fn send(&self, params: &Value, depth: u8) -> Result<Value, Fault> {
        let said = Said::parse(params)?;
        let returns_at_once = said.returns_at_once;
        let begun = self.begin(said, depth).await?;
        let names = &begun.names;
        if returns_at_once {
            let status = names.status(RequestStatus::Processing, None, &self.now());
            return Ok(names.whole(names.task(&status, None, &[])));
        }
        if let Some(follower) = self.follower(&begun.request) {
            finished(follower).await;
        }
        let task = self.task(names, &names.task).await?;
        Ok(names.whole(task))
    }

    pub(super) async fn stream(
        self,
        params: &Value,
        depth: u8,
    ) -> Result<impl Stream<Item = Value> + Send + use<>, Fault> {
        let begun = self.begin(Said::parse(params)?, depth).await?;
        Ok(self.told(begun.names, begun.request))
    }

    pub(super) async fn subscribe(
        self,
        params: &Value,
    ) -> Result<impl Stream<Item = Value> + Send + use<>, Fault> {
        let id = task_id(params)?;
        let found = self.find(&id).await?;
        if !found.status.is_open() {
            return Err(Fault::is_over("the task is over; ask for it by its id"));
        }
        let names = self.names(id.clone(), found.session);
        Ok(self.told(names, id))
    }

    pub(super) async fn get(&self, params: &Value) -> Result<Value, Fault> {
        let id = task_id(params)?;
        let found = self.find(&id).await?;
        self.task(&self.names(id.clone(), found.session), &id).await
    }

    pub(super) async fn cancel(&self, params: &Value) -> Result<Value, Fault> {
        let id = task_id(params)?;
        let found = self.find(&id).await?;
        let over = || Fault::not_cancelable(format!("the task is {}", found.status.as_str()));
        match self.follower(&id) {
            Some(follower) => {
                let active = self.app.conversations.requests().find(&self.user.id, &id);
                active.ok_or_else(over)?.cancel();
                // Whoever asks sees the end of most tasks at once; of others it is told by their status.
                let _unfinished = timeout(CANCEL_WAIT, finished(follower)).await;
            }
            // Nobody works on one that waits, so that it ends with what it waits for.
            None if self.ends_waiting(&found).await? => {}
            None if !found.status.is_open() => return Err(over()),
            None => {
                let asked = self.app.store.ask_to_cancel(found.seq, self.app.clock.now_ms()).await;
                if !asked.map_err(Problem::from)? {
                    return Err(over());
                }
            }
        }
        self.task(&self.names(id.clone(), found.session), &id).await
    }

    async fn ends_waiting(&self, task: &Request) -> Result<bool, Fault> {
        let pending = self.store().pending_of(task.seq).await.map_err(Problem::from)?;
        let Some(pending) = pending else { return Ok(false) };
        let ended = unanswered::end(&self.app, &pending, Resolution::Cancelled, Outcome::Cancelled);
        Ok(ended.await.map_err(Problem::from)?)
    }

    async fn begin(&self, said: Said, depth: u8) -> Result<Begun, Fault> {
        let answered = match &said.task {
            Some(id) => Some(self.find(id).await?),
            None => None,
        };
        if let Some(task) = &answered {
            if task.status != RequestStatus::AwaitingClarification {
                let message =
                    "the task does not wait for anything; send the message without `taskId`";
                return Err(Fault::is_over(message));
            }
            let waits_for = self.store().pending_of(task.seq).await.map_err(Problem::from)?;
            if waits_for.is_some_and(|it| it.kind.group() == PendingGroup::Consent) {
                let message = "the task waits for a person, who allows or refuses it through the formation's \
                               approvals; an agent cannot answer for them";
                return Err(Fault::is_over(message));
            }
            if said.context.as_ref().is_some_and(|context| *context != task.session) {
                return Err(Fault::invalid("the task belongs to another context"));
            }
        }
        let session = answered.as_ref().map(|task| task.session.clone()).or(said.context);
        let asking = Asking {
            user: self.user.id.clone(),
            session: session.unwrap_or_else(SessionId::generate),
            request: RequestId::generate(),
            agent: None,
            text: said.text,
            files: said.files,
            kind: RequestKind::A2a,
            mode: RequestMode::Async,
            depth,
        };
        let (session, request) = (asking.session.clone(), asking.request.clone());
        let question = asking.question(&self.app)?;
        self.app.conversations.accept(question).await.map_err(Problem::from)?;
        self.app.events.tell(Event {
            user: Some(self.user.id.clone()),
            session: Some(session.clone()),
            request: Some(request.clone()),
            ..self.app.event(EventKind::RequestAccepted, "an agent elsewhere asks")
        });
        let task = answered.map_or_else(|| request.clone(), |task| task.id);
        Ok(Begun { names: self.names(task, session), request })
    }

    fn store(&self) -> UserStore {
        self.app.store.for_user(&self.user.id)
    }

    fn names(&self, task: RequestId, context: SessionId) -> Names {
        Names { version: self.version, task, context }
    }

    fn follower(&self, request: &RequestId) -> Option<Follower> {
        let active = self.app.conversations.requests().find(&self.user.id, request)?;
        Some(active.follow(0))
    }

    /// The request behind a task of this caller.
    async fn find(&self, id: &RequestId) -> Result<Request, Fault> {
        let found = self.store().request(id).await;
        let found = found.map_err(Problem::from)?;
        let found = found.filter(|request| request.kind == RequestKind::A2a);
        found.ok_or_else(|| Fault::no_task(id.as_str()))
    }

    /// The task as it stands.
    async fn task(&self, names: &Names, id: &RequestId) -> Result<Value, Fault> {
        let request = self.find(id).await?;
        let files = self.files(&request).await?;
        let text = request.result.as_deref();
        Ok(match request.status {
            RequestStatus::Completed | RequestStatus::Cancelled => {
                names.task(&status(names, &request), text, &files)
            }
            RequestStatus::Pending
            | RequestStatus::Processing
            | RequestStatus::Failed
            | RequestStatus::AwaitingClarification => {
                names.task(&status(names, &request), None, &files)
            }
        })
    }

    async fn files(&self, request: &Request) -> Result<Vec<Made>, Fault> {
        let found = self.store().artifacts_of(request.seq).await.map_err(Problem::from)?;
        let (mut room, mut files) = (FILES_BYTES_MAX, Vec::new());
        for artifact in found {
            let content = if artifact.size_bytes > room {
                Content::Missing("too large to be sent with the answer")
            } else {
                room -= artifact.size_bytes;
                self.bytes(&artifact).await
            };
            let Artifact { id, name, content_type, .. } = artifact;
            files.push(Made { id, name, media_type: content_type, content });
        }
        Ok(files)
    }

    async fn bytes(&self, artifact: &Artifact) -> Content {
        match self.app.artifacts.read(&self.user.id, artifact).await {
            Ok(bytes) => Content::Bytes(bytes.to_vec()),
            Err(error) => {
                tracing::warn!(%error, artifact = artifact.id, "a file could not be read");
                Content::Missing("it cannot be read")
            }
        }
    }

    fn told(self, names: Names, request: RequestId) -> impl Stream<Item = Value> + Send + use<> {
        let follower = self.follower(&request);
        let opening = names.status(RequestStatus::Processing, None, &self.now());
        let opening = names.whole(names.task(&opening, None, &[]));
        let telling = Telling {
            tasks: self,
            names,
            request,
            follower,
            said: String::new(),
            held: None,
            appends: false,
            is_over: false,
        };
        let told = stream::unfold(telling, |mut telling| async move {
            if telling.is_over {
                return None;
            }
            Some((telling.next().await, telling))
        });
        stream::iter([opening]).chain(told.flat_map(stream::iter))
    }

    fn now(&self) -> String {
        self.app.clock.now().to_string()
    }
}

// === impl Telling ===

impl Telling {
    /// What follows; nothing of much that happens.
    async fn next(&mut self) -> Vec<Value> {
        let update = match &mut self.follower {
            Some(follower) => follower.next().await.map(|(_, update)| update),
            // Over already, or another process of this formation works on it.
            None => self.wait().await,
        };
        match update {
            Some(Update::Text(piece)) if !piece.is_empty() => {
                self.said.push_str(&piece);
                let before = self.held.replace(piece);
                before.map(|piece| self.piece(&piece, false)).into_iter().collect()
            }
            Some(update) if !update.is_last() => Vec::new(),
            ended => {
                self.is_over = true;
                let text = if let Some(Update::Completed(answer)) = ended {
                    Some(answer.text)
                } else {
                    None
                };
                self.end(text).await
            }
        }
    }

    async fn wait(&self) -> Option<Update> {
        while let Ok(request) = self.tasks.find(&self.request).await {
            if !request.status.is_open() {
                break;
            }
            tokio::time::sleep(self.tasks.app.limits.store_look).await;
        }
        None
    }

    async fn end(&mut self, text: Option<String>) -> Vec<Value> {
        let mut told = Vec::new();
        let held = self.held.take();
        match text {
            // What was said was put aside on the way; this takes its place.
            Some(text) if text != self.said => {
                self.appends = false;
                told.push(self.piece(&text, true));
            }
            _ => told.extend(held.map(|piece| self.piece(&piece, true))),
        }
        let names = &self.names;
        let ended = self.tasks.find(&names.task).await;
        let files = match &ended {
            Ok(request) => self.tasks.files(request).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        told.extend(files.iter().map(|made| names.file_added(made)));
        let status = if let Ok(request) = &ended {
            status(names, request)
        } else {
            let message = Some("the formation's memory has failed");
            names.status(RequestStatus::Failed, message, &self.tasks.now())
        };
        told.push(names.status_changed(&status, true));
        told
    }

    fn piece(&mut self, piece: &str, is_last: bool) -> Value {
        let appends = std::mem::replace(&mut self.appends, true);
        self.names.text_added(piece, appends, is_last)
    }
}

// === private helpers ===

async fn finished(mut follower: Follower) {
    while let Some((_, update)) = follower.next().await {
        if update.is_last() {
            break;
        }
    }
}

fn status(names: &Names, request: &Request) -> Value {
    let ms = request.ended_ms.or(request.started_ms).unwrap_or(request.created_ms);
    let at = Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    let beside = match request.status {
        RequestStatus::Failed => request.error.as_deref(),
        RequestStatus::AwaitingClarification => request.result.as_deref(),
        RequestStatus::Pending
        | RequestStatus::Processing
        | RequestStatus::Completed
        | RequestStatus::Cancelled => None,
    };
    names.status(request.status, beside, &at)
}
