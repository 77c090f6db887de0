//! `POST /rpc/formations/{id}/draft/files`: one route for all that is done to a draft.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use muxi_contract::FormationId;
use muxi_contract::draft::{
    DraftAction, DraftData, DraftErrorCode, DraftMode, DraftReply, DraftRequest, DraftState,
    LiveState,
};
use muxi_service::sse;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Failure;
use super::operations::ended;
use super::uploads::{self, Purpose, Source};
use crate::acts::{ActError, Expected};
use crate::drafts::{Base, Claimed, Content, DraftError, Drafts};
use crate::store::{StoreError, formations, operations};
use crate::supervisor::Supervisor;

/// The largest file in base64, with what JSON adds.
pub(super) const BODY_BYTES_MAX: usize = 12 << 20;

/// A failure in this route's own words.
#[derive(Debug)]
struct Refused {
    code: DraftErrorCode,
    message: String,
    details: Vec<String>,
}

/// How a call ends that did not come to an answer.
enum Ended {
    Refused(Refused),
    /// In the words of all routes.
    Failed(Failure),
}

pub(super) async fn files(
    State(supervisor): State<Supervisor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let id = match name.parse::<FormationId>() {
        Ok(id) => id,
        Err(invalid) => {
            let refused = Refused::new(DraftErrorCode::InvalidFormationID, invalid.to_string());
            return Ok(reply(Err(refused), DraftState::default(), LiveState::default()));
        }
    };
    let done = match read(body) {
        Ok((DraftAction::Deploy, _)) => match deploy(&supervisor, &id, &headers).await {
            Ok(response) => return Ok(response),
            Err(ended) => Err(ended),
        },
        Ok((action, request)) => perform(&supervisor, &id, action, request).await,
        Err(refused) => Err(Ended::Refused(refused)),
    };
    let outcome = match done {
        Ok(data) => Ok(data),
        Err(Ended::Refused(refused)) => Err(refused),
        Err(Ended::Failed(failure)) => return Err(failure),
    };
    let (draft, live) = states(&supervisor, &id).await?;
    Ok(reply(outcome, draft, live))
}

/// The draft has become a generation: it goes, and so does the process that ran it.
pub(super) async fn forget(supervisor: &Supervisor, draft: Claimed) {
    if let Err(Ended::Refused(Refused { message, .. }) | Ended::Failed(Failure { message, .. })) =
        end(supervisor, draft).await
    {
        tracing::error!(message, "a draft that was deployed is still there");
    }
}

async fn perform(
    supervisor: &Supervisor,
    id: &FormationId,
    action: DraftAction,
    request: DraftRequest,
) -> Result<DraftData, Ended> {
    let context = supervisor.context();
    let DraftRequest { mode, path, content, encoding, .. } = request;
    match action {
        DraftAction::Init => {
            context.disk.check().map_err(Failure::from)?;
            let mode = named::<DraftMode>(&mode)
                .ok_or_else(|| Refused::new(DraftErrorCode::InvalidMode, "mode: new or clone"))?;
            init(supervisor, id, mode).await?;
            Ok(DraftData::Made { action, mode })
        }
        DraftAction::List => {
            let (path, entries) = on(supervisor, id, move |it, id| it.list(id, &path)).await?;
            Ok(DraftData::Entries { path, entries })
        }
        DraftAction::Read => {
            let (path, found) = on(supervisor, id, move |it, id| it.read(id, &path)).await?;
            let encoding = found.encoding.to_owned();
            Ok(DraftData::Content { path, content: found.text, encoding })
        }
        DraftAction::Write => {
            context.disk.check().map_err(Failure::from)?;
            let bytes = Content::decode(content, &encoding).map_err(refused)?;
            let size = bytes.len() as u64;
            let path = on(supervisor, id, move |it, id| it.write(id, &path, &bytes)).await?;
            Ok(DraftData::Written { path, size, written: true })
        }
        DraftAction::Delete => {
            let path = on(supervisor, id, move |it, id| it.delete(id, &path)).await?;
            Ok(DraftData::Deleted { path, deleted: true })
        }
        DraftAction::Discard => {
            let draft = on(supervisor, id, Drafts::claim).await?;
            end(supervisor, draft).await?;
            Ok(DraftData::Discarded { discarded: true })
        }
        DraftAction::Deploy => unreachable!("a deploy has an answer of its own"),
    }
}

async fn init(supervisor: &Supervisor, id: &FormationId, mode: DraftMode) -> Result<(), Ended> {
    let context = supervisor.context();
    let now = context.clock.now().to_string();
    if mode == DraftMode::New {
        return on(supervisor, id, move |drafts, id| drafts.create(id, now)).await;
    }
    // Nobody sweeps the generation away that is copied.
    let _no_sweep = context.bundle_files.read().await;
    let asked = id.clone();
    let live = context.store.read(move |db| formations::get(db, &asked)).await?;
    let live = live.ok_or_else(|| {
        let message = format!("there is no formation '{id}' to clone");
        Refused::new(DraftErrorCode::LiveNotFound, message)
    })?;
    let folder = context.layout.generation(id, live.generation());
    let base = Base { folder, version: live.version };
    on(supervisor, id, move |drafts, id| drafts.clone_of(id, &base, now)).await
}

/// An update where the formation exists, and a deploy where it does not.
async fn deploy(
    supervisor: &Supervisor,
    id: &FormationId,
    headers: &HeaderMap,
) -> Result<Response, Ended> {
    let context = supervisor.context();
    context.disk.check().map_err(Failure::from)?;
    let asked = id.clone();
    let read = move |db: &_| {
        Ok((formations::exists(db, &asked)?, operations::running(db, asked.as_str())?))
    };
    let (exists, busy) = context.store.read(read).await?;
    if let Some(busy) = busy {
        let message = format!("another act ({}) is under way", busy.kind.as_str());
        return Err(Refused::new(DraftErrorCode::DeployConflict, message).into());
    }
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let (upload, draft) = on(supervisor, id, Drafts::pack).await?;
    drop(permit);
    let purpose = if exists { Purpose::Update(id.clone()) } else { Purpose::Deploy };
    let expected = Expected { id: Some(id.to_string()), version: None, generation: None };
    let source = Source { upload, draft: Some(draft) };
    let streamed = sse::is_asked_for(headers);
    Ok(uploads::apply(supervisor.clone(), source, purpose, expected, streamed).await?)
}

/// Ends the process of the draft if it runs from the draft's own folder, and then takes the draft
/// away. One that was started by path goes on with its files.
async fn end(supervisor: &Supervisor, draft: Claimed) -> Result<(), Ended> {
    let context = supervisor.context();
    let (id, own) = (draft.id().draft(), context.layout.draft_files(draft.id()));
    let asked = id.clone();
    let running = context.store.read(move |db| formations::get(db, &asked)).await?;
    if running.is_some_and(|it| it.source.as_ref() == Some(&own)) {
        match supervisor.delete(&id).await {
            Ok(operation) => drop(ended(supervisor, operation).await?),
            // It has ended by itself.
            Err(ActError::Store(StoreError::UnknownFormation(_))) => {}
            Err(error) => return Err(Failure::from(error).into()),
        }
    }
    // Nobody places files of another run meanwhile.
    let _alone = context.bundle_files.write().await;
    let runs = context.store.read(move |db| formations::exists(db, &id)).await?;
    let removed = tokio::task::spawn_blocking(move || draft.remove(runs));
    removed.await.expect("removing a draft does not panic").map_err(refused)
}

/// Does something to drafts where blocking is allowed.
async fn on<T: Send + 'static>(
    supervisor: &Supervisor,
    id: &FormationId,
    act: impl FnOnce(&Drafts, &FormationId) -> Result<T, DraftError> + Send + 'static,
) -> Result<T, Ended> {
    let (drafts, id) = (supervisor.context().draft_files.clone(), id.clone());
    let done = tokio::task::spawn_blocking(move || act(&drafts, &id));
    done.await.expect("an act on a draft does not panic").map_err(refused)
}

async fn states(
    supervisor: &Supervisor,
    id: &FormationId,
) -> Result<(DraftState, LiveState), Failure> {
    let context = supervisor.context();
    let asked = id.clone();
    let live = context.store.read(move |db| formations::get(db, &asked)).await?;
    let (drafts, of) = (context.draft_files.clone(), id.clone());
    let note = tokio::task::spawn_blocking(move || drafts.note(&of));
    let note = note.await.expect("reading a note does not panic");
    let draft = DraftState {
        exists: note.is_some(),
        base_version: note.as_ref().and_then(|it| it.base_version.clone()),
        created_at: note.map(|it| it.created_at),
        status: context.drafts.get(id).map(|it| it.status.as_str().to_owned()),
    };
    let status = context.routes.get(id).map(|it| it.status.as_str().to_owned());
    Ok((draft, LiveState { version: live.map(|it| it.version), status }))
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<(DraftAction, DraftRequest), Refused> {
    let body = body.map_err(|rejected| {
        let too_large = rejected.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if too_large { DraftErrorCode::TooLarge } else { DraftErrorCode::InvalidJSON };
        Refused::new(code, rejected.body_text())
    })?;
    let request: DraftRequest = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(DraftErrorCode::InvalidJSON, format!("the body is not readable: {error}"))
    })?;
    let action = named(&request.action).ok_or_else(|| {
        let message = "action: init, list, read, write, delete, deploy or discard";
        Refused::new(DraftErrorCode::InvalidAction, message)
    })?;
    Ok((action, request))
}

fn named<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

fn reply(outcome: Result<DraftData, Refused>, draft: DraftState, live: LiveState) -> Response {
    let status = match &outcome {
        Ok(_) => StatusCode::OK,
        Err(refused) => {
            StatusCode::from_u16(refused.code.status()).expect("codes have statuses of HTTP")
        }
    };
    let (data, refused) = match outcome {
        Ok(data) => (Some(data), None),
        Err(refused) => (None, Some(refused)),
    };
    let (error, message, details) = match refused {
        Some(Refused { code, message, details }) => (Some(code), Some(message), details),
        None => (None, None, Vec::new()),
    };
    let success = error.is_none();
    let reply = DraftReply { success, data, error, message, details, draft, live };
    (status, Json(reply)).into_response()
}

fn refused(error: DraftError) -> Ended {
    if error.is_disk_full() {
        return Ended::Failed(StoreError::DiskFull.into());
    }
    let code = error.code();
    if code.status() >= 500 {
        tracing::error!(error = &error as &dyn std::error::Error, "an act on a draft failed");
    }
    let mut refused = Refused::new(code, error.to_string());
    if let DraftError::Faults(faults) = error {
        refused.details = faults.iter().map(ToString::to_string).collect();
    }
    Ended::Refused(refused)
}

// === impl Refused ===

impl Refused {
    fn new(code: DraftErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }
}

// === impl Ended ===

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}
